//! Addresses that answers may be posted to.

use http::Uri;

use super::without_query;

/// The beginning of an address: scheme, host, port and, up to a slash or whole, the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedTarget {
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

impl AllowedTarget {
    /// Reads `https://host[:port]/path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "is no address".to_owned())?;
        let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return Err("is no address, expected https:// or http://".to_owned()),
        };
        let authority = uri.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') || text.contains('#') || uri.query().is_some() {
            return Err("has a login, a query or a fragment".to_owned());
        }
        let (host, port) = (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(usual));
        Ok(Self { scheme, host, port, path: uri.path().to_owned() })
    }

    /// Whether `url` begins like this. A path that could lead elsewhere does not.
    pub(super) fn covers(&self, url: &str) -> bool {
        let Ok(Self { scheme, host, port, path }) = Self::parse(without_query(url)) else { return false };
        // servers differ in what they decode, and in what they cut off a segment behind a semicolon
        let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy();
        let bare = |segment: &str| segment.split(';').next().is_some_and(|name| matches!(name, "." | ".."));
        let steps = decoded.split(['/', '\\']).any(bare) || decoded.contains('%');
        let begins = path == self.path || path.starts_with(&format!("{}/", self.path.trim_end_matches('/')));
        (scheme, host, port) == (self.scheme.clone(), self.host.clone(), self.port) && begins && !steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_like_a_target_is_covered() {
        let target = AllowedTarget::parse("https://Hooks.example.org/forebay").unwrap();
        for url in [
            "https://hooks.example.org/forebay",
            "https://hooks.example.org:443/forebay/a/b?c=../d",
            "HTTPS://HOOKS.EXAMPLE.ORG/forebay/",
        ] {
            assert!(target.covers(url), "{url}");
        }
        for url in [
            "http://hooks.example.org/forebay",
            "https://hooks.example.org:444/forebay",
            "https://hooks.example.org/forebay2",
            "https://hooks.example.org/",
            "https://hooks.example.org/forebay/../admin",
            "https://hooks.example.org/forebay/%2e%2E/admin",
            "https://hooks.example.org/forebay/..;/admin",
            "https://hooks.example.org/forebay/%252e%252e/admin",
            "https://hooks.example.org/forebay\\..\\admin",
            "https://hooks.example.org@evil.example/forebay",
            "https://user:secret@hooks.example.org/forebay",
            "https://hooks.example.org.evil.example/forebay",
            "https://evil.example/https://hooks.example.org/forebay",
            "//hooks.example.org/forebay",
            "/forebay",
            "",
        ] {
            assert!(!target.covers(url), "{url}");
        }
        assert!(AllowedTarget::parse("https://hooks.example.org").unwrap().covers("https://hooks.example.org/any"));
        for wrong in ["hooks.example.org", "ftp://a/", "https://a/?b", "https://u@a/", "https:///a", ""] {
            assert!(AllowedTarget::parse(wrong).is_err(), "{wrong}");
        }
    }
}
