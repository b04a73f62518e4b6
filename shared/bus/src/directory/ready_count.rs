//! How far replicas are with a version.

/// How many live replicas have loaded a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadyCount {
    /// Live replicas of the model.
    pub live: usize,
    /// Those that can answer with the version.
    pub ready: usize,
    /// Those that could not load it.
    pub failed: usize,
}

impl ReadyCount {
    /// Every live replica can answer with it, and there is one.
    pub fn all_ready(&self) -> bool {
        self.live > 0 && self.ready == self.live
    }

    /// No live replica could load it, and there is one.
    pub fn all_failed(&self) -> bool {
        self.live > 0 && self.failed == self.live
    }
}
