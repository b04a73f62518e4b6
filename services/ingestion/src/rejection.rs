//! An error answer of the HTTP server, with the headers it needs.

use std::time::Duration;

use forebay_contract::{ErrorCode, Problem};

/// Why the HTTP server rejects a request before it enters the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRejection {
    /// Error code and message.
    pub problem: Problem,
    /// How long the caller should wait before it tries again, if that is known.
    pub retry_after: Option<Duration>,
    /// Value of the `WWW-Authenticate` header.
    pub challenge: Option<&'static str>,
    /// The caller has exceeded its own limit: the mesh has capacity and nothing has failed, so no error is counted.
    pub limit_exceeded: bool,
}

impl HttpRejection {
    /// A rejection without extra headers.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::from(Problem::new(code, message))
    }

    /// The caller has exceeded its own limit and may try again after `wait`.
    pub fn limit_exceeded(message: impl Into<String>, wait: Duration) -> Self {
        Self { retry_after: Some(wait), limit_exceeded: true, ..Self::new(ErrorCode::Overloaded, message) }
    }

    /// Adds a `WWW-Authenticate` challenge.
    #[must_use]
    pub fn challenge(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    /// Whole seconds for `Retry-After`, rounded up; 1 if nothing better is known.
    pub fn retry_seconds(&self) -> u64 {
        let wait = self.retry_after.unwrap_or_default();
        (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
    }
}

impl From<Problem> for HttpRejection {
    fn from(problem: Problem) -> Self {
        Self { problem, retry_after: None, challenge: None, limit_exceeded: false }
    }
}
