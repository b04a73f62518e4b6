//! JSON and UBJSON documents of boosters as values that borrow from the file. Arrays of numbers stay as they are in the
//! file until they are asked for, so that a document takes little more memory than its text.

mod json;
mod ubj;

use std::borrow::Cow;
use std::str::FromStr;

/// How deep lists and maps may be nested; a booster needs about ten levels.
const MAX_DEPTH: usize = 64;
/// The most values of a document, besides one for every eight bytes of its file.
const VALUES_BASE: usize = 1 << 12;
/// The most values of any document.
const MAX_VALUES: usize = 1 << 22;

/// One value.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A number as JSON spells it.
    Literal(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
    /// The numbers and booleans between the brackets of a JSON array.
    Numbers(&'a str),
    /// The elements of a typed UBJSON array, big-endian.
    Typed {
        kind: Kind,
        bytes: &'a [u8],
    },
}

/// The type of the elements of a UBJSON array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    I8,
    U8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// An element; `bytes` has `size()` of them.
    fn element(self, bytes: &[u8]) -> Value<'static> {
        let mut raw = [0u8; 8];
        raw[8 - bytes.len()..].copy_from_slice(bytes);
        let word = u64::from_be_bytes(raw);
        match self {
            Self::I8 => Value::Integer(i64::from(word as u8 as i8)),
            Self::U8 => Value::Integer(i64::from(word as u8)),
            Self::I16 => Value::Integer(i64::from(word as u16 as i16)),
            Self::I32 => Value::Integer(i64::from(word as u32 as i32)),
            Self::I64 => Value::Integer(word as i64),
            Self::F32 => Value::Float(f64::from(f32::from_bits(word as u32))),
            Self::F64 => Value::Float(f64::from_bits(word)),
        }
    }
}

/// A number that a document can hold.
pub(crate) trait Number: Sized {
    fn of_integer(value: i64) -> Option<Self>;
    fn of_float(value: f64) -> Option<Self>;
    fn of_text(text: &str) -> Option<Self>;
}

impl Number for f64 {
    fn of_integer(value: i64) -> Option<Self> {
        Some(value as f64)
    }

    fn of_float(value: f64) -> Option<Self> {
        Some(value)
    }

    fn of_text(text: &str) -> Option<Self> {
        f64::from_str(text).ok()
    }
}

impl Number for f32 {
    fn of_integer(value: i64) -> Option<Self> {
        Some(value as f32)
    }

    fn of_float(value: f64) -> Option<Self> {
        Some(value as f32)
    }

    fn of_text(text: &str) -> Option<Self> {
        f32::from_str(text).ok()
    }
}

impl Number for i64 {
    fn of_integer(value: i64) -> Option<Self> {
        Some(value)
    }

    fn of_float(value: f64) -> Option<Self> {
        (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
    }

    fn of_text(text: &str) -> Option<Self> {
        i64::from_str(text).ok().or_else(|| Self::of_float(f64::from_str(text).ok()?))
    }
}

/// Reads a document: UBJSON if its second byte is a length marker, else JSON.
///
/// # Errors
/// What is wrong, and at which byte.
pub(crate) fn read(bytes: &[u8]) -> Result<Value<'_>, String> {
    match bytes {
        [b'{', b'L' | b'$' | b'#' | b'l' | b'U' | b'i' | b'I', ..] => ubj::read(bytes),
        _ => json::read(std::str::from_utf8(bytes).map_err(|e| e.to_string())?),
    }
}

/// Counts the values of a document against its limit.
#[derive(Debug)]
struct Budget(usize);

impl Budget {
    fn of_file(bytes: usize) -> Self {
        Self((bytes / 8 + VALUES_BASE).min(MAX_VALUES))
    }

    fn spend(&mut self) -> Result<(), String> {
        self.0 = self.0.checked_sub(1).ok_or("has more values than a model of its size")?;
        Ok(())
    }
}

impl<'a> Value<'a> {
    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v).filter(|v| !matches!(v, Self::Null))
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&self, key: &str) -> Result<&Self, String> {
        self.get(key).ok_or_else(|| format!("has no {key}"))
    }

    /// The value at the end of a path of keys.
    pub(crate) fn path(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |value, key| value.get(key))
    }

    /// Text.
    pub(crate) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err("is not text".to_owned()),
        }
    }

    /// A number, also one that is spelled as text.
    pub(crate) fn number<N: Number>(&self) -> Result<N, String> {
        let number = match self {
            Self::Bool(b) => N::of_integer(i64::from(*b)),
            Self::Integer(i) => N::of_integer(*i),
            Self::Float(f) => N::of_float(*f),
            Self::Literal(text) => number_of(text),
            Self::Text(text) => number_of(text),
            _ => None,
        };
        number.ok_or_else(|| "is not a number of the right kind".to_owned())
    }

    /// A number from 0 to `most`.
    pub(crate) fn count(&self, most: usize) -> Result<usize, String> {
        let n = self.number::<i64>()?;
        let count = usize::try_from(n).ok().filter(|n| *n <= most);
        count.ok_or_else(|| format!("is {n}, expected 0 to {most}"))
    }

    /// The items of a list that is not all numbers.
    pub(crate) fn items(&self) -> Result<&[Self], String> {
        match self {
            Self::List(items) => Ok(items),
            _ => Err("is not a list".to_owned()),
        }
    }

    /// The numbers of a list.
    pub(crate) fn numbers<N: Number>(&self) -> Result<Vec<N>, String> {
        let wrong = || "has elements that are not numbers of the right kind".to_owned();
        match self {
            Self::List(items) => items.iter().map(Self::number).collect(),
            Self::Numbers(text) => text.split(',').map(|t| number_of(t.trim()).ok_or_else(wrong)).collect(),
            Self::Typed { kind, bytes } => bytes.chunks_exact(kind.size()).map(|b| kind.element(b).number()).collect(),
            _ => Err("is not a list of numbers".to_owned()),
        }
    }

    /// The numbers at a key, named in errors.
    pub(crate) fn numbers_at<N: Number>(&self, key: &str) -> Result<Vec<N>, String> {
        self.need(key)?.numbers().map_err(|e| format!("{key} {e}"))
    }
}

fn number_of<N: Number>(text: &str) -> Option<N> {
    match text {
        "true" => N::of_integer(1),
        "false" => N::of_integer(0),
        _ => N::of_text(text),
    }
}

#[cfg(test)]
mod tests;
