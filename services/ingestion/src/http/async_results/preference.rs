//! The header `Prefer` (RFC 7240).

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What a caller prefers. Preferences that are unknown or cannot be read are ignored, as the RFC says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Preference {
    /// An answer later instead of a wait.
    pub respond_async: bool,
    /// How long it would wait before that.
    pub wait: Duration,
}

impl Preference {
    /// Reads every `Prefer` of `headers`; of a preference that comes again the first counts.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        let mut wait = None;
        let texts = headers.get_all(PREFER).filter_map(|header| header.to_str().ok());
        for preference in texts.flat_map(|text| text.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                found.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && wait.is_none() {
                wait = value.parse().ok();
            }
        }
        found.wait = Duration::from_secs(u64::from(wait.unwrap_or(0_u32))).min(super::MAX_WAIT);
        found
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn of(texts: &[&str]) -> Preference {
        let mut headers = HeaderMap::new();
        texts.iter().for_each(|text| headers.append(PREFER, HeaderValue::from_str(text).unwrap()));
        Preference::of(&headers)
    }

    #[test]
    fn preferences_are_read_in_every_form_of_the_rfc() {
        let seconds = |wait| Preference { respond_async: true, wait: Duration::from_secs(wait) };
        assert_eq!(of(&[]), Preference::default());
        assert_eq!(of(&["respond-async"]), seconds(0));
        assert_eq!(of(&["respond-async, wait=10"]), seconds(10));
        assert_eq!(of(&["Respond-Async;foo=1", "handling=lenient, WAIT = \"3\""]), seconds(3));
        assert_eq!(of(&["respond-async, wait=4000000000"]), seconds(60));
        assert_eq!(of(&["wait=2, respond-async, wait=5"]), seconds(2));
        assert_eq!(of(&["respond-async, wait=soon"]), seconds(0));
        assert!(!of(&["respond-asynchronously", "return=minimal", ",;=,"]).respond_async);
    }
}
