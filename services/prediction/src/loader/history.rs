//! What the loader remembers about versions beyond the snapshot.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::loader_commands::VersionName;
use crate::versions::RELOAD;

/// Failed replacements and removals, of all models.
#[derive(Debug, Default)]
pub(crate) struct LoadHistory {
    /// Content that could not replace a loaded version, which stays in use, and when that was tried.
    refused: HashMap<VersionName, ([u8; 32], Instant)>,
    /// When a version was first missing from the registry.
    missed: HashMap<VersionName, Instant>,
}

impl LoadHistory {
    /// Notes content that could not be loaded.
    pub(super) fn refuse(&mut self, name: VersionName, digest: [u8; 32]) {
        self.refused.insert(name, (digest, Instant::now()));
    }

    /// Whether this content could not be loaded before.
    pub(super) fn has_refused(&self, name: &VersionName, digest: &[u8; 32]) -> bool {
        self.refused.get(name).is_some_and(|(refused, _)| refused == digest)
    }

    /// Whether this content could not be loaded so recently that it is not tried again yet.
    pub(super) fn just_refused(&self, name: &VersionName, digest: &[u8; 32]) -> bool {
        self.refused.get(name).is_some_and(|(refused, at)| refused == digest && at.elapsed() < RELOAD)
    }

    /// The versions among `missing`, the loaded ones that the registry does not list, that have been missing for
    /// `grace`.
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
