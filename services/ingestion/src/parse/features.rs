//! Rows of numbers, written straight into vectors: no value tree, no second pass.

use std::fmt;

use forebay_contract::ErrorCode;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::MAX_ROW_BYTES;
use super::watch::{At, Place, Short, Watch};
use crate::ask::{Features, Row};

const ROW_OF_NUMBERS: &str = "an array of numbers or an object of numbers";

/// The field `features`.
pub(super) struct FeaturesSeed<'w> {
    pub watch: &'w mut Watch,
}

/// Refuses every type that a visitor does not take, naming the place.
macro_rules! refuse {
    (@one $seed:ident, $method:ident($type:ty), $show:expr) => {
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<Self::Value, E> {
            let $seed = self;
            Err($seed.refused($show(value)))
        }
    };
    (scalars) => {
        refuse!(@one seed, visit_bool(bool), Unexpected::Bool);
        refuse!(@one seed, visit_i64(i64), Unexpected::Signed);
        refuse!(@one seed, visit_u64(u64), Unexpected::Unsigned);
        refuse!(@one seed, visit_f64(f64), Unexpected::Float);
        refuse!(texts);
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Err(self.refused(Unexpected::Unit))
        }
    };
    (texts) => {
        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
            let short = Short(value).to_string();
            Err(self.refused(Unexpected::Str(&short)))
        }
    };
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
fn values<'de, A: SeqAccess<'de>>(
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
fn named<'de, A: MapAccess<'de>>(mut map: A, watch: &mut Watch, row: Option<usize>) -> Result<Row, A::Error> {
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

/// How an error calls what it got.
fn name(got: Unexpected<'_>) -> String {
    match got {
        Unexpected::Bool(value) => format!("{value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the string {text:?}"),
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// One value of a row.
struct ValueSeed<'w, 'n> {
    watch: &'w mut Watch,
    place: Place<'n>,
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

/// The first element of the array decides whether it is a row or the first of many rows.
enum First {
    Value(f64),
    Row(Row),
}

struct FirstSeed<'w> {
    watch: &'w mut Watch,
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
