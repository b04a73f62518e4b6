//! Strings and integers of a request.

use std::fmt;

use forebay_contract::ErrorCode;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error_context::{ErrorContext, Excerpt};
use super::limits::MAX_TEXT_BYTES;

/// How a number is handled where a string is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// It is an error.
    Rejected,
    /// Its digits become the string.
    Digits,
    /// `1` becomes `v1`.
    Version,
}

/// A string or `null`.
pub(super) struct TextSeed<'c> {
    pub context: &'c mut ErrorContext,
    pub field: &'static str,
    pub number: Number,
}

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl TextSeed<'_> {
    fn expected(number: Number) -> &'static str {
        if number == Number::Version { "a string such as \"v1\" or a number" } else { "a string" }
    }

    fn mismatch<E: Error>(self, got: impl fmt::Display) -> E {
        let message = format!("{}: expected {}, got {got}", self.field, Self::expected(self.number));
        self.context.fail(ErrorCode::InvalidRequest, message)
    }

    fn number<E: Error>(self, whole: bool, digits: impl fmt::Display) -> Result<Option<String>, E> {
        match self.number {
            Number::Digits => Ok(Some(digits.to_string())),
            Number::Version if whole => Ok(Some(format!("v{digits}"))),
            Number::Version | Number::Rejected => Err(self.mismatch(format_args!("the number {digits}"))),
        }
    }
}

impl<'de> Visitor<'de> for TextSeed<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::expected(self.number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.len() > MAX_TEXT_BYTES {
            let message = format!("{}: {} bytes, at most {MAX_TEXT_BYTES} are allowed", self.field, text.len());
            return Err(self.context.fail(ErrorCode::InvalidRequest, message));
        }
        Ok(Some(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.number(true, value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.number(false, value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.number(false, value)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Err(self.mismatch(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.mismatch("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.mismatch("an object"))
    }
}

/// An integer from `least` to `most`, or `null`.
pub(super) struct IntegerSeed<'c> {
    pub context: &'c mut ErrorContext,
    pub field: &'static str,
    pub least: i64,
    pub most: i64,
}

impl<'de> DeserializeSeed<'de> for IntegerSeed<'_> {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl IntegerSeed<'_> {
    fn mismatch<E: Error>(self, got: impl fmt::Display) -> E {
        let Self { context, field, least, most } = self;
        let message = format!("{field}: expected an integer from {least} to {most}, got {got}");
        context.fail(ErrorCode::InvalidRequest, message)
    }
}

impl<'de> Visitor<'de> for IntegerSeed<'_> {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        if (self.least..=self.most).contains(&value) { Ok(Some(value)) } else { Err(self.mismatch(value)) }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(self.mismatch(value)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Err(self.mismatch(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Err(self.mismatch(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let short = Excerpt(text).to_string();
        Err(self.mismatch(format_args!("the string {short:?}")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.mismatch("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.mismatch("an object"))
    }
}
