//! Filling the dedupe window from the result topic: with what an earlier owner of a partition answered when it is
//! assigned, and further back when outcomes come that are older.
//!
//! Replies over RabbitMQ are on no topic; the outcomes that were replied with are, see `replied.rs`. Replies to HTTP
//! callers and cached answers are not restored: a copy is replied to again, which its caller ignores, and the next caller
//! with an `Idempotency-Key` gets the answer that was computed for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_bus::kafka::{FirstRecord, TailError};
use forebay_contract::{ItemId, now_us};
use rustc_hash::FxHashMap;

use crate::dedupe::{Coverage, SharedDeduplicator, clock_slack, micros};
use crate::expiring_ids::{Mark, Position};
use crate::replied::RepliedRequests;
use crate::result_log::{LogReach, LogRead, LoggedResult, ResultLog};

/// Time that a take-over needs besides the session timeout of the member that left.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// Longest time for reading the results of an earlier owner.
const READ: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// Results that are restored under one lock.
const PART: usize = 512;

/// What a part of the result topic said.
#[derive(Debug)]
pub(crate) struct ReadBack {
    pub(crate) coverage: Coverage,
    pub(crate) reach: LogReach,
    /// Results of Forebay among the records.
    pub(crate) results: usize,
    /// Whether the window took all of them.
    pub(crate) complete: bool,
}

/// Reads a part of the result topic into the window, as far as that has room, and notes which of `wanted` were answered.
/// `Ok(None)` when `proceed` ended it.
pub(crate) fn read_back(
    log: &dyn ResultLog,
    deduplicator: &SharedDeduplicator,
    read: LogRead<'_>,
    wanted: &mut FxHashMap<ItemId, bool>,
    proceed: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<ReadBack>, TailError> {
    let mut before: FxHashMap<u32, Mark> = FxHashMap::default();
    let (mut results, mut complete) = (0, true);
    let mut part = Vec::with_capacity(PART);
    let restore = |part: &mut Vec<LoggedResult>| {
        let mut deduplicator = deduplicator.lock();
        let room = deduplicator.has_room_to_restore();
        let known = part.drain(..).filter(|_| room);
        known.for_each(|result| deduplicator.restore(result.id, position(&result)));
        room
    };
    let mut see = |result: LoggedResult| {
        results += 1;
        if let Some(answered) = wanted.get_mut(&result.id) {
            *answered = true;
        }
        if let Some((source, offset)) = result.source.filter(|_| result.before) {
            Mark { offset, answered_us: result.written_us }.raise(&mut before, source);
        }
        part.push(result);
        if part.len() == PART {
            complete &= restore(&mut part);
        }
    };
    let Some(reach) = log.read(read, &mut see, proceed)? else { return Ok(None) };
    complete &= restore(&mut part);
    if reach.whole {
        before.clear();
    }
    let since_us = if reach.whole { 0 } else { reach.removed_until_us.unwrap_or(read.since_us) };
    Ok(Some(ReadBack { coverage: Coverage { since_us, before }, reach, results, complete }))
}

fn position(result: &LoggedResult) -> Option<Position> {
    let (source, offset) = result.source?;
    let mark = Mark { offset, answered_us: result.written_us };
    Some(Position { partition: result.partition, source, mark })
}

/// Which outcomes this process gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Those of partitions of the results topic between the stages.
    ResultPartitions,
    /// Those of partitions of the request topic: every stage runs in this process.
    SourcePartitions,
}

/// Fills the dedupe window before the first outcome of a newly assigned partition is delivered. Cheap to clone.
#[derive(Clone)]
pub struct WindowRebuild {
    pub(crate) deduplicator: SharedDeduplicator,
    pub(crate) log: Option<Arc<dyn ResultLog>>,
    pub(crate) window: Duration,
    pub(crate) session: Duration,
    pub(crate) replied: Option<RepliedRequests>,
}

impl std::fmt::Debug for WindowRebuild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowRebuild").field("window", &self.window).finish_non_exhaustive()
    }
}

impl WindowRebuild {
    /// The hook of the source. `on_topic` turns assigned partitions into those of the result topic; an empty answer
    /// means all of them.
    pub fn hook(
        self,
        assigned: Assigned,
        on_topic: impl Fn(&[u32]) -> Vec<u32> + Send,
    ) -> impl FnMut(FirstRecord) + Send {
        let mut last = LastRead::default();
        move |first| {
            if let Some(since_us) = last.needed(&first, |first_us| self.since(assigned, first_us, now_us())) {
                self.read(&on_topic(&first.partitions), since_us);
                self.read_replied(&first.done_up_to, since_us);
            }
        }
    }

