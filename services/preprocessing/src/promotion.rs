//! When a new Production version takes effect: once every live prediction replica can answer with it, so that no
//! request waits for it to load or falls back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use forebay_bus::ReadyCount;

/// The Production versions in effect, by model.
#[derive(Debug)]
pub(crate) struct PromotionGate {
    /// A version that is neither ready nor failed everywhere takes effect after this time.
    timeout: Duration,
    models: HashMap<String, ModelPromotion>,
}

#[derive(Debug)]
struct ModelPromotion {
    /// The version that answers requests without a version.
    production: u32,
    pending: Option<PendingPromotion>,
}

/// A version that is Production in the registry and not in effect yet.
#[derive(Debug)]
struct PendingPromotion {
    version: u32,
    since: Instant,
    /// It could not be loaded at the last check. Once it can be, its whole timeout starts again.
    refused: bool,
}

/// What is known of the version that is Production in the registry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PromotionCandidate {
    /// Its number.
    pub version: u32,
    /// Whether this stage can use it.
    pub usable: bool,
    /// How many live replicas have loaded it, and how many could not.
    pub ready_count: ReadyCount,
    /// Whether the version in effect can still be used.
    pub current_usable: bool,
}

impl PromotionGate {
    /// `timeout` bounds the wait for replicas that are neither ready nor failed.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, models: HashMap::new() }
    }

    /// The version in effect for a model.
    pub(crate) fn production(&self, model: &str) -> Option<u32> {
        self.models.get(model).map(|promotion| promotion.production)
    }

    /// Decides whether a candidate takes effect; returns the version that is in effect now.
    pub(crate) fn decide(&mut self, model: &str, candidate: PromotionCandidate, now: Instant) -> u32 {
        let PromotionCandidate { version, usable, ready_count, current_usable } = candidate;
        let Some(promotion) = self.models.get_mut(model) else {
            // nothing is in effect yet that could be kept
            self.models.insert(model.to_owned(), ModelPromotion { production: version, pending: None });
            return version;
        };
        if promotion.production == version {
            promotion.pending = None;
            return version;
        }
        let fresh = PendingPromotion { version, since: now, refused: false };
        let pending = match &mut promotion.pending {
            Some(pending) if pending.version == version => pending,
            slot => slot.insert(fresh),
        };
        let refused = !usable || ready_count.all_failed();
        let was_refused = std::mem::replace(&mut pending.refused, refused);
        if was_refused {
            pending.since = now;
        }
        let loaded = ready_count.live == 0 || ready_count.all_ready();
        let waited = now.saturating_duration_since(pending.since);
        let timed_out = waited >= self.timeout;
        if current_usable && (refused || !(loaded || timed_out)) {
            let kept = promotion.production;
            if refused && !was_refused {
                tracing::warn!(model, version, kept, "new production version cannot be loaded, the current one stays");
            }
            return kept;
        }
        if timed_out && !loaded && current_usable {
            let (live, ready) = (ready_count.live, ready_count.ready);
            tracing::warn!(model, version, live, ready, "production version takes effect before every replica has it");
        }
        tracing::info!(model, version, before = promotion.production, ?waited, "production version takes effect");
        *promotion = ModelPromotion { production: version, pending: None };
        version
    }

    /// Time until the next timeout of a pending version.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let left = |pending: &PendingPromotion| (pending.since + self.timeout).saturating_duration_since(now);
        let pending = self.models.values().filter_map(|promotion| promotion.pending.as_ref());
        let waits = pending.filter(|pending| !pending.refused).map(left).filter(|left| !left.is_zero());
        waits.min().unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn candidate(version: u32, live: usize, ready: usize, failed: usize) -> PromotionCandidate {
        PromotionCandidate {
            version,
            usable: true,
            ready_count: ReadyCount { live, ready, failed },
            current_usable: true,
        }
    }

    fn gate() -> (PromotionGate, Instant) {
        let (mut gate, now) = (PromotionGate::new(TIMEOUT), Instant::now());
        assert_eq!(gate.decide("m", candidate(1, 2, 0, 0), now), 1, "the first one is in effect at once");
        assert_eq!(gate.wait(now), Duration::MAX);
        (gate, now)
    }

    #[test]
    fn a_version_takes_over_when_every_replica_has_it() {
        let (mut gate, now) = gate();
        assert_eq!(gate.decide("m", candidate(2, 2, 1, 0), now), 1);
        assert_eq!(gate.wait(now + TIMEOUT / 3), TIMEOUT - TIMEOUT / 3);
        assert_eq!(gate.decide("m", candidate(2, 2, 2, 0), now), 2);
        assert_eq!((gate.production("m"), gate.wait(now)), (Some(2), Duration::MAX));
    }

    #[test]
    fn without_replicas_it_takes_over_at_once_and_a_slow_one_after_a_while() {
        let (mut gate, now) = gate();
        assert_eq!(gate.decide("m", candidate(2, 0, 0, 0), now), 2);
        assert_eq!(gate.decide("m", candidate(3, 2, 1, 1), now), 2);
        assert_eq!(gate.decide("m", candidate(3, 2, 1, 1), now + TIMEOUT - Duration::from_millis(1)), 2);
        assert_eq!(gate.decide("m", candidate(3, 2, 1, 1), now + TIMEOUT), 3);
    }

    #[test]
    fn one_that_no_replica_can_load_never_takes_over() {
        let (mut gate, now) = gate();
        assert_eq!(gate.decide("m", candidate(2, 2, 0, 2), now), 1);
        assert_eq!(gate.decide("m", candidate(2, 2, 0, 2), now + TIMEOUT * 9), 1);
        assert_eq!(gate.wait(now + TIMEOUT * 9), Duration::MAX, "there is no timeout to wait for");
        assert_eq!(
            gate.decide("m", candidate(2, 2, 0, 0), now + TIMEOUT * 9),
            1,
            "it is tried again, and may fail again"
        );
        assert_eq!(gate.decide("m", candidate(2, 2, 0, 2), now + TIMEOUT * 9), 1);
        let unreadable = PromotionCandidate { usable: false, ..candidate(2, 0, 0, 0) };
        assert_eq!(gate.decide("m", unreadable, now + TIMEOUT * 9), 1);
        assert_eq!(gate.decide("m", candidate(2, 2, 2, 0), now + TIMEOUT * 10), 2, "until it is mended");
    }

    #[test]
    fn nothing_is_kept_that_cannot_answer() {
        let (mut gate, now) = gate();
        assert_eq!(gate.decide("m", PromotionCandidate { current_usable: false, ..candidate(2, 2, 0, 0) }, now), 2);
    }

    #[test]
    fn moving_on_and_back_starts_the_wait_again() {
        let (mut gate, now) = gate();
        assert_eq!(gate.decide("m", candidate(2, 2, 0, 0), now), 1);
        assert_eq!(gate.decide("m", candidate(3, 2, 0, 0), now + TIMEOUT), 1);
        assert_eq!(gate.decide("m", candidate(1, 2, 0, 0), now + TIMEOUT), 1);
        assert_eq!(gate.decide("m", candidate(3, 2, 0, 0), now + TIMEOUT * 2), 1);
        assert_eq!(gate.decide("m", candidate(3, 2, 0, 0), now + TIMEOUT * 3), 3);
    }
}
