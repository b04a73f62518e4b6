//! The name of a run, carried in every request id, so that runs on one topic can be distinguished.

use std::fmt;
use std::io::Write as _;

use crate::error::LoadtestError;

/// Eight hexadecimal digits. Request `i` of the run has the id `<run>-<i>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunId(String);

/// Whose answer a request id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultOwner {
    /// Ours, with the number of the request.
    Ours(u64),
    /// It has our prefix, but no number that we could have sent.
    Garbled,
    /// Another run's, or another client's.
    Foreign,
}

impl RunId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:08x}", rand::random::<u32>()))
    }

    /// Takes what an earlier command printed.
    pub fn parse(text: &str) -> Result<Self, LoadtestError> {
        if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LoadtestError::Input(format!("run id {text:?}: expected eight hexadecimal digits")))
        }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A small number that differs from run to run: below one million.
    pub(crate) fn salt(&self) -> u32 {
        u32::from_str_radix(&self.0, 16).unwrap_or_default() % 1_000_000
    }

    /// Appends the id of request `index`.
    pub fn write_request_id(&self, index: u64, out: &mut Vec<u8>) {
        let _infallible = write!(out, "{}-{index}", self.0);
    }

    /// Tells whose `request_id` is.
    #[must_use]
    pub fn owner(&self, request_id: &str) -> ResultOwner {
        let Some(rest) = request_id.strip_prefix(self.0.as_str()) else { return ResultOwner::Foreign };
        let digits = rest.strip_prefix('-').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).map_or(ResultOwner::Garbled, ResultOwner::Ours)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_recognised_by_its_own_run_only() {
        let run = RunId::parse("0a1b2c3d").unwrap();
        let mut id = Vec::new();
        run.write_request_id(42, &mut id);
        assert_eq!(id, b"0a1b2c3d-42");
        assert_eq!(run.owner("0a1b2c3d-42"), ResultOwner::Ours(42));
        assert_eq!(run.owner("0a1b2c3d-4x"), ResultOwner::Garbled);
        assert_eq!(run.owner("0a1b2c3d42"), ResultOwner::Garbled);
        assert_eq!(run.owner("load_test_0"), ResultOwner::Foreign);
        assert!(RunId::parse("short").is_err());
    }
}
