//! Recovers the request id of a record that is not a request, so that its sender can be answered.

use serde::Deserialize;

use super::limits::MAX_TEXT_BYTES;

#[derive(Deserialize)]
#[serde(untagged)]
enum RequestIdValue {
    Text(String),
    Number(serde_json::Number),
}

impl RequestIdValue {
    fn text(self) -> Option<String> {
        let text = match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        };
        (text.len() <= MAX_TEXT_BYTES).then_some(text)
    }
}

#[derive(Deserialize)]
struct OnlyRequestId {
    request_id: Option<RequestIdValue>,
}

/// The request id of a JSON object, or the value after the first `"request_id":` in bytes that are not valid JSON.
pub fn recover_request_id(bytes: &[u8]) -> Option<String> {
    if let Ok(only) = serde_json::from_slice::<OnlyRequestId>(bytes) {
        return only.request_id?.text();
    }
    const KEY: &[u8] = b"\"request_id\"";
    let after = bytes.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let rest = bytes.get(after..)?.trim_ascii_start().strip_prefix(b":")?;
    serde_json::Deserializer::from_slice(rest).into_iter::<RequestIdValue>().next()?.ok()?.text()
}
