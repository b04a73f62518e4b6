//! The next attempt with records: sends them again, or finds out whether they stand in their topic already. What a client
//! topic must not have twice is looked up there, by its bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{machine_us, now_us};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::producer::Producer as _;
use rustc_hash::FxHashMap;

use super::Inner;
use super::context::{Reason, Sent};
use super::resend::{Attempt, Retry};
use crate::backoff::resend_delay;
use crate::kafka::client::spawn;
use crate::kafka::tail::{Tail, TailError, TailRecord, TailSpec};

/// What the time of a record may be before the one at which it was handed to the client.
const SLACK_US: u64 = 10_000_000;
/// So many records before that time are read as well.
const BEFORE: u64 = 4096;
/// Between looks at the time while a topic is read.
const SLICE: Duration = Duration::from_secs(1);
/// Longest time of one call to a broker.
const BROKER: Duration = Duration::from_secs(5);
/// Longest time for reading a partition.
const LIMIT: Duration = Duration::from_secs(30);

/// A record that was reported as delivered without its offset.
type Unplaced = (OwnedMessage, Box<Sent>);

impl Inner {
    /// Makes the next attempt with each record that is due. Records are looked up on a thread of its own: those that are sent
    /// again must not wait for that.
    pub(super) fn retry(self: Arc<Self>, due: Vec<Retry>) {
        let (unplaced, others): (Vec<_>, Vec<_>) = due.into_iter().partition(|it| it.attempt == Attempt::LookUp);
        for Retry { record, sent, .. } in others {
            self.resend(record, sent);
        }
        if unplaced.is_empty() {
            return;
        }
        let mut partitions: FxHashMap<(String, i32), Vec<Unplaced>> = FxHashMap::default();
        for Retry { record, sent, .. } in unplaced {
            let place = (record.topic().to_owned(), record.partition());
            partitions.entry(place).or_default().push((record, sent));
        }
        let look_up = move || {
            partitions.into_iter().for_each(|((topic, partition), unplaced)| self.look_up(&topic, partition, unplaced));
        };
        if let Err(error) = spawn("kafka-lookup", look_up) {
            // the dropped acks are nacks: the work behind the records is done again
            tracing::warn!(%error, "no thread for a lookup");
        }
    }

    fn resend(&self, record: OwnedMessage, sent: Box<Sent>) {
        if now_us() >= sent.deadline_us {
            return sent.give_up(record, Reason::Late, "the broker did not take it".to_owned());
        }
        // a topic that was created again may have fewer partitions
        let count = self.partitions.lock().get(record.topic()).map_or(i32::MAX, |count| count.cast_signed().max(1));
        let partition = Some(record.partition()).filter(|p| *p >= 0).map(|p| p % count);
        let headers = record.headers().cloned();
        self.send(record.topic(), partition, record.key(), record.payload(), headers, sent);
    }

    /// Sends those of the records that do not stand in their partition; the others are done.
    fn look_up(&self, topic: &str, partition: i32, unplaced: Vec<Unplaced>) {
        let reported = unplaced.len();
        let offsets = match self.offsets_of(topic, partition, &unplaced) {
            Ok(offsets) => offsets,
            Err(error) => {
                tracing::warn!(topic, partition, reported, %error, "records cannot be looked up, trying again");
                let producer = self.producer();
                for (record, mut sent) in unplaced {
                    let due = Instant::now() + resend_delay(sent.attempts);
                    sent.attempts += 1;
                    producer.context().look_up_at(due, record, sent);
                }
                return;
            }
        };
        let missing = offsets.iter().filter(|offset| offset.is_none()).count();
        tracing::warn!(topic, partition, reported, missing, "records were reported as delivered without an offset");
        for ((record, sent), offset) in unplaced.into_iter().zip(offsets) {
            match offset {
                Some(offset) => sent.done(partition, offset),
                None => self.resend(record, sent),
            }
        }
    }

    /// Where each record stands; `None` for those that do not. A later one has its offset, so they would be before the end
    /// that the producer's own broker names.
    fn offsets_of(&self, topic: &str, partition: i32, unplaced: &[Unplaced]) -> Result<Vec<Option<i64>>, TailError> {
        let failed = |source| TailError::Kafka { topic: topic.to_owned(), source };
        let known = self.producer().client().fetch_watermarks(topic, partition, BROKER).map_err(failed)?;
        let handed_us = unplaced.iter().map(|(_, sent)| sent.handed_us).min().unwrap_or_default();
        // by the broker's clock or by this one's, as the topic has it
        let since_us = handed_us.min((handed_us + now_us()).saturating_sub(machine_us())).saturating_sub(SLACK_US);
        let spec = TailSpec {
            topic,
            partitions: &[partition.unsigned_abs()],
            since_ms: (since_us / 1000).cast_signed(),
            until: &[],
            before: BEFORE,
            await_transactions: true,
        };
        let mut tail = Tail::open(&self.client, spec)?;
        if tail.ranges().iter().any(|range| range.end < known.1.unsigned_abs()) {
            // it has asked a broker that does not know yet that another one leads
            return Err(failed(KafkaError::OffsetFetch(RDKafkaErrorCode::NotLeaderForPartition)));
        }
        let mut by_payload: FxHashMap<&[u8], Vec<usize>> = FxHashMap::default();
        for (number, (record, _)) in unplaced.iter().enumerate() {
            by_payload.entry(record.payload().unwrap_or_default()).or_default().push(number);
        }
        let mut offsets = vec![None; unplaced.len()];
        let deadline = Instant::now() + LIMIT;
        let see = |found: &TailRecord<'_>, offsets: &mut [Option<i64>]| {
            let same = by_payload.get(found.payload()).into_iter().flatten();
            for number in same.filter(|number| has_headers(&unplaced[**number].0, found)) {
                offsets[*number] = Some(found.offset().cast_signed());
            }
        };
        while offsets.contains(&None) && !tail.read(SLICE, |found| see(found, &mut offsets))? {
            if Instant::now() >= deadline {
                return Err(TailError::Late { topic: topic.to_owned(), limit: LIMIT });
            }
        }
        tail.discard();
        Ok(offsets)
    }
}

/// Whether both records have the same headers, in which a result has the id of its request.
fn has_headers(sent: &OwnedMessage, found: &TailRecord<'_>) -> bool {
    let headers = sent.headers();
    let mut same = true;
    let mut number = 0;
    found.for_each_header(|name, value| {
        let wanted = headers.and_then(|headers| headers.try_get(number));
        same &= wanted.is_some_and(|it| it.key.as_bytes() == name && it.value.unwrap_or_default() == value);
        number += 1;
    });
    same && number == headers.map_or(0, |headers| headers.count())
}
