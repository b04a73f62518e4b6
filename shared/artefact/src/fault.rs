//! The error for a file of a model that cannot be used: the place in the file, and the problem.

/// A rejected artefact. `place` leads from the file inwards: `model.skops: steps[1]: tree_: nodes`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Fault {
    pub place: String,
    pub reason: String,
}

impl Fault {
    /// A fault at `place`.
    pub fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }

    /// The same fault with an outer place in front of its own.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let place = if self.place.is_empty() { outer.to_owned() } else { format!("{outer}: {}", self.place) };
        Self { place, reason: self.reason }
    }
}
