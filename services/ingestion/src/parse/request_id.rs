//! Recovers the request id of a record that is not a request, so that its sender can be answered. Only a text or a number is
//! taken; anything else is skipped without being kept, as large as it may be.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::limits::MAX_TEXT_BYTES;

/// A text or number; `None` for any other value.
struct RequestIdValue(Option<String>);

impl<'de> Deserialize<'de> for RequestIdValue {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(TextOrNumber).map(Self)
    }
}

struct TextOrNumber;

impl<'de> Visitor<'de> for TextOrNumber {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request id")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<String>, E> {
        Ok((text.len() <= MAX_TEXT_BYTES).then(|| text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Option<String>, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Option<String>, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Option<String>, E> {
        Ok(serde_json::Number::from_f64(number).map(|number| number.to_string()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<String>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Option<String>, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[derive(Deserialize)]
struct OnlyRequestId {
    request_id: Option<RequestIdValue>,
}

/// The request id of a JSON object, or the value after the first `"request_id":` in bytes that are not valid JSON.
pub fn recover_request_id(bytes: &[u8]) -> Option<String> {
    if let Ok(only) = serde_json::from_slice::<OnlyRequestId>(bytes) {
        return only.request_id?.0;
    }
    const KEY: &[u8] = b"\"request_id\"";
    let after = bytes.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let rest = bytes.get(after..)?.trim_ascii_start().strip_prefix(b":")?;
    serde_json::Deserializer::from_slice(rest).into_iter::<RequestIdValue>().next()?.ok()?.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_taken_and_everything_else_is_skipped() {
        for (json, id) in [
            (r#"{"request_id":"a","features":[1]"#.to_owned(), Some("a")),
            (r#"{"request_id":7,"features":"x"}"#.to_owned(), Some("7")),
            (r#"{"features":1,"request_id":-7.5}"#.to_owned(), Some("-7.5")),
            (r#"{"request_id":null}"#.to_owned(), None),
            (r#"{"request_id":{"a":[1,{"b":2}]}}"#.to_owned(), None),
            (format!(r#"{{"request_id":[{}0],"features":[1]}}"#, "0,".repeat(1 << 20)), None),
            (format!(r#"{{"request_id":"{}"}}"#, "x".repeat(MAX_TEXT_BYTES + 1)), None),
        ] {
            let shown: String = json.chars().take(60).collect();
            assert_eq!(recover_request_id(json.as_bytes()).as_deref(), id, "{shown}");
        }
    }
}
