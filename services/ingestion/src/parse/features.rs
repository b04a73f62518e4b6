//! Rows of numbers, written straight into vectors: no value tree, no second pass.

use std::fmt;

use forebay_contract::ErrorCode;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::MAX_ROW_BYTES;
use super::refuse::{name, refuse};
use super::value::{First, FirstSeed, ValueSeed};
use super::watch::{At, Place, Watch};
use crate::ask::{Features, Row};

const ROW_OF_NUMBERS: &str = "an array of numbers or an object of numbers";

/// The field `features`.
pub(super) struct FeaturesSeed<'w> {
    pub watch: &'w mut Watch,
}

impl<'de> DeserializeSeed<'de> for FeaturesSeed<'_> {
    type Value = Features;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Features, D::Error> {
        json.deserialize_any(self)
    }
}

impl FeaturesSeed<'_> {
    fn refused<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        let message = format!("features: expected {ROW_OF_NUMBERS}, or an array of such rows, got {}", name(got));
        self.watch.refuse(ErrorCode::InvalidRequest, message)
    }
}

impl<'de> Visitor<'de> for FeaturesSeed<'_> {
    type Value = Features;

    refuse!(scalars);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROW_OF_NUMBERS)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Features, A::Error> {
        let watch = self.watch;
        let place = Place { row: None, value: At::Index(0) };
        let first = seq.next_element_seed(FirstSeed { watch: &mut *watch });
        match first.map_err(|error| watch.stopped(place, error))? {
            None => Err(empty(watch, None)),
            Some(First::Value(value)) => Ok(Features::One(values(seq, watch, None, Some(value))?)),
            Some(First::Row(row)) => Ok(Features::Many(rows(seq, watch, row)?)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Features, A::Error> {
        named(map, self.watch, None).map(Features::One)
    }
}

/// The rest of an array of rows.
fn rows<'de, A: SeqAccess<'de>>(mut seq: A, watch: &mut Watch, first: Row) -> Result<Vec<Row>, A::Error> {
    let mut rows = vec![first];
    loop {
        let row = rows.len();
        let next = seq.next_element_seed(RowSeed { watch: &mut *watch, row });
        let place = Place { row: Some(row), value: At::Row };
        let Some(next) = next.map_err(|error| watch.stopped(place, error))? else { return Ok(rows) };
        rows.push(next);
    }
}

/// The rest of an array of numbers.
pub(super) fn values<'de, A: SeqAccess<'de>>(
    mut seq: A,
    watch: &mut Watch,
    row: Option<usize>,
    first: Option<f64>,
) -> Result<Row, A::Error> {
    let mut values = Vec::with_capacity(16);
    values.extend(first);
    loop {
        let place = Place { row, value: At::Index(values.len()) };
        let next = seq.next_element_seed(ValueSeed { watch: &mut *watch, place });
        let Some(value) = next.map_err(|error| watch.stopped(place, error))? else { break };
        values.push(value);
        if values.len() * 8 > MAX_ROW_BYTES {
            return Err(too_large(watch, row));
        }
    }
    if values.is_empty() { Err(empty(watch, row)) } else { Ok(Row { values, names: Vec::new() }) }
}

/// An object of numbers.
pub(super) fn named<'de, A: MapAccess<'de>>(
    mut map: A,
    watch: &mut Watch,
    row: Option<usize>,
) -> Result<Row, A::Error> {
    let mut read = Row { values: Vec::with_capacity(16), names: Vec::with_capacity(16) };
    let mut weight = 0;
    loop {
        let own = Place { row, value: At::Row };
        let key = map.next_key::<String>();
        let Some(name) = key.map_err(|error| watch.stopped(own, error))? else { break };
        let place = Place { row, value: At::Name(&name) };
        let value = map.next_value_seed(ValueSeed { watch: &mut *watch, place });
        let value = value.map_err(|error| watch.stopped(place, error))?;
        weight += name.len() + 10;
        read.values.push(value);
        read.names.push(name);
        if weight > MAX_ROW_BYTES {
            return Err(too_large(watch, row));
        }
    }
    if let Some(twice) = repeated(&read.names) {
        let place = Place { row, value: At::Name(twice) };
        return Err(watch.refuse(ErrorCode::InvalidRequest, format_args!("{place}: given twice")));
    }
    if read.values.is_empty() { Err(empty(watch, row)) } else { Ok(read) }
}

/// The first name that stands twice.
fn repeated(names: &[String]) -> Option<&str> {
    if names.len() <= 32 {
        let twice = |(index, name): &(usize, &String)| names[..*index].contains(name);
        return names.iter().enumerate().find(twice).map(|(_, name)| name.as_str());
    }
    let mut seen = rustc_hash::FxHashSet::default();
    names.iter().find(|name| !seen.insert(name.as_str())).map(String::as_str)
}

fn empty<E: serde::de::Error>(watch: &mut Watch, row: Option<usize>) -> E {
    let place = Place { row, value: At::Row };
    watch.refuse(ErrorCode::InvalidFeatures, format_args!("{place}: empty, expected at least one number"))
}

fn too_large<E: serde::de::Error>(watch: &mut Watch, row: Option<usize>) -> E {
    let place = Place { row, value: At::Row };
    let message = format_args!("{place}: one row holds at most {} KiB", MAX_ROW_BYTES / 1024);
    watch.refuse(ErrorCode::PayloadTooLarge, message)
}

/// One of many rows.
struct RowSeed<'w> {
    watch: &'w mut Watch,
    row: usize,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Row;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Row, D::Error> {
        if self.row >= self.watch.max_rows {
            let message = match self.watch.max_rows {
                1 => "features: more than one row; a record holds one row".to_owned(),
                most => format!("features: more than {most} rows, the limit of one request (http.max_rows)"),
            };
            return Err(self.watch.refuse(ErrorCode::PayloadTooLarge, message));
        }
        json.deserialize_any(self)
    }
}

impl RowSeed<'_> {
    fn refused<E: serde::de::Error>(self, got: Unexpected<'_>) -> E {
        let place = Place { row: Some(self.row), value: At::Row };
        let message = format!("{place}: expected {ROW_OF_NUMBERS} like the rows before it, got {}", name(got));
        self.watch.refuse(ErrorCode::InvalidRequest, message)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Row;

    refuse!(scalars);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROW_OF_NUMBERS)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Row, A::Error> {
        values(seq, self.watch, Some(self.row), None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Row, A::Error> {
        named(map, self.watch, Some(self.row))
    }
}
