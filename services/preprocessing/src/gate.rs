//! When a moved Production takes effect: once every prediction replica that is alive can answer with the new version, so
//! that no request waits for it or falls back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use forebay_bus::ReadyCount;

/// The Production versions in effect, by model.
#[derive(Debug)]
pub(crate) struct Gate {
    patience: Duration,
    models: HashMap<String, Passage>,
}

#[derive(Debug)]
struct Passage {
    /// Answers who asks for no version.
    open: u32,
    waiting: Option<Waiting>,
}

/// A version that wants to take over.
#[derive(Debug)]
struct Waiting {
    version: u32,
    since: Instant,
    /// It could not be loaded when last looked at; once mended it has its whole time again.
    refused: bool,
}

/// What is known of a version that the registry calls Production.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Its number.
    pub version: u32,
    /// It could be read here.
    pub usable: bool,
    /// How far the prediction replicas are with it.
    pub ready_count: ReadyCount,
    /// The version in effect can still be used.
    pub other_usable: bool,
}

impl Gate {
    /// A version that is neither ready nor failed everywhere takes over after `patience`.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, models: HashMap::new() }
    }

    /// The version in effect for a model.
    pub(crate) fn open(&self, model: &str) -> Option<u32> {
        self.models.get(model).map(|passage| passage.open)
    }

    /// Lets a candidate take over or not; gives the version in effect.
    pub(crate) fn pass(&mut self, model: &str, candidate: Candidate, now: Instant) -> u32 {
        let Candidate { version, usable, ready_count, other_usable } = candidate;
        let Some(passage) = self.models.get_mut(model) else {
            // nothing is in effect yet that could be kept
            self.models.insert(model.to_owned(), Passage { open: version, waiting: None });
            return version;
        };
        if passage.open == version {
            passage.waiting = None;
            return version;
        }
        let fresh = Waiting { version, since: now, refused: false };
        let waiting = match &mut passage.waiting {
            Some(waiting) if waiting.version == version => waiting,
            slot => slot.insert(fresh),
        };
        let refused = !usable || ready_count.all_failed();
        let was_refused = std::mem::replace(&mut waiting.refused, refused);
        if was_refused {
            waiting.since = now;
        }
        let arrived = ready_count.live == 0 || ready_count.all_ready();
        let waited = now.saturating_duration_since(waiting.since);
        let late = waited >= self.patience;
        if other_usable && (refused || !(arrived || late)) {
            let kept = passage.open;
            if refused && !was_refused {
                tracing::warn!(model, version, kept, "the new production version cannot be loaded, the old one stays");
            }
            return kept;
        }
        if late && !arrived && other_usable {
            tracing::warn!(
                model,
                version,
                live = ready_count.live,
                ready = ready_count.ready,
                "not every replica is ready, taking over"
            );
        }
        tracing::info!(model, version, before = passage.open, ?waited, "version takes over as production");
        *passage = Passage { open: version, waiting: None };
        version
    }

    /// How long until somebody has waited long enough.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let left = |waiting: &Waiting| (waiting.since + self.patience).saturating_duration_since(now);
        let waiting = self.models.values().filter_map(|passage| passage.waiting.as_ref());
        waiting
            .filter(|waiting| !waiting.refused)
            .map(left)
            .filter(|left| !left.is_zero())
            .min()
            .unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn candidate(version: u32, live: usize, ready: usize, failed: usize) -> Candidate {
        Candidate { version, usable: true, ready_count: ReadyCount { live, ready, failed }, other_usable: true }
    }

    fn gate() -> (Gate, Instant) {
        let (mut gate, now) = (Gate::new(PATIENCE), Instant::now());
        assert_eq!(gate.pass("m", candidate(1, 2, 0, 0), now), 1, "the first one is in effect at once");
        assert_eq!(gate.wait(now), Duration::MAX);
        (gate, now)
    }

    #[test]
    fn a_version_takes_over_when_every_replica_has_it() {
        let (mut gate, now) = gate();
        assert_eq!(gate.pass("m", candidate(2, 2, 1, 0), now), 1);
        assert_eq!(gate.wait(now + PATIENCE / 3), PATIENCE - PATIENCE / 3);
        assert_eq!(gate.pass("m", candidate(2, 2, 2, 0), now), 2);
        assert_eq!((gate.open("m"), gate.wait(now)), (Some(2), Duration::MAX));
    }

    #[test]
    fn without_replicas_it_takes_over_at_once_and_a_slow_one_after_a_while() {
        let (mut gate, now) = gate();
        assert_eq!(gate.pass("m", candidate(2, 0, 0, 0), now), 2);
        assert_eq!(gate.pass("m", candidate(3, 2, 1, 1), now), 2);
        assert_eq!(gate.pass("m", candidate(3, 2, 1, 1), now + PATIENCE - Duration::from_millis(1)), 2);
        assert_eq!(gate.pass("m", candidate(3, 2, 1, 1), now + PATIENCE), 3);
    }

    #[test]
    fn one_that_no_replica_can_load_never_takes_over() {
        let (mut gate, now) = gate();
        assert_eq!(gate.pass("m", candidate(2, 2, 0, 2), now), 1);
        assert_eq!(gate.pass("m", candidate(2, 2, 0, 2), now + PATIENCE * 9), 1);
        assert_eq!(gate.wait(now + PATIENCE * 9), Duration::MAX, "nothing to wake up for");
        assert_eq!(
            gate.pass("m", candidate(2, 2, 0, 0), now + PATIENCE * 9),
            1,
            "it is tried again, and may fail again"
        );
        assert_eq!(gate.pass("m", candidate(2, 2, 0, 2), now + PATIENCE * 9), 1);
        let unreadable = Candidate { usable: false, ..candidate(2, 0, 0, 0) };
        assert_eq!(gate.pass("m", unreadable, now + PATIENCE * 9), 1);
        assert_eq!(gate.pass("m", candidate(2, 2, 2, 0), now + PATIENCE * 10), 2, "until it is mended");
    }

    #[test]
    fn nothing_is_kept_that_cannot_answer() {
        let (mut gate, now) = gate();
        assert_eq!(gate.pass("m", Candidate { other_usable: false, ..candidate(2, 2, 0, 0) }, now), 2);
    }

    #[test]
    fn moving_on_and_back_starts_the_wait_again() {
        let (mut gate, now) = gate();
        assert_eq!(gate.pass("m", candidate(2, 2, 0, 0), now), 1);
        assert_eq!(gate.pass("m", candidate(3, 2, 0, 0), now + PATIENCE), 1);
        assert_eq!(gate.pass("m", candidate(1, 2, 0, 0), now + PATIENCE), 1);
        assert_eq!(gate.pass("m", candidate(3, 2, 0, 0), now + PATIENCE * 2), 1);
        assert_eq!(gate.pass("m", candidate(3, 2, 0, 0), now + PATIENCE * 3), 3);
    }
}
