//! The result topic, read back: which requests were answered on it, and when.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use forebay_bus::kafka::{Client, DeadLetters, Tail, TailError, TailRange, TailRecord, TailSpec};
use forebay_contract::ItemId;

use crate::kafka_results::{ORIGIN_HEADER, REQUEST_ID_HEADER, parse_origin_header, parse_request_id_header};

/// A part of the result topic: from a time, or [`BEFORE`] records of each partition before it, to its end.
#[derive(Clone, Copy, Debug)]
pub struct LogRead<'a> {
    /// The partitions; empty means all of them.
    pub partitions: &'a [u32],
    /// Record time, Unix microseconds.
    pub since_us: u64,
}

/// A result on the topic.
#[derive(Clone, Copy, Debug)]
pub struct LoggedResult {
    /// What it answers.
    pub id: ItemId,
    /// Its partition.
    pub partition: u32,
    /// Source partition and offset of a request from Kafka.
    pub source: Option<(u32, u64)>,
    /// When it was written, Unix microseconds.
    pub written_us: u64,
    /// Whether it lies before the first record since the time.
    pub before: bool,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct LogReach {
    /// The partitions.
    pub partitions: Vec<u32>,
    /// Number of records.
    pub records: usize,
    /// Whether no result was ever written before the first one that was read.
    pub whole: bool,
    /// Time of the earliest record that is left where retention has removed records that may have belonged to the part;
    /// the latest of all partitions. `u64::MAX` if none is left.
    pub removed_until_us: Option<u64>,
}

/// The results that were sent, in the order of each partition.
pub trait ResultLog: fmt::Debug + Send + Sync {
    /// Hands results to `see`, in parts. After each part `proceed` gets the number of records so far; the read ends
    /// when it returns `false`, without a reach.
    ///
    /// # Errors
    /// When the topic cannot be read at present.
    fn read(
        &self,
        read: LogRead<'_>,
        see: &mut dyn FnMut(LoggedResult),
        proceed: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<LogReach>, TailError>;
}

/// Where the results that were sent can be found again.
#[derive(Clone, Debug)]
pub struct ResultHistory {
    /// The result topic.
    pub log: Arc<dyn ResultLog>,
    /// Takes results of which cannot be found out any more whether they were sent.
    pub letters: DeadLetters,
}

/// So many records before the time tell how far each source partition had been answered.
pub const BEFORE: u64 = 2_000;
/// Time between two calls of `proceed`.
const PART: Duration = Duration::from_millis(200);

/// The topic of clients on Kafka. What an open or aborted transaction holds was never sent.
pub(crate) struct KafkaResultLog {
    pub(crate) client: Client,
    pub(crate) topic: Arc<str>,
    /// Whether results are written in transactions.
    pub(crate) transactions: bool,
}

impl fmt::Debug for KafkaResultLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaResultLog").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl ResultLog for KafkaResultLog {
    fn read(
        &self,
        read: LogRead<'_>,
        see: &mut dyn FnMut(LoggedResult),
        proceed: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<LogReach>, TailError> {
        let since_ms = i64::try_from(read.since_us / 1000).unwrap_or(i64::MAX);
        let (topic, partitions, await_transactions) = (&*self.topic, read.partitions, self.transactions);
        let spec = TailSpec { topic, partitions, since_ms, until: &[], before: BEFORE, await_transactions };
        let mut tail = Tail::open(&self.client, spec)?;
        let ranges = tail.ranges().to_vec();
        let mut reach = reach_of(&ranges);
        let mut first_times: Vec<Option<u64>> = vec![None; ranges.len()];
        loop {
            let ended = tail.read(PART, |record| {
                reach.records += 1;
                let at = ranges.iter().position(|range| range.partition == record.partition());
                let Some((range, first)) = at.and_then(|at| ranges.get(at).zip(first_times.get_mut(at))) else {
                    return;
                };
                first.get_or_insert_with(|| time_of(record));
                if let Some(result) = result_of(record, record.offset() < range.since) {
                    see(result);
                }
            })?;
            if ended {
                break;
            }
            if !proceed(reach.records) {
                return Ok(None);
            }
        }
        tail.discard();
        let cut = ranges.iter().zip(first_times).filter(|(range, _)| is_cut(range));
        reach.removed_until_us = cut.map(|(_, first)| first.unwrap_or(u64::MAX)).max();
        Ok(Some(reach))
    }
}

fn reach_of(ranges: &[TailRange]) -> LogReach {
    LogReach {
        partitions: ranges.iter().map(|range| range.partition).collect(),
        whole: ranges.iter().all(|range| range.first == 0),
        ..LogReach::default()
    }
}

/// Whether the records since the time may have begun before what is left.
fn is_cut(range: &TailRange) -> bool {
    range.low > 0 && range.since == range.low
}

fn time_of(record: &TailRecord<'_>) -> u64 {
    record.timestamp_ms().max(0).unsigned_abs().saturating_mul(1000)
}

fn result_of(record: &TailRecord<'_>, before: bool) -> Option<LoggedResult> {
    let (mut id, mut source) = (None, None);
    record.for_each_header(|name, value| {
        if name == REQUEST_ID_HEADER.as_bytes() {
            id = parse_request_id_header(value);
        } else if name == ORIGIN_HEADER.as_bytes() {
            source = parse_origin_header(value);
        }
    });
    Some(LoggedResult { id: id?, partition: record.partition(), source, written_us: time_of(record), before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_records_matter_only_if_they_may_be_of_the_time() {
        let range = |low, first, since| TailRange { partition: 0, low, first, since, end: 50 };
        assert!(is_cut(&range(10, 10, 10)));
        assert!(!is_cut(&range(10, 10, 11)), "the record at 10 is older");
        assert!(!is_cut(&range(0, 0, 0)), "no record was removed");
        assert!(reach_of(&[range(0, 0, 0), range(0, 0, 40)]).whole);
        assert!(!reach_of(&[range(0, 0, 0), range(10, 10, 40)]).whole);
    }
}
