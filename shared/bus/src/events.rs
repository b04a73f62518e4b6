//! What edges report to their process: readiness, failures and metrics.

use std::time::Duration;

/// Called by sources and sinks, from any thread. No method may block.
pub trait EdgeEvents: Send + Sync + 'static {
    /// The edge works: assigned, caught up, connected.
    fn ready(&self) {}
    /// The edge does not work at present, for this reason, and keeps trying.
    fn unready(&self, _why: &str) {}
    /// The edge has failed for good: the process must end.
    fn fail(&self, _why: &str) {}
    /// Time a source waited for permits.
    fn waited(&self, _time: Duration) {}
    /// Items of unfinished work, and the bytes that they count for.
    fn in_flight(&self, _items: usize, _bytes: u64) {}
    /// Records behind the end of the partition.
    fn lag(&self, _topic: &str, _partition: i32, _records: i64) {}
    /// The partition is no longer assigned to this process.
    fn forget_lag(&self, _topic: &str, _partition: i32) {}
    /// Mean time in which the brokers answered during the last interval.
    fn round_trip(&self, _time: Duration) {}
    /// Longest time for which a broker delayed an answer because of a quota during the last interval; `client` is
    /// `consumer` or `producer`.
    fn throttled(&self, _client: &'static str, _time: Duration) {}
    /// By how many seconds the clock of this machine is at least behind that of the brokers; negative: ahead.
    fn clock_skew(&self, _seconds: f64) {}
    /// Age of the oldest record that is not done.
    fn oldest(&self, _age: Duration) {}
    /// A client that had lost its brokers for good was replaced; `client` is `consumer` or `producer`.
    fn client_replaced(&self, _client: &'static str) {}
    /// The topic no longer has the position of a partition: so many records were removed before they were read.
    fn position_lost(&self, _topic: &str, _records: u64) {}
    /// A batch of the topic cannot be read: it is damaged, or of an unknown codec.
    fn unreadable(&self, _topic: &str) {}
    /// A record went to the dead letters.
    fn dead_letter(&self) {}
    /// Items of advice were dropped.
    fn advice_dropped(&self, _items: usize) {}
    /// A dead letter could not be kept and is in the log alone.
    fn dead_letter_lost(&self) {}
}

/// Ignores every event.
#[derive(Clone, Copy, Debug)]
pub struct NoEvents;

impl EdgeEvents for NoEvents {}
