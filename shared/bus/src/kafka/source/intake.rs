//! How records become deliveries: one batch per record between stages, many raw records per delivery on topics of
//! clients.

use std::sync::Arc;

use bytes::BytesMut;
use forebay_contract::{Batch, ErrorCode, Lane, MAX_BATCH_ITEMS, Outcome, Problem, decode, encode};
use forebay_runtime::DeliverySettings;
use prost::Message as Payload;
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

use super::intake_pace::IntakePace;
use super::taken_records::ack_of;
use super::topics::SourceTopics;
use crate::kafka::dead_letters::{DeadLetter, DeadLetters};
use crate::kafka::offset_tracker::OffsetTracker;
use crate::kafka::outlet::failed;
use crate::kafka::record::{RawBatch, RawRecord, copy_record};
use crate::work_size::{bytes_of_batch, bytes_of_json, most_rows};
use crate::{Ack, Delivery, Inlet, Outlet, Permit};

/// A topic of clients to consume.
#[derive(Clone, Debug)]
pub struct RawSource {
    /// The topic.
    pub topic: String,
    /// Whether it has lanes, which are consumed as well.
    pub lanes: bool,
    /// Who consumes it.
    pub group: RecordGroup,
}

/// A consumer group that reads a topic of clients.
#[derive(Clone, Debug)]
pub struct RecordGroup {
    /// The name of the group.
    pub name: String,
    /// Where it begins while it has no committed offsets: at the end, or at the beginning.
    pub from_latest: bool,
    /// When its members look for records.
    pub pace: IntakePace,
    /// The most rows that a record may have.
    pub max_rows: usize,
}

// a smaller bound would never let a round begin
const _: () = assert!(2 * MAX_BATCH_ITEMS <= DeliverySettings::MIN_IN_FLIGHT);

