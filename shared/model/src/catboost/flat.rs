//! A reader of FlatBuffers: tables, vectors and texts, each checked against the end of the buffer, and all together
//! against a budget.

use std::cell::Cell;

/// A table in a buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    /// The bytes that may still be read: offsets may lead to the same vector again and again.
    budget: &'a Cell<usize>,
    at: usize,
    /// The offsets of the fields, two bytes each.
    fields: &'a [u8],
}

/// What a table is counted as.
const TABLE: usize = 32;

const OUTSIDE: &str = "offset outside the file";

fn range(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], String> {
    let end = at.checked_add(len).ok_or(OUTSIDE)?;
    bytes.get(at..end).ok_or_else(|| OUTSIDE.to_owned())
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    let raw = range(bytes, at, 4)?;
    Ok(u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]))
}

impl<'a> Table<'a> {
    /// The root of a buffer, and the number of bytes that may be read from it.
    pub(super) fn root(bytes: &'a [u8], budget: &'a Cell<usize>) -> Result<Self, String> {
        Self::at(bytes, budget, u32_at(bytes, 0)? as usize)
    }

    fn at(bytes: &'a [u8], budget: &'a Cell<usize>, at: usize) -> Result<Self, String> {
        let back = i64::from(u32_at(bytes, at)? as i32);
        let vtable = i64::try_from(at).ok().and_then(|at| usize::try_from(at - back).ok()).ok_or(OUTSIDE)?;
        let size = range(bytes, vtable, 2)?;
        let size = usize::from(u16::from_le_bytes([size[0], size[1]]));
        let fields = range(bytes, vtable, size)?.get(4..).unwrap_or(&[]);
        Ok(Self { bytes, budget, at, fields })
    }

    /// The place of field `i`, if it is there.
    fn field(&self, i: usize) -> Option<usize> {
        let offset = self.fields.get(2 * i..2 * i + 2)?;
        let offset = usize::from(u16::from_le_bytes([offset[0], offset[1]]));
        (offset != 0).then_some(self.at + offset)
    }

    fn scalar<const N: usize>(&self, i: usize) -> Result<Option<[u8; N]>, String> {
        let Some(at) = self.field(i) else { return Ok(None) };
        let raw = range(self.bytes, at, N)?;
        let mut out = [0; N];
        out.copy_from_slice(raw);
        Ok(Some(out))
    }

    pub(super) fn i32(&self, i: usize, absent: i32) -> Result<i32, String> {
        Ok(self.scalar(i)?.map_or(absent, i32::from_le_bytes))
    }

    pub(super) fn f32(&self, i: usize, absent: f32) -> Result<f32, String> {
        Ok(self.scalar(i)?.map_or(absent, f32::from_le_bytes))
    }

    pub(super) fn f64(&self, i: usize, absent: f64) -> Result<f64, String> {
        Ok(self.scalar(i)?.map_or(absent, f64::from_le_bytes))
    }

    pub(super) fn u8(&self, i: usize, absent: u8) -> Result<u8, String> {
        Ok(self.scalar(i)?.map_or(absent, |[byte]| byte))
    }

    /// The place that the offset in field `i` leads to.
    fn target(&self, i: usize) -> Result<Option<usize>, String> {
        let Some(at) = self.field(i) else { return Ok(None) };
        follow(self.bytes, at).map(Some)
    }

    /// The table in field `i`.
    pub(super) fn table(&self, i: usize) -> Result<Option<Self>, String> {
        self.spend(TABLE)?;
        self.target(i)?.map(|at| Self::at(self.bytes, self.budget, at)).transpose()
    }

    /// The elements of the vector in field `i`, `size` bytes each; none if it is not there.
    pub(super) fn vector(&self, i: usize, size: usize) -> Result<&'a [u8], String> {
        let Some(at) = self.target(i)? else { return Ok(&[]) };
        let size = (u32_at(self.bytes, at)? as usize).checked_mul(size).ok_or(OUTSIDE)?;
        self.spend(size)?;
        range(self.bytes, at + 4, size)
    }

    fn spend(&self, bytes: usize) -> Result<(), String> {
        let left = self.budget.get().checked_sub(bytes).ok_or("describes far more than the file holds")?;
        self.budget.set(left);
        Ok(())
    }

    /// The tables of the vector in field `i`.
    pub(super) fn tables(&self, i: usize) -> Result<Vec<Self>, String> {
        let Some(at) = self.target(i)? else { return Ok(Vec::new()) };
        let offsets = self.vector(i, 4)?.len() / 4;
        self.spend(offsets * TABLE)?;
        (0..offsets).map(|n| Self::at(self.bytes, self.budget, follow(self.bytes, at + 4 + 4 * n)?)).collect()
    }

    /// The texts of the vector in field `i`.
    pub(super) fn texts(&self, i: usize) -> Result<Vec<&'a str>, String> {
        let Some(at) = self.target(i)? else { return Ok(Vec::new()) };
        let offsets = self.vector(i, 4)?.len() / 4;
        (0..offsets).map(|n| self.text_at(follow(self.bytes, at + 4 + 4 * n)?)).collect()
    }

    /// The text in field `i`; empty if it is not there.
    pub(super) fn text(&self, i: usize) -> Result<&'a str, String> {
        self.target(i)?.map_or(Ok(""), |at| self.text_at(at))
    }

    /// Many fields may lead to one text, which is copied for each.
    fn text_at(&self, at: usize) -> Result<&'a str, String> {
        let text = text(self.bytes, at)?;
        self.spend(text.len())?;
        Ok(text)
    }

    pub(super) fn i32s(&self, i: usize) -> Result<Vec<i32>, String> {
        Ok(self.vector(i, 4)?.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    pub(super) fn f32s(&self, i: usize) -> Result<Vec<f32>, String> {
        Ok(self.vector(i, 4)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    pub(super) fn f64s(&self, i: usize) -> Result<Vec<f64>, String> {
        let eight = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        Ok(self.vector(i, 8)?.chunks_exact(8).map(eight).collect())
    }
}

fn follow(bytes: &[u8], at: usize) -> Result<usize, String> {
    let offset = u32_at(bytes, at)? as usize;
    at.checked_add(offset).ok_or_else(|| OUTSIDE.to_owned())
}

fn text(bytes: &[u8], at: usize) -> Result<&str, String> {
    let len = u32_at(bytes, at)? as usize;
    std::str::from_utf8(range(bytes, at + 4, len)?).map_err(|e| e.to_string())
}
