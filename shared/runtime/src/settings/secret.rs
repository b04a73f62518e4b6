//! Values that must not reach a log: a type for them, and masks for texts that may hold one.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

pub(super) const MASK: &str = "***";

/// Text that `Debug`, `Display` and serialisation show as `***`. Empty means unset.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the library that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is unset.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { MASK })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// The masks work on names and texts, because they are needed before a value has a type.

/// The value of `key` in a form that may be shown: `***` for a secret, an address without its password. Errors that
/// quote a value use it, those that quote a path included: an operator may have set a secret instead of the path of its
/// file.
pub fn shown(key: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else if names_secret(key) || holds_secret(value) {
        MASK.to_owned()
    } else {
        without_password(value)
    }
}

/// Replaces the password of an address in `text`: `redis://user:pass@host` becomes `redis://user:***@host`. For log lines and
/// errors that quote an address. Everything up to the last `@` counts as the password, as it may hold any character: of several
/// addresses only the first name and the last host are left.
pub fn without_password(text: &str) -> String {
    let masked = text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    match masked {
        Some((scheme, (user, host))) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:{MASK}@{host}"),
            None => format!("{scheme}://{MASK}@{host}"),
        },
        None => text.to_owned(),
    }
}

fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let mut words = key.split(['.', '_', '-', '"']).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        let last = words.peek().is_none();
        match word {
            "password" | "passwd" | "secret" | "token" | "credential" | "credentials" | "pem" | "jaas" => return true,
            "key" | "connection" if last => return true,
            _ => {}
        }
    }
    false
}

fn holds_secret(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    ["password=", "accesskey=", "secret=", "token=", "private key-----", "fby_"].iter().any(|mark| value.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_inside_addresses_are_replaced() {
        assert_eq!(shown("redis.url", "redis://app:pa:s@s@cache:6379/0"), "redis://app:***@cache:6379/0");
        assert_eq!(shown("redis.url", "redis://:pass@cache:6379"), "redis://:***@cache:6379");
        assert_eq!(shown("redis.url", "redis://token@cache"), "redis://***@cache");
        assert_eq!(shown("redis.url", "redis://cache:6379"), "redis://cache:6379");
        assert_eq!(shown("x.urls", "a://b:c@d,e://f:g@h"), "a://b:***@h");
    }

    #[test]
    fn every_printable_password_is_replaced() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for length in (1..40).cycle().take(20_000) {
            let password: String = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    char::from(b' ' + (state >> 33) as u8 % 95)
                })
                .collect();
            let shown = shown("redis.url", &format!("redis://app:{password}@cache:6379/0"));
            assert!(shown == "redis://app:***@cache:6379/0" || shown == MASK, "{password}: {shown}");
        }
        for password in ["a, b", "x\"y", "p@q", "u://v:w@h, i://j:k", "12, x://y", "a\tb"] {
            let text = format!("cannot reach redis://app:{password}@cache:6379");
            assert_eq!(without_password(&text), "cannot reach redis://app:***@cache:6379");
        }
    }

    #[test]
    fn secrets_are_recognised_by_their_name_or_their_text() {
        for key in ["kafka.options.\"sasl.password\"", "x.api_key", "x.client_secret", "x.connection", "o.ssl.key.pem"]
        {
            assert_eq!(shown(key, "value"), "***", "{key}");
        }
        assert_eq!(shown("http.tls.key_file", "-----BEGIN PRIVATE KEY-----"), "***", "the text instead of its path");
        assert_eq!(shown("auth.keys_file", "fby_abc"), "***", "a key instead of a path");
        assert_eq!(shown("http.tls.key_file", "tls/key.pem"), "tls/key.pem");
        assert_eq!(shown("x.y", "Endpoint=sb://h/;SharedAccessKey=abc"), "***");
        for key in ["http.max_connections", "http.connection_timeout", "topics.keyed"] {
            assert_eq!(shown(key, "value"), "value", "{key}");
        }
        assert_eq!(shown("x.password", ""), "");
    }
}
