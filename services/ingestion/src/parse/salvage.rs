//! The request id of a record that is no ask, so that whoever sent it can be told.

use serde::Deserialize;

use super::MAX_TEXT_BYTES;

#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Text(String),
    Number(serde_json::Number),
}

impl Label {
    fn text(self) -> Option<String> {
        let text = match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        };
        (text.len() <= MAX_TEXT_BYTES).then_some(text)
    }
}

#[derive(Deserialize)]
struct OnlyLabel {
    request_id: Option<Label>,
}

/// The id of a JSON object, or what follows the first `"request_id":` in bytes that are none.
pub(crate) fn request_id(bytes: &[u8]) -> Option<String> {
    if let Ok(only) = serde_json::from_slice::<OnlyLabel>(bytes) {
        return only.request_id?.text();
    }
    const KEY: &[u8] = b"\"request_id\"";
    let after = bytes.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let rest = bytes.get(after..)?.trim_ascii_start().strip_prefix(b":")?;
    serde_json::Deserializer::from_slice(rest).into_iter::<Label>().next()?.ok()?.text()
}
