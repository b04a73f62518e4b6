//! What the dedupe window knows for sure, and whether that is enough to judge an outcome.
//!
//! The window forgets, and it begins empty; the result topic does neither. An outcome that may have been answered before
//! the window's knowledge begins is looked up in the result topic first.

use std::time::{Duration, Instant};

use forebay_contract::{Context, Origin};
use rustc_hash::FxHashMap;

use crate::expiring_ids::{Mark, Position};

/// By how much the clocks of hosts, brokers and clients may differ; never more than a quarter of the window.
const CLOCK_SLACK: Duration = Duration::from_secs(10);

/// The clock slack of a dedupe window.
pub(crate) fn clock_slack(window: Duration) -> Duration {
    CLOCK_SLACK.min(window / 4)
}

/// When a request may have been answered first, and where on the result topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Partition of the result topic.
    pub(crate) partition: u32,
    /// When ingestion accepted the request. A record that ingestion reads again is accepted again.
    pub(crate) accepted_us: u64,
    /// The record of a request from Kafka.
    pub(crate) source: Option<SourceRecord>,
}

/// A record of the request topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceRecord {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// By the clock of the client.
    pub(crate) timestamp_us: u64,
}

impl Placement {
    /// The placement of the request with `context` on a topic with so many partitions. While their number is unknown it
    /// is on none that has been read.
    pub(crate) fn of(context: &Context, partitions: Option<u32>) -> Self {
        let partition = partitions.map_or(u32::MAX, |count| context.result_partition() % count.max(1));
        let source = match context.origin() {
            Some(Origin::Kafka(record)) => Some(SourceRecord {
                partition: record.partition,
                offset: record.offset,
                timestamp_us: record.timestamp_ms.max(0).unsigned_abs().saturating_mul(1000),
            }),
            _ => None,
        };
        Self { partition, accepted_us: context.accepted_us(), source }
    }

    /// The earliest time at which the request may have been read.
    pub(crate) fn earliest_us(&self) -> u64 {
        self.source.map_or(self.accepted_us, |source| source.timestamp_us.min(self.accepted_us))
    }

    /// What the window remembers of an answer given at `now_us`.
    pub(crate) fn position(&self, now_us: u64) -> Option<Position> {
        let SourceRecord { partition: source, offset, .. } = self.source?;
        Some(Position { partition: self.partition, source, mark: Mark { offset, answered_us: now_us } })
    }
}

/// What is known of partitions of the result topic: every answer since a time is in the window, and before it only
/// requests up to these offsets had been answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    /// 0 if every answer there ever was is known.
    pub(crate) since_us: u64,
    /// The highest offset of each source partition that was answered before.
    pub(crate) before: FxHashMap<u32, Mark>,
}

impl Coverage {
    /// Whether an answer to `placement` would be known.
    pub(crate) fn decides(&self, placement: &Placement, window: Duration) -> bool {
        decides(placement, self.since_us, self.before(placement), window)
    }

    fn before(&self, placement: &Placement) -> Option<Mark> {
        self.before.get(&placement.source?.partition).copied()
    }

    /// Whether an answer since the request was accepted would be known. That leaves out records which ingestion reads
    /// again.
    pub(crate) fn reaches_acceptance(&self, placement: &Placement, window: Duration) -> bool {
        placement.accepted_us.saturating_sub(micros(clock_slack(window))) >= self.since_us
    }
}

/// Records of a source partition are read in their order, so offsets tell more than clocks: what is above every offset
/// answered before `since_us` has not been answered before. A much later record at a lower offset is that of a topic
/// which was created again; it is judged by its time.
fn decides(placement: &Placement, since_us: u64, before: Option<Mark>, window: Duration) -> bool {
    if let Some((source, mark)) = placement.source.zip(before) {
        if source.offset > mark.offset {
            return true;
        }
        if source.timestamp_us <= mark.answered_us.saturating_add(micros(window)) {
            return false;
        }
    }
    placement.earliest_us().saturating_sub(micros(clock_slack(window))) >= since_us
}

/// The coverage of each partition of the result topic.
#[derive(Debug)]
pub(crate) struct Coverages {
    window: Duration,
    /// Each with the time until which the window remembers all of it.
    partitions: FxHashMap<u32, (Coverage, Instant)>,
}

