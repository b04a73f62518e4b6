//! The next attempt with records: sends them again, or finds out whether they stand in their topic already. What a client
//! topic must not have twice is looked up there, by its bytes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use forebay_contract::{machine_us, now_us};
use forebay_runtime::Heartbeat;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::producer::Producer as _;

use super::Inner;
use super::context::{Reason, Sent};
use super::resend::{Attempt, Retry};
use crate::backoff::resend_delay;
use crate::kafka::tail::{Tail, TailError, TailRecord, TailSpec};

/// What the time of a record may be before the one at which it was handed to the client.
const SLACK_US: u64 = 10_000_000;
/// So many records before that time are read as well.
const BEFORE: u64 = 4096;
/// Between signs of life while a topic is read.
const SLICE: Duration = Duration::from_secs(1);
/// Longest time for a partition.
const LIMIT: Duration = Duration::from_secs(30);

/// A record that was reported as delivered without its offset.
type Unplaced = (OwnedMessage, Box<Sent>);

impl Inner {
    /// Makes the next attempt with each record that is due.
    pub(super) fn retry(&self, due: Vec<Retry>, heartbeat: &Heartbeat) {
        let (unplaced, others): (Vec<_>, Vec<_>) = due.into_iter().partition(|it| it.attempt == Attempt::LookUp);
        for Retry { record, sent, .. } in others {
            self.resend(record, sent);
        }
        let mut partitions: HashMap<(String, i32), Vec<Unplaced>> = HashMap::new();
        for Retry { record, sent, .. } in unplaced {
            let place = (record.topic().to_owned(), record.partition());
            partitions.entry(place).or_default().push((record, sent));
        }
        for ((topic, partition), unplaced) in partitions {
            let _waiting = heartbeat.waiting(LIMIT);
            self.look_up(&topic, partition, unplaced);
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
        let offsets = match self.offsets_of(topic, partition, &unplaced) {
            Ok(offsets) => offsets,
            Err(error) => {
                tracing::warn!(topic, partition, %error, "records cannot be looked up, trying again");
                let producer = self.producer();
                for (record, mut sent) in unplaced {
                    let due = Instant::now() + resend_delay(sent.attempts);
                    sent.attempts += 1;
                    producer.context().look_up_at(due, record, sent);
                }
                return;
            }
        };
        for ((record, sent), offset) in unplaced.into_iter().zip(offsets) {
            match offset {
                Some(offset) => sent.done(partition, offset),
                None => {
                    tracing::warn!(
                        topic,
                        partition,
                        "record was reported as delivered and is not there, sending it again"
                    );
                    self.resend(record, sent);
                }
            }
        }
    }

    /// Where each record stands. A later one has its offset, so that they would be before the end.
    fn offsets_of(&self, topic: &str, partition: i32, unplaced: &[Unplaced]) -> Result<Vec<Option<i64>>, TailError> {
        let handed_us = unplaced.iter().map(|(_, sent)| sent.handed_us).min().unwrap_or_default();
        // by the broker's clock or by this one's, as the topic has it
        let since_us = handed_us.min((handed_us + now_us()).saturating_sub(machine_us())).saturating_sub(SLACK_US);
        let spec = TailSpec {
            topic,
            partitions: &[partition.unsigned_abs()],
            since_ms: (since_us / 1000).cast_signed(),
            until: &[],
            before: BEFORE,
            await_transactions: false,
        };
        let mut tail = Tail::open(&self.client, spec)?;
        let mut offsets = vec![None; unplaced.len()];
        let deadline = Instant::now() + LIMIT;
        let see = |found: &TailRecord<'_>, offsets: &mut Vec<Option<i64>>| {
            let which = unplaced.iter().position(|(record, _)| is_same(record, found));
            which.into_iter().for_each(|number| offsets[number] = Some(found.offset().cast_signed()));
        };
        while !tail.read(SLICE, |found| see(found, &mut offsets))? {
            if Instant::now() >= deadline {
                return Err(TailError::Late { topic: topic.to_owned(), limit: LIMIT });
            }
        }
        Ok(offsets)
    }
}

/// Whether both records have the same value and the same headers; in those a result has the id of its request.
fn is_same(sent: &OwnedMessage, found: &TailRecord<'_>) -> bool {
    if sent.payload().unwrap_or_default() != found.payload() {
        return false;
    }
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
