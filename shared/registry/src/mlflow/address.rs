//! The address of an MLflow server, and its paths and queries.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::RegistryCredentials;

/// The characters to encode: all but the unreserved ones of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The address of a server, without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Scheme, host, port and path prefix, without a trailing slash.
    pub base: String,
    /// Name and password, if the address contains them.
    pub credentials: RegistryCredentials,
}

impl Address {
    /// Parses `http://[name[:password]@]host[:port][/prefix]`.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub(super) fn parse(location: &str) -> Result<Self, String> {
        let (scheme, rest) = location.split_once("://").ok_or("has no scheme")?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err(format!("has the scheme {scheme:?}, expected http or https"));
        }
        if rest.contains(['?', '#']) {
            return Err("has a query or a fragment".to_owned());
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if host.is_empty() || host.starts_with(':') || host.contains(char::is_whitespace) {
            return Err("names no host".to_owned());
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = match user {
            Some(user) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                RegistryCredentials::Basic { username: decoded(name), password: decoded(password) }
            }
            None => RegistryCredentials::None,
        };
        Ok(Self { base: format!("{scheme}://{host}{}", path.trim_end_matches('/')), credentials })
    }

    /// Whether the server is on this machine; the proxy settings of the environment do not apply then.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.base.split_once("://").map_or("", |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or("");
        let name = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
        name == "localhost" || name == "[::1]" || name.starts_with("127.")
    }
}

/// Encodes one value of a query, or one segment of a path.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Encodes a `/`-separated path, segment by segment.
pub(super) fn encode_path(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

/// Builds `path?name=value&...` with encoded values.
pub(super) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut text = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.push_str(&encode(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let plain = Address::parse("HTTP://mlflow:5000/").unwrap();
        assert_eq!(plain, Address { base: "http://mlflow:5000".into(), credentials: RegistryCredentials::None });
        let full = Address::parse("https://reader:p%40ss:@mlflow.example/prefix/").unwrap();
        assert_eq!(full.base, "https://mlflow.example/prefix");
        assert_eq!(
            full.credentials,
            RegistryCredentials::Basic { username: "reader".into(), password: "p@ss:".into() }
        );
        for wrong in ["mlflow:5000", "ftp://mlflow", "http://", "http://:5000", "http://a b", "http://h/?x=1"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        for (location, loopback) in
            [("http://localhost:1", true), ("http://127.0.0.1", true), ("http://[::1]:80/x", true), ("http://m", false)]
        {
            assert_eq!(Address::parse(location).unwrap().is_loopback(), loopback, "{location}");
        }
    }

    #[test]
    fn values_cannot_leave_their_place() {
        assert_eq!(with_query("/a", &[("name", "a b&c=d"), ("path", "x/ü")]), "/a?name=a%20b%26c%3Dd&path=x%2F%C3%BC");
        assert_eq!(encode_path("a b/../c"), "a%20b/../c");
    }
}