impl Coverages {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, partitions: FxHashMap::default() }
    }

    /// The window has learnt what `coverage` says, and remembers it until `until`.
    pub(crate) fn set(&mut self, partition: u32, coverage: Coverage, until: Instant) {
        self.partitions.insert(partition, (coverage, until));
    }

    /// Nothing is known of these partitions; empty means all.
    pub(crate) fn remove(&mut self, partitions: &[u32]) {
        self.partitions.retain(|partition, _| !partitions.is_empty() && !partitions.contains(partition));
    }

    /// Whether an answer to `placement` would be in the window. `forgotten` is the highest offset that has expired from
    /// it.
    pub(crate) fn decide(
        &self,
        placement: &Placement,
        forgotten: impl FnOnce() -> Option<Mark>,
        now: Instant,
        now_us: u64,
    ) -> bool {
        let Some((coverage, until)) = self.partitions.get(&placement.partition) else { return false };
        if now < *until {
            return coverage.decides(placement, self.window);
        }
        let (before, forgotten) = (coverage.before(placement), forgotten());
        if placement.source.is_some() && forgotten.is_none() {
            // nothing of this source partition has expired since it was read back
            return coverage.decides(placement, self.window);
        }
        let highest = before.into_iter().chain(forgotten).max_by_key(|mark| mark.offset);
        decides(placement, now_us.saturating_sub(micros(self.window)), highest, self.window)
    }
}

/// A duration as the mesh counts time.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const WINDOW: Duration = Duration::from_secs(120);
    const NOW: u64 = 10_000 * SECOND;

    fn http(accepted_us: u64) -> Placement {
        Placement { partition: 0, accepted_us, source: None }
    }

    fn record(offset: u64, timestamp_us: u64, accepted_us: u64) -> Placement {
        Placement { partition: 0, accepted_us, source: Some(SourceRecord { partition: 3, offset, timestamp_us }) }
    }

    fn coverage(since_us: u64, before: Option<u64>) -> Coverage {
        let mark = |offset| (3, Mark { offset, answered_us: since_us });
        Coverage { since_us, before: before.map(mark).into_iter().collect() }
    }

    #[test]
    fn without_offsets_the_acceptance_decides_less_the_slack() {
        let known = coverage(NOW, None);
        assert!(known.decides(&http(NOW + 10 * SECOND), WINDOW));
        assert!(!known.decides(&http(NOW + 10 * SECOND - 1), WINDOW), "its clock may be ahead");
        assert!(known.decides(&http(NOW + SECOND), Duration::from_secs(4)), "a quarter of a short window");
        assert!(!known.decides(&record(9, NOW, NOW + 60 * SECOND), WINDOW), "a record read again is accepted again");
        assert!(known.reaches_acceptance(&record(9, NOW, NOW + 60 * SECOND), WINDOW));
        assert!(Coverage::default().decides(&http(0), WINDOW), "the whole topic was read");
    }

    #[test]
    fn a_record_above_every_forgotten_offset_is_new_however_old_it_is() {
        let known = coverage(NOW, Some(100));
        assert!(known.decides(&record(101, NOW - 3_600 * SECOND, NOW + SECOND), WINDOW), "a backlog is not looked up");
        assert!(known.decides(&record(101, NOW + 500 * SECOND, NOW + 900 * SECOND), WINDOW), "nor that of an outage");
        assert!(!known.decides(&record(100, NOW - SECOND, NOW + 60 * SECOND), WINDOW));
        let ahead = record(100, NOW + 100 * SECOND, NOW + 100 * SECOND);
        assert!(!known.decides(&ahead, WINDOW), "whatever the client's clock says");
    }

    #[test]
    fn a_topic_that_was_created_again_is_judged_by_its_times() {
        let known = coverage(NOW, Some(1_000_000));
        assert!(known.decides(&record(0, NOW + 121 * SECOND, NOW + 121 * SECOND), WINDOW));
    }

    #[test]
    fn knowledge_shrinks_to_the_window_when_what_was_read_back_expires() {
        let start = Instant::now();
        let mut coverages = Coverages::new(WINDOW);
        let old = http(NOW - 600 * SECOND);
        assert!(!coverages.decide(&old, || None, start, NOW), "nothing is known of a partition before it was read");
        coverages.set(0, coverage(NOW - 1_000 * SECOND, None), start + WINDOW);
        assert!(coverages.decide(&old, || None, start, NOW));
        let later = start + WINDOW;
        assert!(!coverages.decide(&old, || None, later, NOW + 120 * SECOND));
        assert!(coverages.decide(&http(NOW + 11 * SECOND), || None, later, NOW + 120 * SECOND));
        let backlog = record(7, NOW - 900 * SECOND, NOW + 120 * SECOND);
        assert!(coverages.decide(&backlog, || None, later, NOW + 120 * SECOND), "nothing of its partition has expired");
        let forgotten = || Some(Mark { offset: 7, answered_us: NOW });
        assert!(!coverages.decide(&record(7, NOW, NOW + 120 * SECOND), forgotten, later, NOW + 120 * SECOND));
        assert!(coverages.decide(&record(8, NOW, NOW + 120 * SECOND), forgotten, later, NOW + 120 * SECOND));
    }
}
