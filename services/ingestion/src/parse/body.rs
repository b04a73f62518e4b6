//! The object and its fields.

use std::fmt;
use std::time::Duration;

use forebay_contract::{ErrorCode, SplitKey};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::Rules;
use super::features::FeaturesSeed;
use super::scalar::{IntegerSeed, Number, TextSeed};
use super::watch::{Short, Watch};
use crate::ask::{Ask, DEFAULT_PRIORITY, Features};

/// Names as clients write them, in the order of [`Field`].
pub(crate) const FIELDS: [&str; 7] =
    ["request_id", "features", "model", "model_version", "priority", "timeout_ms", "key"];

enum Field {
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
        Ok(known.map_or_else(|| Field::Unknown(Short(name).to_string()), Field::Known))
    }
}

/// The whole document.
pub(super) struct Body<'w> {
    pub watch: &'w mut Watch,
    pub rules: Rules,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = Ask;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Ask, D::Error> {
        json.deserialize_map(self)
    }
}

/// Fields read so far.
#[derive(Default)]
struct Draft {
    seen: [bool; FIELDS.len()],
    model: Option<String>,
    version: Option<String>,
    priority: Option<i64>,
    timeout_ms: Option<i64>,
    key: Option<String>,
    features: Option<Features>,
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = Ask;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with the field features")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ask, A::Error> {
        let Self { watch, rules } = self;
        let mut draft = Draft::default();
        while let Some(field) = map.next_key_seed(FieldSeed)? {
            match field {
                Field::Known(field) => draft.take(field, &mut map, watch, rules)?,
                Field::Unknown(_) if rules == Rules::Record => drop(map.next_value::<IgnoredAny>()?),
                Field::Unknown(name) => {
                    let message = format!("unknown field {name:?}, expected one of {}", FIELDS.join(", "));
                    return Err(watch.refuse(ErrorCode::InvalidRequest, message));
                }
            }
        }
        let Some(features) = draft.features else {
            return Err(watch.refuse(ErrorCode::InvalidRequest, "features: missing"));
        };
        Ok(Ask {
            request_id: watch.request_id.take(),
            model: draft.model.unwrap_or_default(),
            version: draft.version.unwrap_or_default(),
            priority: draft.priority.and_then(|it| it.try_into().ok()).unwrap_or(DEFAULT_PRIORITY),
            key: draft.key.as_deref().map(SplitKey::of_text),
            timeout: draft.timeout_ms.and_then(|it| it.try_into().ok()).map(Duration::from_millis),
            features,
        })
    }
}

impl Draft {
    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        field: usize,
        map: &mut A,
        watch: &mut Watch,
        rules: Rules,
    ) -> Result<(), A::Error> {
        let name = FIELDS[field];
        if std::mem::replace(&mut self.seen[field], true) {
            return Err(watch.refuse(ErrorCode::InvalidRequest, format_args!("{name}: given twice")));
        }
        let text = |watch, number| TextSeed { watch, field: name, number };
        let integer = |watch, least, most| IntegerSeed { watch, field: name, least, most };
        match name {
            "request_id" => {
                let number = if rules == Rules::Record { Number::Digits } else { Number::Refused };
                watch.request_id = map.next_value_seed(text(&mut *watch, number))?;
            }
            "key" => {
                let number = if rules == Rules::Record { Number::Digits } else { Number::Refused };
                self.key = map.next_value_seed(text(watch, number))?;
            }
            "model" => self.model = map.next_value_seed(text(watch, Number::Refused))?,
            "model_version" => self.version = map.next_value_seed(text(watch, Number::Version))?,
            "priority" => {
                self.priority = map.next_value_seed(integer(watch, i32::MIN.into(), i32::MAX.into()))?;
            }
            "timeout_ms" => self.timeout_ms = map.next_value_seed(integer(watch, 1, i64::MAX))?,
            _ => self.features = Some(map.next_value_seed(FeaturesSeed { watch })?),
        }
        Ok(())
    }
}
