//! Rows, read directly into vectors without an intermediate tree.

use std::fmt;

use forebay_contract::ErrorCode;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::error_context::{ErrorContext, FEATURES, PathEnd, ValuePath};
use super::limits::MAX_ROW_BYTES;
use super::type_mismatch::{name, type_mismatch};
use super::value::{First, FirstSeed, ValueSeed};
use crate::request::{FeatureRows, JsonValue, Row};

const ROW: &str = "an array of values or an object of named values";

/// The field `features`.
pub(super) struct FeaturesSeed<'c> {
    pub context: &'c mut ErrorContext,
}

impl<'de> DeserializeSeed<'de> for FeaturesSeed<'_> {
    type Value = FeatureRows;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<FeatureRows, D::Error> {
        json.deserialize_any(self)
    }
}

impl FeaturesSeed<'_> {
    fn mismatch<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        let message = format!("features: expected {ROW}, or an array of such rows, got {}", name(got));
        self.context.fail(ErrorCode::InvalidRequest, message)
    }
}

impl<'de> Visitor<'de> for FeaturesSeed<'_> {
    type Value = FeatureRows;

    type_mismatch!(scalars);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROW)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FeatureRows, A::Error> {
        let context = self.context;
        let path = ValuePath { field: FEATURES, row: None, value: PathEnd::Index(0) };
        let first = seq.next_element_seed(FirstSeed { context: &mut *context });
        match first.map_err(|error| context.note_path(path, error))? {
            None => Err(empty(context, None)),
            Some(First::Value(value)) => Ok(FeatureRows::One(values(seq, context, None, Some(value))?)),
            Some(First::Row(row)) => Ok(FeatureRows::Many(rows(seq, context, row)?)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FeatureRows, A::Error> {
        named(map, self.context, None).map(FeatureRows::One)
    }
}

/// The rest of an array of rows.
fn rows<'de, A: SeqAccess<'de>>(mut seq: A, context: &mut ErrorContext, first: Row) -> Result<Vec<Row>, A::Error> {
    let mut rows = vec![first];
    loop {
        let row = rows.len();
        let next = seq.next_element_seed(RowSeed { context: &mut *context, row });
        let path = ValuePath { field: FEATURES, row: Some(row), value: PathEnd::Row };
        let Some(next) = next.map_err(|error| context.note_path(path, error))? else { return Ok(rows) };
        rows.push(next);
    }
}

/// The rest of an array of values.
pub(super) fn values<'de, A: SeqAccess<'de>>(
    mut seq: A,
    context: &mut ErrorContext,
    row: Option<usize>,
    first: Option<JsonValue>,
) -> Result<Row, A::Error> {
    let mut read = Row::with_capacity(16);
    let mut weight = 0;
    if let Some(first) = first {
        weight += first.weight();
        read.push(first);
    }
    loop {
        let path = ValuePath { field: FEATURES, row, value: PathEnd::Index(read.len()) };
        let next = seq.next_element_seed(ValueSeed { context: &mut *context, path });
        let Some(value) = next.map_err(|error| context.note_path(path, error))? else { break };
        weight += value.weight();
        read.push(value);
        if weight > MAX_ROW_BYTES {
            return Err(too_large(context, ValuePath { field: FEATURES, row, value: PathEnd::Row }));
        }
    }
    if read.is_empty() { Err(empty(context, row)) } else { Ok(read) }
}

/// An object of values.
pub(super) fn named<'de, A: MapAccess<'de>>(
    mut map: A,
    context: &mut ErrorContext,
    row: Option<usize>,
) -> Result<Row, A::Error> {
    let mut read = Row::with_capacity(16);
    read.names.reserve(16);
    let mut weight = 0;
    loop {
        let own = ValuePath { field: FEATURES, row, value: PathEnd::Row };
        let key = map.next_key::<String>();
        let Some(name) = key.map_err(|error| context.note_path(own, error))? else { break };
        let path = ValuePath { field: FEATURES, row, value: PathEnd::Name(&name) };
        let value = map.next_value_seed(ValueSeed { context: &mut *context, path });
        let value = value.map_err(|error| context.note_path(path, error))?;
        weight += name.len() + 2 + value.weight();
        read.push(value);
        read.names.push(name);
        if weight > MAX_ROW_BYTES {
            return Err(too_large(context, ValuePath { field: FEATURES, row, value: PathEnd::Row }));
        }
    }
    if let Some(twice) = repeated(read.names.iter().map(String::as_str)) {
        let path = ValuePath { field: FEATURES, row, value: PathEnd::Name(twice) };
        return Err(context.fail(ErrorCode::InvalidRequest, format_args!("{path}: given twice")));
    }
    if read.is_empty() { Err(empty(context, row)) } else { Ok(read) }
}

/// The first name that occurs twice.
pub(crate) fn repeated<'n>(mut names: impl ExactSizeIterator<Item = &'n str> + Clone) -> Option<&'n str> {
    if names.len() <= 32 {
        let before = names.clone();
        return names.enumerate().find(|(at, name)| before.clone().take(*at).any(|it| it == *name)).map(|(_, it)| it);
    }
    let mut seen = rustc_hash::FxHashSet::default();
    names.find(|name| !seen.insert(*name))
}

fn empty<E: serde::de::Error>(context: &mut ErrorContext, row: Option<usize>) -> E {
    let path = ValuePath { field: FEATURES, row, value: PathEnd::Row };
    context.fail(ErrorCode::InvalidFeatures, format_args!("{path}: empty, expected at least one value"))
}

pub(super) fn too_large<E: serde::de::Error>(context: &mut ErrorContext, path: ValuePath<'_>) -> E {
    let message = format_args!("{path}: one row holds at most {} KiB", MAX_ROW_BYTES / 1024);
    context.fail(ErrorCode::PayloadTooLarge, message)
}

/// One of many rows.
struct RowSeed<'c> {
    context: &'c mut ErrorContext,
    row: usize,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Row;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Row, D::Error> {
        let limit = self.context.limit;
        if self.row >= limit.rows {
            let message = format_args!("features: {limit}");
            return Err(self.context.fail(ErrorCode::PayloadTooLarge, message));
        }
        json.deserialize_any(self)
    }
}

impl RowSeed<'_> {
    fn mismatch<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        let path = ValuePath { field: FEATURES, row: Some(self.row), value: PathEnd::Row };
        let message = format!("{path}: expected {ROW} like the rows before it, got {}", name(got));
        self.context.fail(ErrorCode::InvalidRequest, message)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Row;

    type_mismatch!(scalars);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROW)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Row, A::Error> {
        values(seq, self.context, Some(self.row), None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Row, A::Error> {
        named(map, self.context, Some(self.row))
    }
}
