//! Redirects. They are followed on the server's own host only: the credentials and the trust of the registry belong to it.

/// Where a response from `url` with the header `Location: location` leads.
///
/// # Errors
/// If that is another host, or leads from `https` to `http`.
pub(super) fn target(url: &str, location: &str) -> Result<String, &'static str> {
    let (scheme, host, port) = origin(url).ok_or("has no host")?;
    if location.starts_with('/') && !location.starts_with("//") {
        let authority_end = url.find("://").map_or(0, |at| at + 3);
        let end = url[authority_end..].find('/').map_or(url.len(), |at| authority_end + at);
        return Ok(format!("{}{location}", &url[..end]));
    }
    let (to_scheme, to_host, to_port) = origin(location).ok_or("redirects to something that is not a URL")?;
    if to_scheme == "http" && scheme == "https" {
        return Err("redirects from https to http, which is not followed");
    }
    let upgraded = scheme == "http" && to_scheme == "https";
    if to_host.eq_ignore_ascii_case(host) && (to_port == port || upgraded) {
        return Ok(location.to_owned());
    }
    Err("redirects to another server, which is not followed")
}

/// Scheme, host and port of a URL without a user.
fn origin(url: &str) -> Option<(&'static str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (scheme, usual) = match scheme.to_ascii_lowercase().as_str() {
        "http" => ("http", "80"),
        "https" => ("https", "443"),
        _ => return None,
    };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.contains(['@', '\\']) {
        return None;
    }
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let (host, port) = port.unwrap_or((authority, usual));
    (!host.is_empty()).then_some((scheme, host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_host_and_do_not_leave_https() {
        let from = "https://mlflow.example:5000/a/b?c";
        for (to, then) in [
            ("/x", "https://mlflow.example:5000/x"),
            ("https://mlflow.example:5000/y", "https://mlflow.example:5000/y"),
            ("HTTPS://MLFLOW.example:5000/y", "HTTPS://MLFLOW.example:5000/y"),
        ] {
            assert_eq!(target(from, to).as_deref(), Ok(then));
        }
        assert_eq!(target("http://h:5000", "/x").as_deref(), Ok("http://h:5000/x"));
        assert!(target("http://h:5000/", "https://h/x").is_ok(), "to https");
        for to in [
            "http://mlflow.example:5000/y",
            "https://mlflow.example/y",
            "https://evil.example:5000/",
            "//evil.example/",
            "https://mlflow.example:5000@evil.example/",
            "https://evil.example\\@mlflow.example:5000/",
            "file:///etc/passwd",
            "",
        ] {
            assert!(target(from, to).is_err(), "{to}");
        }
    }
}
