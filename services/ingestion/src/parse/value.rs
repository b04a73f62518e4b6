//! One value of a row, and the first element of an array.

use std::fmt;

use forebay_contract::ErrorCode;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::error_context::{ErrorContext, PathEnd, ValuePath};
use super::features::{named, values};
use super::type_mismatch::{name, type_mismatch};
use crate::request::Row;

/// One value of a row.
pub(super) struct ValueSeed<'c, 'n> {
    pub context: &'c mut ErrorContext,
    pub path: ValuePath<'n>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = f64;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<f64, D::Error> {
        json.deserialize_any(self)
    }
}

impl ValueSeed<'_, '_> {
    fn mismatch<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        let message = format!("{}: expected a number or null, got {}", self.path, name(got));
        self.context.fail(ErrorCode::InvalidRequest, message)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = f64;

    type_mismatch!(@one seed, visit_bool(bool), Unexpected::Bool);
    type_mismatch!(texts);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or null")
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_unit<E>(self) -> Result<f64, E> {
        Ok(f64::NAN)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<f64, A::Error> {
        Err(self.mismatch(Unexpected::Seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<f64, A::Error> {
        Err(self.mismatch(Unexpected::Map))
    }
}

/// The first element of an array, which decides whether the array is one row or many.
pub(super) enum First {
    Value(f64),
    Row(Row),
}

pub(super) struct FirstSeed<'c> {
    pub context: &'c mut ErrorContext,
}

impl<'de> DeserializeSeed<'de> for FirstSeed<'_> {
    type Value = First;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<First, D::Error> {
        json.deserialize_any(self)
    }
}

impl FirstSeed<'_> {
    fn mismatch<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        ValueSeed { context: self.context, path: ValuePath { row: None, value: PathEnd::Index(0) } }.mismatch(got)
    }
}

impl<'de> Visitor<'de> for FirstSeed<'_> {
    type Value = First;

    type_mismatch!(@one seed, visit_bool(bool), Unexpected::Bool);
    type_mismatch!(texts);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, null or a row")
    }

    fn visit_f64<E>(self, value: f64) -> Result<First, E> {
        Ok(First::Value(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<First, E> {
        Ok(First::Value(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<First, E> {
        Ok(First::Value(value as f64))
    }

    fn visit_unit<E>(self) -> Result<First, E> {
        Ok(First::Value(f64::NAN))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<First, A::Error> {
        values(seq, self.context, Some(0), None).map(First::Row)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<First, A::Error> {
        named(map, self.context, Some(0)).map(First::Row)
    }
}