/// Turns the records of one round of polling into deliveries.
pub(crate) trait Intake: Send + 'static {
    /// Permits to take before a round: the most items it can bring.
    const RESERVE: usize;
    /// What a round has so far.
    type Round;
    /// An item that is taken alone.
    type Item: Send;

    fn round(&mut self, permit: Permit, lane: Lane) -> Self::Round;
    fn wants_more(&self, round: &Self::Round) -> bool;
    /// Adds a record of the partition with this key.
    fn add(&mut self, round: &mut Self::Round, message: &BorrowedMessage<'_>, key: i32, offsets: &Arc<OffsetTracker>);
    fn finish(&mut self, round: Self::Round, offsets: &Arc<OffsetTracker>);

    /// The items of a record of the partition with this key, to be taken one at a time. One that cannot be read has none,
    /// and is a dead letter under a share of `ack`.
    fn items(&mut self, message: &BorrowedMessage<'_>, key: i32, ack: &Ack) -> Vec<Self::Item>;
    /// Delivers an item alone.
    fn deliver(&self, item: Self::Item, key: i32, ack: Ack);
    /// Makes an item that ends its process a dead letter, and answers it with an error where that is possible.
    fn reject(&self, item: Self::Item, key: i32, ack: Ack);
}

/// Why an item is a dead letter whose process ended with it, again and again.
pub(crate) const ENDS_PROCESS: &str = "the process ended whenever this item was in work, also when it was there alone";

/// A round of records of clients ends with the one that makes it larger than this, so that permits are asked for again.
const ROUND_BYTES: usize = 256 << 10;
/// The same for the most rows that its records may have.
const ROUND_ROWS: usize = 4 * MAX_BATCH_ITEMS;

/// Topics between stages: a record is a batch.
pub(crate) struct TypedIntake<P> {
    pub(crate) topics: SourceTopics,
    pub(crate) inlet: Inlet<P>,
    pub(crate) dead_letters: DeadLetters,
    /// Where an item is answered with an error; `None` where the items are outcomes themselves.
    pub(crate) results: Option<Outlet<Outcome>>,
}

/// An item of a batch, and the record that it came with.
#[derive(Debug)]
pub(crate) struct BatchItem<P> {
    batch: Batch<P>,
    record: RawRecord,
}

impl<P: Payload + Default + 'static> Intake for TypedIntake<P> {
    const RESERVE: usize = MAX_BATCH_ITEMS;
    type Round = Option<Permit>;
    type Item = BatchItem<P>;

    fn round(&mut self, permit: Permit, _: Lane) -> Option<Permit> {
        Some(permit)
    }

    fn wants_more(&self, round: &Option<Permit>) -> bool {
        round.is_some()
    }

    fn add(
        &mut self,
        round: &mut Option<Permit>,
        message: &BorrowedMessage<'_>,
        key: i32,
        offsets: &Arc<OffsetTracker>,
    ) {
        let Some(mut permit) = round.take() else { return };
        let Some(in_flight) = offsets.begin(key, message.offset(), message.offset()) else { return };
        let record = bytes::Bytes::copy_from_slice(message.payload().unwrap_or_default());
        match decode::<P>(record) {
            Ok(batch) => {
                let items = batch.items.len();
                permit.keep_with_bytes(items, bytes_of_batch(message.payload_len(), items));
                let ack = ack_of(vec![in_flight], Arc::clone(offsets), permit);
                self.inlet.deliver(Delivery { payload: batch, ack });
            }
            Err(error) => {
                let record = copy_record(message, &mut BytesMut::new());
                permit.keep_with_bytes(1, record.bytes_beside_value() as u64 + bytes_of_batch(record.payload.len(), 1));
                let ack = ack_of(vec![in_flight], Arc::clone(offsets), permit);
                self.keep(ErrorCode::InvalidRequest, error.to_string(), record, key, ack);
            }
        }
    }

    fn finish(&mut self, _: Option<Permit>, _: &Arc<OffsetTracker>) {}

    fn items(&mut self, message: &BorrowedMessage<'_>, key: i32, ack: &Ack) -> Vec<BatchItem<P>> {
        let record = copy_record(message, &mut BytesMut::new());
        let mut batch = match decode::<P>(record.payload.clone()) {
            Ok(batch) => batch,
            Err(error) => {
                self.keep(ErrorCode::InvalidRequest, error.to_string(), record, key, ack.share());
                return Vec::new();
            }
        };
        let items = std::mem::take(&mut batch.items);
        let alone = |item| {
            let batch = Batch { items: vec![item], ..batch.onward() };
            let mut payload = Vec::new();
            encode(&batch, &mut payload);
            BatchItem { batch, record: RawRecord { payload: payload.into(), ..record.clone() } }
        };
        items.into_iter().map(alone).collect()
    }

    fn deliver(&self, item: BatchItem<P>, _: i32, ack: Ack) {
        self.inlet.deliver(Delivery { payload: item.batch, ack });
    }

    fn reject(&self, item: BatchItem<P>, key: i32, ack: Ack) {
        self.keep(ErrorCode::Internal, ENDS_PROCESS.to_owned(), item.record, key, ack.share());
        match &self.results {
            Some(results) => {
                results.send(failed(item.batch, &Problem::new(ErrorCode::Internal, ENDS_PROCESS)), ack);
            }
            None => ack.ack(),
        }
    }
}

impl<P> TypedIntake<P> {
    fn keep(&self, code: ErrorCode, message: String, record: RawRecord, key: i32, ack: Ack) {
        let topic = Arc::clone(self.topics.topic(key));
        self.dead_letters.send(DeadLetter { code: code.as_str(), message, topic, record }, ack);
    }
}

/// Topics of clients: all records that are available, up to a full batch, are one delivery.
pub(crate) struct RecordIntake<F> {
    pub(crate) topics: SourceTopics,
    pub(crate) take: F,
    pub(crate) arena: BytesMut,
    pub(crate) dead_letters: DeadLetters,
    /// The most rows that a record may have.
    pub(crate) max_rows: usize,
}

