//! The JSON that values with a schema become, which the one parser of requests reads.

use std::fmt::Display;
use std::io::Write as _;

/// The field that makes a record a request.
pub(super) use crate::parse::FEATURES;
/// Values nested deeper than this are refused: a record may hold itself.
const MAX_DEPTH: usize = 32;
/// The most JSON that one record may become, in bytes. Values without bytes of their own cannot fill the memory.
const MAX_JSON: usize = 4 << 20;

/// The request for a row in JSON.
pub(super) fn of_row(row: &[u8]) -> Vec<u8> {
    [br#"{"features":"#, row, b"}"].concat()
}

/// A request in JSON, which grows at its end.
#[derive(Debug)]
pub(super) struct JsonText {
    bytes: Vec<u8>,
    is_row: bool,
    /// Whether only some of the values are read later, so that others need not be values of a row.
    selective: bool,
}

impl JsonText {
    /// The beginning of what `size` bytes become. The record is the request if it has the field [`FEATURES`], else a row.
    pub(super) fn of_record(has_features: bool, size: usize) -> Self {
        let mut bytes = Vec::with_capacity(size.saturating_mul(3).min(MAX_JSON));
        if !has_features {
            bytes.extend_from_slice(br#"{"features":"#);
        }
        Self { bytes, is_row: !has_features, selective: false }
    }

    /// The same, of whose values only some are read later.
    pub(super) fn selective(self, selective: bool) -> Self {
        Self { selective, ..self }
    }

    /// A value that no row can have. Where it may be one that is not read, it becomes an object, which no column takes.
    pub(super) fn unreadable(&mut self, why: &str) -> Result<(), String> {
        if !self.selective {
            return Err(why.to_owned());
        }
        self.push(b"{}");
        Ok(())
    }

    /// The request.
    pub(super) fn into_request(mut self) -> Vec<u8> {
        if self.is_row {
            self.bytes.push(b'}');
        }
        self.bytes
    }

    /// Checks the depth and the size before one more value.
    pub(super) fn room(&self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} values"));
        }
        if self.bytes.len() > MAX_JSON {
            return Err(format!("more than {MAX_JSON} bytes as JSON"));
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What was written since it was `len` bytes long.
    pub(super) fn since(&self, len: usize) -> &[u8] {
        self.bytes.get(len..).unwrap_or_default()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    pub(super) fn push(&mut self, json: &[u8]) {
        self.bytes.extend_from_slice(json);
    }

    /// The comma before an element or a member that is not the first.
    pub(super) fn separate(&mut self) {
        if !matches!(self.bytes.last(), Some(b'[' | b'{')) {
            self.bytes.push(b',');
        }
    }

    /// The name of a member, with what stands around it.
    pub(super) fn name(&mut self, name: &str) {
        self.separate();
        self.text(name);
        self.bytes.push(b':');
    }

    pub(super) fn text(&mut self, text: &str) {
        // a text cannot fail to serialise
        drop(serde_json::to_writer(&mut self.bytes, text));
    }

    pub(super) fn integer(&mut self, integer: impl Display) {
        // a vector takes every byte
        drop(write!(self.bytes, "{integer}"));
    }

    pub(super) fn boolean(&mut self, truth: bool) {
        self.push(if truth { b"true" } else { b"false" });
    }

    /// NaN is a missing value.
    pub(super) fn number(&mut self, number: f64) -> Result<(), String> {
        if number.is_infinite() {
            return self.unreadable("is not finite");
        }
        // a number or `null` cannot fail to serialise
        drop(serde_json::to_writer(&mut self.bytes, &number));
        Ok(())
    }

    /// A number in big-endian two's complement, with `scale` digits behind the point.
    pub(super) fn decimal(&mut self, bytes: &[u8], scale: u32) -> Result<(), String> {
        match decimal(bytes, scale) {
            Some(text) => self.push(text.as_bytes()),
            None => self.unreadable("a decimal has more than 128 bits or 64 digits behind its point")?,
        }
        Ok(())
    }
}

/// The number as text; `None` if it is too large.
fn decimal(bytes: &[u8], scale: u32) -> Option<String> {
    if bytes.len() > 16 || scale > 64 {
        return None;
    }
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let unscaled = bytes.iter().fold(if negative { -1_i128 } else { 0 }, |sum, byte| sum << 8 | i128::from(*byte));
    let (sign, scale) = (if negative { "-" } else { "" }, scale as usize);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_their_point() {
        for (bytes, scale, text) in
            [(&[0, 123][..], 2, "1.23"), (&[5], 3, "0.005"), (&[0xff], 0, "-1"), (&[], 1, "0.0")]
        {
            assert_eq!(decimal(bytes, scale).as_deref(), Some(text));
        }
        assert_eq!(decimal(&[1; 17], 2), None);
    }
}
