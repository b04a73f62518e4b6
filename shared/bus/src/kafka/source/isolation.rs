//! Takes the items of a partition one at a time, after several processes have ended without progress there. An item that
//! was alone in work when its process ended, more than once, becomes a dead letter, and its neighbours are answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use forebay_contract::Lane;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message};

use super::attempts::ENDS;
use super::member::{Member, TICK};
use super::positions::BROKER;
use super::taken_records::{ack_of_item, begin};
use super::{CLOSE, Intake, SourceContext};
use crate::kafka::ffi::commit_within;
use crate::kafka::offset_tracker::InFlightRecord;
use crate::{Ack, AckOutcome, Permit};

/// How long an item is waited for at a time.
const STEP: Duration = Duration::from_millis(2);
/// A partition that brings nothing for this long has no more records to be careful about.
const QUIET: Duration = Duration::from_secs(2);

/// The isolation of a source: the record in work, and since when there has been none.
#[derive(Debug)]
pub(super) struct Isolation<P> {
    record: Option<IsolatedRecord<P>>,
    quiet_since: Option<Instant>,
}

impl<P> Isolation<P> {
    pub(super) fn new() -> Self {
        Self { record: None, quiet_since: None }
    }
}

/// A record whose items are in work one after the other.
#[derive(Debug)]
struct IsolatedRecord<P> {
    /// The key of its partition.
    key: i32,
    offset: i64,
    in_flight: InFlightRecord,
    items: VecDeque<(u32, P)>,
    /// How the item in work ends.
    ends: Option<Receiver<AckOutcome>>,
    /// The record's own: done after its last item.
    ack: Ack,
}

impl<I: Intake> Member<I> {
    /// One step of the work on isolated partitions; the others wait, so that nothing but the item in work can end the
    /// process.
    pub(super) fn take_isolated(&mut self) {
        let Some(mut record) = self.isolation.record.take() else { return self.take_isolated_record() };
        if !self.offsets.is_current(&record.in_flight) {
            // the partition has left, or is read again
            return;
        }
        match record.ends.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => {
                self.serve_paused(STEP);
                self.isolation.record = Some(record);
                return;
            }
            // dropping the ack reads the record again
            Some(Ok(AckOutcome::Failed) | Err(TryRecvError::Disconnected)) => return,
            Some(Ok(AckOutcome::Done)) | None => record.ends = None,
        }
        match record.items.pop_front() {
            Some((number, item)) => self.take_item(record, number, item),
            None => record.ack.ack(),
        }
    }

    fn take_isolated_record(&mut self) {
        if self.offsets.is_busy() {
            return self.serve_paused(STEP);
        }
        self.resume_isolated();
        // nothing else of this source is in work, so the permits of one lane do for the records of all
        let permit = self.permits.of(Lane::Normal).take_within(I::RESERVE, TICK);
        let Some(permit) = permit else { return self.serve_paused(STEP) };
        // the client's message borrows the consumer, or one of the queues
        let (consumer, mut lanes) = (Arc::clone(&self.consumer), self.lanes.take());
        let polled = match &mut lanes {
            None => consumer.poll(TICK),
            Some(lanes) => {
                lanes.assign(&consumer, &self.topics, self.offsets.assigned());
                lanes.poll_any(&consumer, TICK)
            }
        };
        match polled {
            Some(Ok(message)) => self.isolate(&message, permit),
            Some(Err(error)) => self.note(&error),
            None => self.end_when_quiet(),
        }
        self.lanes = lanes;
    }

    /// Divides a record into its items, which are to be taken one at a time.
    fn isolate(&mut self, message: &BorrowedMessage<'_>, permit: Permit) {
        self.isolation.quiet_since = None;
        let (key, offset) = (self.topics.key_of(message), message.offset());
        match self.positions.without_progress.isolated_up_to(key) {
            Some(up_to) if offset < up_to => {}
            ends => {
                if ends.is_some() {
                    self.positions.without_progress.forget(&[key]);
                }
                return seek_back(&self.consumer, message);
            }
        }
        self.before(key, message);
        self.positions.has_read(&self.read);
        self.read.clear();
        let origin = self.topics.lane(key).origin_partition(message.partition().unsigned_abs());
        let Some((in_flight, ack)) = begin((key, origin), offset, &self.offsets, permit) else { return };
        let first = self.positions.without_progress.first_open_item(key, offset);
        let items = self.intake.items(message, key, &ack).into_iter().zip(0..).map(|(item, number)| (number, item));
        let items: VecDeque<_> = items.skip_while(|(number, _)| *number < first).collect();
        let (topic, partition) = self.topics.of(key);
        tracing::warn!(topic, partition, offset, items = items.len(), "items are taken one at a time");
        self.isolation.record = Some(IsolatedRecord { key, offset, in_flight, items, ends: None, ack });
    }

    /// Notes that this item is in work alone, and hands it over; one that has ended enough processes is a dead letter.
    fn take_item(&mut self, mut record: IsolatedRecord<I::Item>, number: u32, item: I::Item) {
        let IsolatedRecord { key, offset, .. } = record;
        let (topic, partition) = self.topics.of(key);
        let (done, ends) = channel();
        let ack = ack_of_item(record.in_flight, &self.offsets, done);
        let ended = self.positions.without_progress.before_item(key, offset, number);
        if ended >= ENDS {
            tracing::error!(topic, partition, offset, item = number, "the item ends its process");
            self.intake.reject(item, key, ack);
        } else if let Err(error) = self.note_attempt(key, offset) {
            tracing::warn!(topic, partition, %error, "the start of work is not noted yet");
            record.items.push_front((number, item));
            self.isolation.record = Some(record);
            return self.serve_paused(TICK);
        } else {
            self.intake.deliver(item, key, ack);
        }
        record.ends = Some(ends);
        self.isolation.record = Some(record);
    }

    /// Commits the offset again with what is to be known if this process ends.
    pub(super) fn note_attempt(&self, key: i32, offset: i64) -> KafkaResult<()> {
        self.heartbeat.beat();
        commit_within(self.consumer.client(), Some(&self.positions.to_commit(&[(key, offset)])), BROKER)
    }

    fn end_when_quiet(&mut self) {
        if self.isolation.quiet_since.get_or_insert_with(Instant::now).elapsed() > QUIET {
            self.isolation.quiet_since = None;
            let isolated = self.isolated();
            self.positions.without_progress.forget(&isolated);
        }
    }

    fn isolated(&self) -> Vec<i32> {
        let isolated = |key: &i32| self.positions.without_progress.isolated_up_to(*key).is_some();
        self.offsets.assigned().into_iter().filter(isolated).collect()
    }

    fn resume_isolated(&mut self) {
        self.pause();
        let list = self.topics.list(&self.isolated());
        if let Err(error) = self.consumer.resume(&self.staying(&list)) {
            tracing::debug!(topic = &*self.topic, %error, "isolated partitions are not resumed");
        }
    }
}

/// Reads a record again later.
pub(super) fn seek_back(consumer: &BaseConsumer<SourceContext>, message: &BorrowedMessage<'_>) {
    let (topic, partition) = (message.topic(), message.partition());
    if let Err(error) = consumer.seek(topic, partition, Offset::Offset(message.offset()), CLOSE) {
        tracing::debug!(topic, partition, %error, "a record is not read again");
    }
}

#[cfg(test)]
mod tests;
