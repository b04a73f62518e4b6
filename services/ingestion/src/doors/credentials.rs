//! What a request shows of itself, from its headers. Never from the address: addresses end up in logs.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use crate::auth::Credentials;

/// Where clients put an API key.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// One credential, or why there is none to use.
pub(super) fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    let (mut keys, mut others) = (headers.get_all(API_KEY), headers.get_all(AUTHORIZATION));
    let (key, other) = (keys.next(), others.next());
    if keys.next().is_some() || others.next().is_some() || (key.is_some() && other.is_some()) {
        return Credentials::Unusable("expected one of X-API-Key and Authorization, once");
    }
    match (key.map(|key| key.to_str()), other.map(|other| other.to_str())) {
        (None, None) => Credentials::None,
        (Some(Ok(key)), _) => Credentials::Key(key.trim()),
        (None, Some(Ok(other))) => match other.trim().split_once(' ') {
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") => Credentials::Bearer(text.trim()),
            _ => Credentials::Unusable("Authorization: expected Bearer and a key or a token"),
        },
        _ => Credentials::Unusable("the credentials are not visible ASCII characters"),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn shown(given: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        match credentials(&headers) {
            Credentials::None => "none".into(),
            Credentials::Key(key) => format!("key {key}"),
            Credentials::Bearer(text) => format!("bearer {text}"),
            Credentials::Unusable(_) => "unusable".into(),
        }
    }

    #[test]
    fn there_is_one_credential_or_none() {
        assert_eq!(shown(&[]), "none");
        assert_eq!(shown(&[("x-api-key", " k ")]), "key k");
        assert_eq!(shown(&[("authorization", "bEaReR  t")]), "bearer t");
        for twice in [
            &[("x-api-key", "a"), ("x-api-key", "a")][..],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("x-api-key", "a"), ("authorization", "Bearer a")],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "Bearer")],
            &[("authorization", "token")],
        ] {
            assert_eq!(shown(twice), "unusable", "{twice:?}");
        }
    }
}
