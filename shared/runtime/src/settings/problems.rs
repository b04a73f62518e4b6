//! Everything that is wrong with the settings, collected so that one start shows all of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Origin;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key, or the name of the file or variable that cannot be used at all.
    pub key: String,
    /// Where the value came from, when the key has one.
    pub origin: Option<Origin>,
    /// What is wrong and what was expected.
    pub text: String,
}

/// A collector of [`Problem`]s.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    found: Vec<Problem>,
    origins: Arc<BTreeMap<String, Origin>>,
}

impl Problems {
    pub(super) fn with_origins(found: Vec<Problem>, origins: BTreeMap<String, Origin>) -> Self {
        Self { found, origins: Arc::new(origins) }
    }

    /// Adds a problem of the setting `key` (dotted, `"cache.capacity"`); its origin is looked up.
    pub fn add(&mut self, key: impl Into<String>, text: impl Into<String>) {
        let key = key.into();
        let origin = self.origins.get(&key).cloned();
        self.found.push(Problem { key, origin, text: text.into() });
    }

    pub(super) fn push(&mut self, key: impl Into<String>, origin: Option<Origin>, text: impl Into<String>) {
        self.found.push(Problem { key: key.into(), origin, text: text.into() });
    }

    /// True while nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found so far, in the order it was found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// All problems as one error, or nothing.
    ///
    /// # Errors
    /// When at least one problem was added.
    pub fn into_result(self) -> Result<(), SettingsError> {
        if self.found.is_empty() { Ok(()) } else { Err(SettingsError { problems: self.found }) }
    }
}

/// The settings cannot be used. Displays every problem on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => writeln!(f, "1 problem in the settings:")?,
            count => writeln!(f, "{count} problems in the settings:")?,
        }
        for problem in &self.problems {
            match &problem.origin {
                Some(origin) => writeln!(f, "  {} ({origin}): {}", problem.key, problem.text)?,
                None => writeln!(f, "  {}: {}", problem.key, problem.text)?,
            }
        }
        Ok(())
    }
}
