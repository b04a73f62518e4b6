//! The entries of a signature's list of columns, of which only what is used is kept in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::MAX_WIDTH;

/// An entry.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ColumnSpec {
    #[serde(default, deserialize_with = "loose")]
    pub name: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "loose")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub required: Option<bool>,
    #[serde(default, deserialize_with = "loose")]
    pub optional: Option<bool>,
    #[serde(default, rename = "tensor-spec")]
    pub tensor: Option<TensorSpec>,
}

/// A tensor.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TensorSpec {
    #[serde(default, deserialize_with = "loose")]
    pub dtype: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub shape: Option<Vec<i64>>,
}

/// Reads the list; `null` is an empty one.
///
/// # Errors
/// When it is no list of objects, or too long.
pub(super) fn list(json: &str) -> Result<Vec<ColumnSpec>, String> {
    match json.trim_start().as_bytes().first() {
        Some(b'[') => {}
        Some(b'n') => return serde_json::from_str::<()>(json).map(|()| Vec::new()).map_err(|e| e.to_string()),
        _ => {
            serde_json::from_str::<IgnoredAny>(json).map_err(|error| error.to_string())?;
            return Err("is not a list of columns".to_owned());
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let columns = reader.deserialize_seq(Bounded).and_then(|columns| reader.end().map(|()| columns));
    columns.map_err(|error| error.to_string())
}

/// A list that ends with an error where it becomes too long.
struct Bounded;

impl<'de> Visitor<'de> for Bounded {
    type Value = Vec<ColumnSpec>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of columns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut columns = Vec::new();
        while let Some(column) = items.next_element()? {
            if columns.len() == MAX_WIDTH {
                return Err(A::Error::custom(format_args!("more than {MAX_WIDTH} columns")));
            }
            columns.push(column);
        }
        Ok(columns)
    }
}

/// Reads a value, or ignores what has another type.
fn loose<'de, D: Deserializer<'de>, T: Loose>(json: D) -> Result<Option<T>, D::Error> {
    json.deserialize_any(LooseVisitor(PhantomData))
}

/// A type of which other values are ignored.
trait Loose: Sized {
    fn of_text(_text: &str) -> Option<Self> {
        None
    }

    fn of_flag(_flag: bool) -> Option<Self> {
        None
    }

    fn of_integers(_integers: &[i64]) -> Option<Self> {
        None
    }
}

impl Loose for String {
    fn of_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Loose for bool {
    fn of_flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

impl Loose for Vec<i64> {
    fn of_integers(integers: &[i64]) -> Option<Self> {
        Some(integers.to_vec())
    }
}

struct LooseVisitor<T>(PhantomData<T>);

impl<'de, T: Loose> Visitor<'de> for LooseVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::of_text(text))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(T::of_flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// The integers of a shape, if it has only such, and few.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        const MOST: usize = 16;
        let (mut integers, mut whole) = (Vec::new(), true);
        while let Some(item) = items.next_element::<Element>()? {
            match item.0 {
                Some(integer) if integers.len() < MOST => integers.push(integer),
                _ => whole = false,
            }
        }
        Ok(if whole { T::of_integers(&integers) } else { None })
    }
}

/// An integer, or nothing instead of another value.
struct Element(Option<i64>);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Element, E> {
        Ok(Element(Some(integer)))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Element, E> {
        Ok(Element(i64::try_from(integer).ok()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_unit<E>(self) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Element, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Element(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Element, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Element(None))
    }
}
