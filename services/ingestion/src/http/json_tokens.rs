//! Tokens that Python's `json` writes and JSON does not have.

use std::borrow::Cow;

use forebay_contract::Problem;
use memchr::memmem;
use serde::de::DeserializeOwned;

use super::json_object::Object;
use crate::open_inference::invalid;

/// Reads a document that may have these tokens and a byte order mark.
///
/// # Errors
/// `invalid_request` for what is not such a document.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let json = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if json.is_empty() {
        return Err(invalid("the body is empty, expected a JSON object"));
    }
    serde_json::from_slice::<Object<T>>(&replaced(json))
        .map(|object| object.0)
        .map_err(|error| invalid(format!("failed to parse the request JSON: {error}")))
}

/// The document with `NaN` as `null`, a missing value, and `Infinity` as a string that no client sends, so that the error
/// names the tensor and the index. Documents without these tokens are not copied.
pub(super) fn replaced(json: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(json, b"NaN").is_none() && memmem::find(json, b"Infinity").is_none() {
        return Cow::Borrowed(json);
    }
    let mut out = Vec::with_capacity(json.len() + 64);
    let mut rest = json;
    while let Some(at) = memchr::memchr3(b'"', b'N', b'I', rest) {
        let (before, token) = rest.split_at(at);
        out.extend_from_slice(before);
        rest = if token.starts_with(b"\"") {
            let (string, after) = token.split_at(string_length(token));
            out.extend_from_slice(string);
            after
        } else if let Some(after) = token.strip_prefix(b"NaN") {
            out.extend_from_slice(b"null");
            after
        } else if let Some(after) = token.strip_prefix(b"Infinity") {
            if out.last() == Some(&b'-') {
                out.pop();
            }
            out.extend_from_slice(br#""\u0000Infinity""#);
            after
        } else {
            out.push(token[0]);
            &token[1..]
        };
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Bytes of the string at the start of `json`, with its quotes.
fn string_length(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if json[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_inference::Collected;

    #[test]
    fn tokens_are_replaced_outside_strings_alone() {
        for (given, expected) in [
            ("[1, NaN,-Infinity ,Infinity]", r#"[1, null,"\u0000Infinity" ,"\u0000Infinity"]"#),
            (r#"["NaN \" NaN", NaN, "a\\", Nix]"#, r#"["NaN \" NaN", null, "a\\", Nix]"#),
            (r#"[NaN, "open"#, r#"[null, "open"#),
            (r#"[NaN, "open\"#, r#"[null, "open\"#),
        ] {
            assert_eq!(replaced(given.as_bytes()), expected.as_bytes(), "{given}");
        }
        assert!(matches!(replaced(b"[1, 2]"), Cow::Borrowed(_)));
    }

    #[test]
    fn infinity_is_an_error_with_its_index() {
        let collected: Collected = serde_json::from_slice(&replaced(b"[1, -Infinity]")).unwrap();
        let problem = collected.checked(crate::open_inference::Datatype::Fp64, "x").unwrap_err();
        assert_eq!(problem.message, "input 'x': element 1 is not finite, which is no value of FP64");
    }
}
