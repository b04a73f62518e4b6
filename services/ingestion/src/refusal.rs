//! A problem with what an HTTP answer needs beside it.

use std::time::Duration;

use forebay_contract::{ErrorCode, Problem};

/// Why a request goes no further than the HTTP door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Code and sentence.
    pub problem: Problem,
    /// When it is worth trying again, if that is known.
    pub retry_after: Option<Duration>,
    /// What `WWW-Authenticate` says.
    pub challenge: Option<&'static str>,
    /// The caller has used up what is its own: the mesh has room, and nothing failed.
    pub used_up: bool,
}

impl Refusal {
    /// A refusal without hints.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::from(Problem::new(code, message))
    }

    /// The caller has used up its own, until `wait` has passed.
    pub fn used_up(message: impl Into<String>, wait: Duration) -> Self {
        Self { retry_after: Some(wait), used_up: true, ..Self::new(ErrorCode::Overloaded, message) }
    }

    /// With a challenge.
    #[must_use]
    pub fn challenge(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    /// Whole seconds for `Retry-After`, rounded up; one where nothing better is known.
    pub fn retry_seconds(&self) -> u64 {
        let wait = self.retry_after.unwrap_or_default();
        (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, retry_after: None, challenge: None, used_up: false }
    }
}
