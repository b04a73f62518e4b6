//! JSON and UBJSON documents of boosters as values that borrow from the file. Arrays of numbers stay as they are in the
//! file until they are asked for, so that a document takes little more memory than its text.

mod json;
mod ubj;

use std::borrow::Cow;
use std::str::FromStr;

use forebay_artefact::Allowance;

/// How deep lists and maps may be nested; a booster needs about ten levels.
const MAX_DEPTH: usize = 64;
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
    List(Box<[Value<'a>]>),
    Map(Box<[(Cow<'a, str>, Value<'a>)]>),
    /// The numbers and booleans between the brackets of a JSON array.
    Numbers(&'a str),
    /// The elements of a typed UBJSON array.
    Typed(Box<Typed<'a>>),
}

/// The elements of a typed UBJSON array, big-endian.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

// documents have millions of them, so that what is rare and large is boxed
const _: () = assert!(size_of::<Value<'_>>() <= 24);

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

/// Reads a document: UBJSON if its second byte is a length marker, else JSON. What its values take is taken from
/// `allowance`.
///
/// # Errors
/// What is wrong, and at which byte.
pub(crate) fn read<'a>(bytes: &'a [u8], allowance: &Allowance) -> Result<Value<'a>, String> {
    match bytes {
        [b'{', b'L' | b'$' | b'#' | b'l' | b'U' | b'i' | b'I', ..] => ubj::read(bytes, allowance),
        _ => json::read(std::str::from_utf8(bytes).map_err(|e| e.to_string())?, allowance),
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

    /// The number of elements of a list; 0 of anything else.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::List(items) => items.len(),
            Self::Numbers(text) => text.bytes().filter(|byte| *byte == b',').count() + 1,
            Self::Typed(typed) => typed.bytes.len() / typed.kind.size(),
            _ => 0,
        }
    }

    /// The numbers of a list.
    pub(crate) fn numbers<N: Number>(&self) -> Result<Vec<N>, String> {
        let wrong = || "has elements that are not numbers of the right kind".to_owned();
        // a list that grows would take up to three times as much
        let mut out = Vec::with_capacity(self.len());
        match self {
            Self::List(items) => items.iter().try_for_each(|item| item.number().map(|n| out.push(n)))?,
            Self::Numbers(text) => {
                for item in text.split(',') {
                    out.push(number_of(item.trim()).ok_or_else(wrong)?);
                }
            }
            Self::Typed(typed) => {
                for element in typed.bytes.chunks_exact(typed.kind.size()) {
                    out.push(typed.kind.element(element).number()?);
                }
            }
            _ => return Err("is not a list of numbers".to_owned()),
        }
        Ok(out)
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
