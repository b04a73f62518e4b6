//! The parameters of a model's signature: an object of scalars.

use std::collections::BTreeMap;
use std::fmt;

use forebay_contract::{ErrorCode, Value};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::RowLimit;
use super::error_context::{ErrorContext, PathEnd, ValuePath};
use super::limits::MAX_TEXT_BYTES;
use super::type_mismatch::{name, type_mismatch};
use super::value::ValueSeed;
use crate::request::Row;

/// The field `params` of a protocol whose document serde reads.
#[derive(Debug, Default)]
pub(crate) struct ParamsJson(pub BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for ParamsJson {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let mut context = ErrorContext::new(RowLimit::ONE);
        let read = ParamsSeed { context: &mut context }.deserialize(json);
        read.map(Self).map_err(|error| context.into_message().map_or(error, D::Error::custom))
    }
}

/// Most parameters of one request.
const MAX_PARAMS: usize = 64;

/// The field `params`.
pub(super) struct ParamsSeed<'c> {
    pub context: &'c mut ErrorContext,
}

impl<'de> DeserializeSeed<'de> for ParamsSeed<'_> {
    type Value = BTreeMap<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl ParamsSeed<'_> {
    fn mismatch<E: Error>(self, got: Unexpected<'_>) -> E {
        let message = format!("params: expected an object of values, got {}", name(got));
        self.context.fail(ErrorCode::InvalidRequest, message)
    }
}

impl<'de> Visitor<'de> for ParamsSeed<'_> {
    type Value = BTreeMap<String, Value>;

    type_mismatch!(texts);
    type_mismatch!(@one seed, visit_bool(bool), Unexpected::Bool);
    type_mismatch!(@one seed, visit_i64(i64), Unexpected::Signed);
    type_mismatch!(@one seed, visit_u64(u64), Unexpected::Unsigned);
    type_mismatch!(@one seed, visit_f64(f64), Unexpected::Float);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of values")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.mismatch(Unexpected::Seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let context = self.context;
        let mut params = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = ValuePath { field: "params", row: None, value: PathEnd::Name(&name) };
            let value = map.next_value_seed(ValueSeed { context: &mut *context, path });
            let value = value.map_err(|error| context.note_path(path, error))?;
            if name.len() + value.weight() > MAX_TEXT_BYTES || params.len() == MAX_PARAMS {
                let message = format!("{path}: more than {MAX_TEXT_BYTES} bytes, or more than {MAX_PARAMS} parameters");
                return Err(context.fail(ErrorCode::InvalidRequest, message));
            }
            params.insert(name, Row::value_of(value));
        }
        Ok(params)
    }
}
