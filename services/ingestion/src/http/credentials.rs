//! The credentials of a request, from its headers. They are never read from the URL, because URLs end up in logs.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::auth::RequestCredentials;

/// The header of an API key.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What callers of SageMaker's client set as `CustomAttributes`.
const SAGEMAKER_ATTRIBUTES: HeaderName = HeaderName::from_static("x-amzn-sagemaker-custom-attributes");

/// Whether a client of AWS has signed the request. There is no account to check it with, so it says nothing.
fn is_aws_signature(authorization: &[u8]) -> bool {
    authorization.starts_with(b"AWS4-HMAC-SHA256 ")
}

/// The one credential of a request, or why it cannot be used.
pub(super) fn credentials(headers: &HeaderMap) -> RequestCredentials<'_> {
    let all = |name| headers.get_all(name).map(HeaderValue::as_bytes);
    let attributes = headers.get(SAGEMAKER_ATTRIBUTES).map(HeaderValue::as_bytes);
    credentials_of(all(API_KEY), all(AUTHORIZATION), attributes)
}

/// The one credential of a request with these values of `X-API-Key` and `Authorization`. `attributes` may hold a key if
/// a client of AWS has signed the request.
pub(crate) fn credentials_of<'r>(
    mut keys: impl Iterator<Item = &'r [u8]>,
    mut others: impl Iterator<Item = &'r [u8]>,
    attributes: Option<&'r [u8]>,
) -> RequestCredentials<'r> {
    let (mut key, mut other) = (keys.next(), others.next());
    if other.is_some_and(is_aws_signature) {
        // SageMaker's client always signs; a key can stand in the attributes that its callers choose
        other = None;
        key = key.or(attributes);
    }
    if keys.next().is_some() || others.next().is_some() || (key.is_some() && other.is_some()) {
        return RequestCredentials::Malformed("expected either X-API-Key or Authorization, once");
    }
    match (key.map(visible), other.map(visible)) {
        (None, None) => RequestCredentials::None,
        (Some(Some(key)), _) => RequestCredentials::Key(key.trim()),
        (None, Some(Some(other))) => match other.trim().split_once(' ') {
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") => RequestCredentials::Bearer(text.trim()),
            _ => RequestCredentials::Malformed("Authorization: expected Bearer followed by a key or a token"),
        },
        _ => RequestCredentials::Malformed("the credentials hold characters other than visible ASCII"),
    }
}

fn visible(value: &[u8]) -> Option<&str> {
    let visible = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    std::str::from_utf8(value).ok().filter(|_| visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(given: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        match credentials(&headers) {
            RequestCredentials::None => "none".into(),
            RequestCredentials::Key(key) => format!("key {key}"),
            RequestCredentials::Bearer(text) => format!("bearer {text}"),
            RequestCredentials::Malformed(_) => "malformed".into(),
        }
    }

    #[test]
    fn there_is_one_credential_or_none() {
        assert_eq!(shown(&[]), "none");
        assert_eq!(shown(&[("x-api-key", " k ")]), "key k");
        assert_eq!(shown(&[("authorization", "bEaReR  t")]), "bearer t");
        let signed = ("authorization", "AWS4-HMAC-SHA256 Credential=a");
        assert_eq!((shown(&[signed]).as_str(), shown(&[signed, ("x-api-key", "k")]).as_str()), ("none", "key k"));
        assert_eq!(shown(&[signed, ("x-amzn-sagemaker-custom-attributes", "k")]), "key k");
        for twice in [
            &[("x-api-key", "a"), ("x-api-key", "a")][..],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("x-api-key", "a"), ("authorization", "Bearer a")],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "Bearer")],
            &[("authorization", "token")],
        ] {
            assert_eq!(shown(twice), "malformed", "{twice:?}");
        }
    }
}
