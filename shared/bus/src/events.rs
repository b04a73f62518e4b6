//! What edges tell the process that runs them: readiness, failure, and what the metrics count.

use std::time::Duration;

/// Told by sources and sinks. Every method may be called from any thread and must not block.
pub trait EdgeEvents: Send + Sync + 'static {
    /// The edge works: assigned, caught up, connected.
    fn ready(&self) {}
    /// The edge does not work now and says why; it goes on trying.
    fn unready(&self, _why: &str) {}
    /// The edge cannot go on: the process must end.
    fn fail(&self, _why: &str) {}
    /// Time a source waited for permits.
    fn waited(&self, _time: Duration) {}
    /// Items of unfinished work.
    fn in_flight(&self, _items: usize) {}
    /// Records behind the end of the partition.
    fn lag(&self, _topic: &str, _partition: i32, _records: i64) {}
    /// The partition went to another member.
    fn forget_lag(&self, _topic: &str, _partition: i32) {}
    /// Mean time a broker took to acknowledge a produce request lately.
    fn round_trip(&self, _time: Duration) {}
    /// Longest time a broker held an answer back for a quota lately; `client` is `consumer` or `producer`.
    fn throttled(&self, _client: &'static str, _time: Duration) {}
    /// Age of the oldest record that is not done.
    fn oldest(&self, _age: Duration) {}
    /// A record went to the dead letters.
    fn dead_letter(&self) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug)]
pub struct NoEvents;

impl EdgeEvents for NoEvents {}
