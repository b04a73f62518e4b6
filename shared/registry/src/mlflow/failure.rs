//! What an MLflow server and its connection say about a call that failed.

use serde::Deserialize;

use crate::RegistryError;

/// Largest number of characters of the server's message in an error.
const MAX_MESSAGE: usize = 300;

/// MLflow's own description of an error.
#[derive(Debug, Default, Deserialize)]
struct ErrorResponse {
    /// In some answers of Databricks the status once more, as a number.
    #[serde(default)]
    error_code: serde_json::Value,
    #[serde(default)]
    message: String,
}

/// A call that got no answer.
pub(super) fn failed(url: &str, error: &ureq::Error) -> RegistryError {
    let (url, reason) = (url.to_owned(), error.to_string());
    match error {
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
            RegistryError::Unreachable { url, status: None, reason }
        }
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::BodyStalled | ureq::Error::Protocol(_) => {
            RegistryError::Unreachable { url, status: None, reason }
        }
        _ => RegistryError::Answer { url, reason },
    }
}

/// A call that was answered with an error.
pub(super) fn refused(url: &str, status: u16, body: &[u8]) -> RegistryError {
    let error = serde_json::from_slice::<ErrorResponse>(body).unwrap_or_else(|_| ErrorResponse {
        message: String::from_utf8_lossy(body).into_owned(),
        error_code: serde_json::Value::Null,
    });
    let code = error.error_code.as_str().unwrap_or_default();
    let (url, message) = (url.to_owned(), shortened(&error.message));
    if status == 429 || status >= 500 {
        let reason = format!("status {status}: {message}");
        return RegistryError::Unreachable { url, status: Some(status), reason };
    }
    RegistryError::Refused { url, status, code: shortened(code), message }
}

/// Shortens `text` to one line of bounded length.
pub(super) fn shortened(text: &str) -> String {
    let line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE + 1).collect();
    if line.chars().count() <= MAX_MESSAGE { line } else { line.chars().take(MAX_MESSAGE).chain(['…']).collect() }
}
