//! One value of a row, and the first element of an array.

use std::fmt;

use forebay_contract::ErrorCode;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::error_context::{ErrorContext, FEATURES, PathEnd, ValuePath};
use super::features::{named, too_large, values};
use super::limits::MAX_ROW_BYTES;
use super::type_mismatch::name;
use crate::request::{JsonValue, Row};

/// One value of a row.
pub(super) struct ValueSeed<'c, 'n> {
    pub context: &'c mut ErrorContext,
    pub path: ValuePath<'n>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = JsonValue;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<JsonValue, D::Error> {
        json.deserialize_any(self)
    }
}

impl ValueSeed<'_, '_> {
    fn mismatch<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        let message = format!("{}: expected a number, a string, a boolean or null, got {}", self.path, name(got));
        self.context.fail(ErrorCode::InvalidRequest, message)
    }

    fn text<E: serde::de::Error>(self, text: &str) -> Result<JsonValue, E> {
        if text.len() > MAX_ROW_BYTES {
            return Err(too_large(self.context, self.path));
        }
        Ok(JsonValue::Text(text.to_owned()))
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = JsonValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a string, a boolean or null")
    }

    fn visit_f64<E>(self, value: f64) -> Result<JsonValue, E> {
        Ok(JsonValue::of_float(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<JsonValue, E> {
        Ok(JsonValue::of_unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<JsonValue, E> {
        Ok(JsonValue::of_signed(value))
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonValue, E> {
        Ok(JsonValue::Boolean(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<JsonValue, E> {
        self.text(text)
    }

    fn visit_unit<E>(self) -> Result<JsonValue, E> {
        Ok(JsonValue::Number(f64::NAN))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<JsonValue, A::Error> {
        Err(self.mismatch(Unexpected::Seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<JsonValue, A::Error> {
        Err(self.mismatch(Unexpected::Map))
    }
}

/// The first element of an array, which decides whether the array is one row or many.
pub(super) enum First {
    Value(JsonValue),
    Row(Row),
}

pub(super) struct FirstSeed<'c> {
    pub context: &'c mut ErrorContext,
}

impl<'c> FirstSeed<'c> {
    fn value(self) -> ValueSeed<'c, 'static> {
        ValueSeed { context: self.context, path: ValuePath { field: FEATURES, row: None, value: PathEnd::Index(0) } }
    }
}

impl<'de> DeserializeSeed<'de> for FirstSeed<'_> {
    type Value = First;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<First, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FirstSeed<'_> {
    type Value = First;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a string, a boolean, null or a row")
    }

    fn visit_f64<E>(self, value: f64) -> Result<First, E> {
        Ok(First::Value(JsonValue::of_float(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<First, E> {
        Ok(First::Value(JsonValue::of_unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<First, E> {
        Ok(First::Value(JsonValue::of_signed(value)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<First, E> {
        Ok(First::Value(JsonValue::Boolean(value)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<First, E> {
        self.value().text(text).map(First::Value)
    }

    fn visit_unit<E>(self) -> Result<First, E> {
        Ok(First::Value(JsonValue::Number(f64::NAN)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<First, A::Error> {
        values(seq, self.context, Some(0), None).map(First::Row)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<First, A::Error> {
        named(map, self.context, Some(0)).map(First::Row)
    }
}