/// Records of one round, and per partition the offsets they span.
pub(crate) struct RecordRound {
    permit: Permit,
    batch: RawBatch,
    /// Size of their values.
    bytes: usize,
    /// Size of their keys and headers.
    beside: usize,
    /// The most rows that they may have.
    rows: usize,
    spans: Vec<RecordSpan>,
}

struct RecordSpan {
    key: i32,
    partition: i32,
    first: i64,
    last: i64,
}

impl<F: Fn(Delivery<RawBatch>) + Send + 'static> Intake for RecordIntake<F> {
    const RESERVE: usize = MAX_BATCH_ITEMS;
    type Round = RecordRound;
    type Item = RawRecord;

    fn round(&mut self, permit: Permit, lane: Lane) -> RecordRound {
        let batch = RawBatch { lane, ..RawBatch::default() };
        RecordRound { permit, batch, bytes: 0, beside: 0, rows: 0, spans: Vec::new() }
    }

    fn wants_more(&self, round: &RecordRound) -> bool {
        let RecordRound { batch, bytes, beside, rows, .. } = round;
        batch.records.len() < MAX_BATCH_ITEMS && bytes + beside < ROUND_BYTES && *rows < ROUND_ROWS
    }

    fn add(&mut self, round: &mut RecordRound, message: &BorrowedMessage<'_>, key: i32, _: &Arc<OffsetTracker>) {
        if round.batch.records.is_empty() {
            round.batch.records.reserve(16);
        }
        let record = copy_record(message, &mut self.arena);
        round.bytes += record.payload.len();
        round.beside += record.bytes_beside_value();
        round.rows += most_rows(&record.payload, self.max_rows);
        round.batch.records.push(record);
        let (partition, offset) = (message.partition(), message.offset());
        match round.spans.iter_mut().find(|span| span.key == key) {
            Some(span) => span.last = offset,
            None => round.spans.push(RecordSpan { key, partition, first: offset, last: offset }),
        }
    }

    fn finish(&mut self, mut round: RecordRound, offsets: &Arc<OffsetTracker>) {
        if round.batch.records.is_empty() {
            return;
        }
        let mut in_flight = Vec::with_capacity(round.spans.len());
        let since = |span: &RecordSpan| offsets.written_since(span.key, span.first);
        round.batch.written_since_us = round.spans.iter().map(since).min().unwrap_or_default();
        for RecordSpan { key, partition, first, last } in round.spans {
            match offsets.begin(key, first, last) {
                Some(record) => {
                    let origin = self.topics.lane(key).origin_partition(partition.unsigned_abs());
                    in_flight.push(record.of_requests(origin));
                }
                // the partition left during the round: its next owner reads these records
                None => round.batch.records.retain(|record| record.partition != partition.unsigned_abs()),
            }
        }
        let bytes = round.beside as u64 + bytes_of_json(round.bytes, round.rows);
        round.permit.keep_with_bytes(round.batch.records.len(), bytes);
        let ack = ack_of(in_flight, Arc::clone(offsets), round.permit);
        (self.take)(Delivery { payload: round.batch, ack });
    }

    fn items(&mut self, message: &BorrowedMessage<'_>, _: i32, _: &Ack) -> Vec<RawRecord> {
        vec![copy_record(message, &mut self.arena)]
    }

    fn deliver(&self, item: RawRecord, key: i32, ack: Ack) {
        let batch = RawBatch { lane: self.topics.lane(key), records: vec![item], ..RawBatch::default() };
        (self.take)(Delivery { payload: batch, ack });
    }

    fn reject(&self, record: RawRecord, key: i32, ack: Ack) {
        let (code, message) = (ErrorCode::Internal.as_str(), ENDS_PROCESS.to_owned());
        let topic = Arc::clone(self.topics.topic(key));
        self.dead_letters.send(DeadLetter { code, message, topic, record }, ack);
    }
}
