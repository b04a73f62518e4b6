//! Hides what must not be shown. Works on names and texts, because it is needed before a value has a type.

use super::secret::MASK;

/// The value of `key` as it may be shown: `***` for a secret, the password replaced inside an address. For errors that quote
/// a value, a path among them: a secret may stand where its file was meant.
pub fn shown(key: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else if names_secret(key) || holds_secret(value) {
        MASK.to_owned()
    } else {
        without_password(value)
    }
}

/// Replaces the password of every address in `text`: `redis://user:pass@host` becomes `redis://user:***@host`. For log
/// lines and errors that name where something is.
pub fn without_password(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive([',', ' ', '\n', '"']) {
        let Some((scheme, rest)) = part.split_once("://") else {
            shown.push_str(part);
            continue;
        };
        shown.push_str(scheme);
        shown.push_str("://");
        // The last @, not the first: an unescaped one inside the password must not end it early.
        match rest.rsplit_once('@') {
            Some((user, host)) => {
                match user.split_once(':') {
                    Some((name, _)) => shown.push_str(&format!("{name}:{MASK}")),
                    None => shown.push_str(MASK),
                }
                shown.push('@');
                shown.push_str(host);
            }
            None => shown.push_str(rest),
        }
    }
    shown
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
        assert_eq!(shown("x.urls", "a://b:c@d,e://f:g@h"), "a://b:***@d,e://f:***@h");
    }

    #[test]
    fn secrets_are_known_by_their_name_or_their_text() {
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
