//! Why a file of a model cannot be used: where in it, and what is wrong.

/// A refused artefact. `place` reads from the file inwards: `model.skops: steps[1]: tree_: nodes`.
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

    /// The same fault seen from further outside.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let place = if self.place.is_empty() { outer.to_owned() } else { format!("{outer}: {}", self.place) };
        Self { place, reason: self.reason }
    }
}