    /// How far back to read for a first record of this time. What an outcome's sender left uncommitted is younger than
    /// its session; older copies are looked up when they come. Of a client's clock nothing is certain but that the record
    /// has arrived by now.
    fn since(&self, assigned: Assigned, first_us: u64, now_us: u64) -> u64 {
        match assigned {
            Assigned::ResultPartitions => {
                first_us.saturating_sub(micros(self.session + TAKE_OVER + clock_slack(self.window)))
            }
            Assigned::SourcePartitions => first_us.min(now_us).saturating_sub(micros(self.window)),
        }
    }

    /// Adds items that other replicas have replied to over RabbitMQ; how many the window had no room for.
    pub(crate) fn add_announced(&self, items: &[ItemId]) -> usize {
        let mut deduplicator = self.deduplicator.lock();
        for (added, item) in items.iter().enumerate() {
            if !deduplicator.has_room_for_announced() {
                return items.len() - added;
            }
            deduplicator.restore(*item, None);
        }
        0
    }

    /// Reads which requests over RabbitMQ were replied to since a time, as far as work had ended.
    fn read_replied(&self, done_up_to: &[(u32, u64)], since_us: u64) {
        let Some(replied) = self.replied.as_ref().filter(|_| !done_up_to.is_empty()) else { return };
        let began = Instant::now();
        let found = loop {
            match replied.since(since_us, done_up_to, began + READ) {
                Err(error) if began.elapsed() < READ => {
                    tracing::debug!(%error, "trying again to find earlier replies");
                    std::thread::sleep(PAUSE);
                }
                found => break found,
            }
        };
        match found {
            Ok(ids) => {
                let (mut deduplicator, replies) = (self.deduplicator.lock(), ids.len());
                for id in ids {
                    if deduplicator.has_room_to_restore() {
                        deduplicator.restore(id, None);
                    }
                }
                tracing::info!(partitions = done_up_to.len(), replies, "earlier replies found");
            }
            Err(error) => tracing::warn!(%error, "earlier replies over rabbitmq are not known, and may be repeated"),
        }
    }

    /// Reads the results of `partitions` since a time. Blocks the thread for at most about ten seconds; a broker that is
    /// busy with a change of leaders is called again. What could not be read is looked up when it is needed.
    pub fn read(&self, partitions: &[u32], since_us: u64) {
        let Some(log) = &self.log else { return };
        let began = Instant::now();
        if partitions.is_empty() {
            self.deduplicator.lock().set_scattered();
        }
        loop {
            let mut proceed = |_| began.elapsed() < READ;
            let read = LogRead { partitions, since_us };
            match read_back(log.as_ref(), &self.deduplicator, read, &mut FxHashMap::default(), &mut proceed) {
                Ok(Some(ReadBack { coverage, reach, results, complete: true })) => {
                    self.deduplicator.lock().assigned(&reach.partitions, &coverage, began + self.window);
                    let records = reach.records;
                    return tracing::info!(?partitions, read = records, ours = results, "window rebuilt");
                }
                Ok(Some(_)) => break tracing::warn!(?partitions, "no room in the dedupe window for earlier results"),
                Ok(None) => break tracing::warn!(?partitions, "earlier results not read in time"),
                Err(error) if began.elapsed() >= READ => {
                    break tracing::warn!(?partitions, %error, "earlier results cannot be read");
                }
                Err(error) => tracing::debug!(?partitions, %error, "trying again to rebuild the window"),
            }
            std::thread::sleep(PAUSE);
        }
        self.deduplicator.lock().unassigned(partitions);
    }
}

/// The last read. Partitions that were assigned together need only one.
#[derive(Debug, Default)]
struct LastRead(Option<(u64, u64)>);

impl LastRead {
    /// The time from which results have to be read for `first`; `None` if the read for a partition of the same
    /// assignment covers it.
    fn needed(&mut self, first: &FirstRecord, since: impl Fn(u64) -> u64) -> Option<u64> {
        let first_us = u64::try_from(first.timestamp_ms).ok().filter(|ms| *ms > 0).map_or_else(now_us, |ms| ms * 1000);
        let since = since(first_us);
        if self.0.is_some_and(|(arrival, from)| arrival == first.arrival && from <= since) {
            return None;
        }
        self.0 = Some((first.arrival, since));
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_arrive_together_are_read_for_once() {
        let first =
            |timestamp_ms, arrival| FirstRecord { timestamp_ms, arrival, partitions: vec![0, 1], done_up_to: vec![] };
        let mut last = LastRead::default();
        let slack = |us: u64| us - 100_000;
        assert_eq!(last.needed(&first(5_000, 1), slack), Some(4_900_000));
        assert_eq!(last.needed(&first(5_200, 1), slack), None);
        assert_eq!(last.needed(&first(4_000, 1), slack), Some(3_900_000), "an older backlog needs an earlier start");
        assert_eq!(last.needed(&first(6_000, 2), slack), Some(5_900_000), "a later arrival may follow another owner");
        assert!(last.needed(&first(-1, 3), slack).is_some());
    }
}
