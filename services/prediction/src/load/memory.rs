//! What the loader remembers of versions beside what is in the table.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::versions::{RELOAD, VersionName};

/// Of all models.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Content that could not be loaded in place of what goes on answering, and when that was.
    refused: HashMap<VersionName, ([u8; 32], Instant)>,
    /// When a version was first missed in the registry.
    missed: HashMap<VersionName, Instant>,
}

impl Memory {
    /// Content that could not be loaded.
    pub(super) fn refuse(&mut self, name: VersionName, digest: [u8; 32]) {
        self.refused.insert(name, (digest, Instant::now()));
    }

    /// Whether this content could not be loaded.
    pub(super) fn has_refused(&self, name: &VersionName, digest: &[u8; 32]) -> bool {
        self.refused.get(name).is_some_and(|(refused, _)| refused == digest)
    }

    /// Whether it could not be loaded a moment ago.
    pub(super) fn just_refused(&self, name: &VersionName, digest: &[u8; 32]) -> bool {
        self.refused.get(name).is_some_and(|(refused, at)| refused == digest && at.elapsed() < RELOAD)
    }

    /// Which of the `missing` versions of a model the registry has not had for `grace`; the others are listed, or still
    /// have time.
    pub(super) fn overdue(&mut self, model: &str, missing: &BTreeSet<u32>, grace: Duration) -> BTreeSet<u32> {
        self.missed.retain(|(of, number), _| of != model || missing.contains(number));
        let gone = |number: &u32| {
            let missed = self.missed.entry((model.to_owned(), *number)).or_insert_with(Instant::now);
            missed.elapsed() >= grace
        };
        let gone: BTreeSet<u32> = missing.iter().copied().filter(gone).collect();
        self.missed.retain(|(of, number), _| of != model || !gone.contains(number));
        self.refused.retain(|(of, number), _| of != model || !gone.contains(number));
        gone
    }
}
