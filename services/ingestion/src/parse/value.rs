//! One value of a row, and the first element of an array, which decides what the array is.

use std::fmt;

use forebay_contract::ErrorCode;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::features::{named, values};
use super::refuse::{name, refuse};
use super::watch::{At, Place, Watch};
use crate::ask::Row;

/// One value of a row.
pub(super) struct ValueSeed<'w, 'n> {
    pub watch: &'w mut Watch,
    pub place: Place<'n>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = f64;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<f64, D::Error> {
        json.deserialize_any(self)
    }
}

impl ValueSeed<'_, '_> {
    fn refused<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        let message = format!("{}: expected a number or null, got {}", self.place, name(got));
        self.watch.refuse(ErrorCode::InvalidRequest, message)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = f64;

    refuse!(@one seed, visit_bool(bool), Unexpected::Bool);
    refuse!(texts);

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
        Err(self.refused(Unexpected::Seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<f64, A::Error> {
        Err(self.refused(Unexpected::Map))
    }
}

/// The first element of the array decides whether it is a row or the first of many rows.
pub(super) enum First {
    Value(f64),
    Row(Row),
}

pub(super) struct FirstSeed<'w> {
    pub watch: &'w mut Watch,
}

impl<'de> DeserializeSeed<'de> for FirstSeed<'_> {
    type Value = First;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<First, D::Error> {
        json.deserialize_any(self)
    }
}

impl FirstSeed<'_> {
    fn refused<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        ValueSeed { watch: self.watch, place: Place { row: None, value: At::Index(0) } }.refused(got)
    }
}

impl<'de> Visitor<'de> for FirstSeed<'_> {
    type Value = First;

    refuse!(@one seed, visit_bool(bool), Unexpected::Bool);
    refuse!(texts);

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
        values(seq, self.watch, Some(0), None).map(First::Row)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<First, A::Error> {
        named(map, self.watch, Some(0)).map(First::Row)
    }
}
