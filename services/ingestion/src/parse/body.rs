//! The JSON object and its fields.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use forebay_contract::{ErrorCode, SplitKey, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::Rules;
use super::error_context::{ErrorContext, Excerpt};
use super::features::FeaturesSeed;
use super::params::ParamsSeed;
use super::scalar::{IntegerSeed, Number, TextSeed};
use crate::request::{DEFAULT_PRIORITY, FeatureRows, ParsedRequest};

/// Names of the fields, as clients write them.
pub(crate) const FIELDS: [&str; 10] = [
    "request_id",
    "features",
    "model",
    "model_version",
    "priority",
    "timeout_ms",
    "key",
    "output",
    "params",
    "callback_url",
];

enum Field {
    /// Index into [`FIELDS`].
    Known(usize),
    Unknown(String),
}

struct FieldSeed;

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Field, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldSeed {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Field, E> {
        let known = FIELDS.iter().position(|field| *field == name);
        Ok(known.map_or_else(|| Field::Unknown(Excerpt(name).to_string()), Field::Known))
    }
}

/// The whole document.
pub(super) struct Body<'c> {
    pub context: &'c mut ErrorContext,
    pub rules: Rules,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ParsedRequest;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<ParsedRequest, D::Error> {
        json.deserialize_map(self)
    }
}

/// The fields read so far.
#[derive(Default)]
struct Draft {
    seen: [bool; FIELDS.len()],
    model: Option<String>,
    version: Option<String>,
    priority: Option<i64>,
    timeout_ms: Option<i64>,
    key: Option<String>,
    output: Option<String>,
    params: BTreeMap<String, Value>,
    callback_url: Option<String>,
    features: Option<FeatureRows>,
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ParsedRequest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with the field features")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedRequest, A::Error> {
        let Self { context, rules } = self;
        let mut draft = Draft::default();
        while let Some(field) = map.next_key_seed(FieldSeed)? {
            match field {
                Field::Known(field) => draft.take(field, &mut map, context, rules)?,
                Field::Unknown(_) if rules == Rules::Record => drop(map.next_value::<IgnoredAny>()?),
                Field::Unknown(name) => {
                    let message = format!("unknown field {name:?}, expected one of {}", FIELDS.join(", "));
                    return Err(context.fail(ErrorCode::InvalidRequest, message));
                }
            }
        }
        let Some(features) = draft.features else {
            return Err(context.fail(ErrorCode::InvalidRequest, "features: missing"));
        };
        Ok(ParsedRequest {
            request_id: context.request_id.take(),
            model: draft.model.unwrap_or_default(),
            version: draft.version.unwrap_or_default(),
            priority: draft.priority.and_then(|it| it.try_into().ok()).unwrap_or(DEFAULT_PRIORITY),
            key: draft.key.as_deref().map(SplitKey::of_text),
            timeout: draft.timeout_ms.and_then(|it| it.try_into().ok()).map(Duration::from_millis),
            output: draft.output.unwrap_or_default(),
            params: draft.params,
            cache_scope: Bytes::new(),
            callback_url: draft.callback_url,
            features,
        })
    }
}

impl Draft {
    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        field: usize,
        map: &mut A,
        context: &mut ErrorContext,
        rules: Rules,
    ) -> Result<(), A::Error> {
        let name = FIELDS[field];
        if std::mem::replace(&mut self.seen[field], true) {
            return Err(context.fail(ErrorCode::InvalidRequest, format_args!("{name}: given twice")));
        }
        let text = |context, number| TextSeed { context, field: name, number };
        let integer = |context, least, most| IntegerSeed { context, field: name, least, most };
        match name {
            "request_id" => {
                let number = if rules == Rules::Record { Number::Digits } else { Number::Rejected };
                context.request_id = map.next_value_seed(text(&mut *context, number))?;
            }
            "key" => {
                let number = if rules == Rules::Record { Number::Digits } else { Number::Rejected };
                self.key = map.next_value_seed(text(context, number))?;
            }
            "model" => self.model = map.next_value_seed(text(context, Number::Rejected))?,
            "model_version" => self.version = map.next_value_seed(text(context, Number::Version))?,
            "output" => self.output = map.next_value_seed(text(context, Number::Rejected))?,
            // who waits on a topic has its answer there
            "callback_url" if rules == Rules::Record => drop(map.next_value::<IgnoredAny>()?),
            "callback_url" => self.callback_url = map.next_value_seed(text(context, Number::Rejected))?,
            "params" => self.params = map.next_value_seed(ParamsSeed { context })?,
            "priority" => {
                self.priority = map.next_value_seed(integer(context, i32::MIN.into(), i32::MAX.into()))?;
            }
            "timeout_ms" => self.timeout_ms = map.next_value_seed(integer(context, 1, i64::MAX))?,
            _ => self.features = Some(map.next_value_seed(FeaturesSeed { context })?),
        }
        Ok(())
    }
}
