//! One transaction after the other: the pending records and the offsets that they complete, or neither.
//!
//! A record stays pending until a transaction with it was committed, so nothing has to be read again after a failure:
//! the next transaction holds the same records. What is no longer ours is dropped instead; the new owner of the partition
//! reads it from the committed offset.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use forebay_contract::RequestId;
use forebay_runtime::prometheus_client::metrics::counter::Counter;

use super::{Entry, Shorten};
use crate::Ack;
use crate::kafka::dead_letters::{DeadLetter, DeadLetters};
use crate::kafka::offset_tracker::{ConsumedOffset, OffsetTracker};
use crate::kafka::producer::{OutRecord, Reason};
use crate::kafka::record::RawRecord;

/// Most records of one transaction.
const MOST: usize = 10_000;

/// How a step of a transaction failed.
#[derive(Debug)]
pub(super) enum StepError {
    /// The transaction has to be aborted, and the producer can make others.
    Abort(String),
    /// Time ran out, or the producer was fenced: it is of no more use.
    Broken(String),
}

/// Why records were not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// These were refused, by their number, and would be again.
    Refused(Vec<(usize, Reason, String)>),
    Step(StepError),
}

/// How a commit failed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// It was refused.
    Abort(String),
    /// It may have taken effect.
    Unknown(String),
}

/// A producer of transactions.
pub(super) trait TransactionClient {
    /// Makes the producer, again if there was one. What the one before left open is aborted or completed by then.
    fn open(&mut self) -> Result<(), String>;
    fn begin(&mut self) -> Result<(), StepError>;
    /// Writes the records and waits until the broker has them; their partitions and offsets.
    fn write(&mut self, records: &[&OutRecord]) -> Result<Vec<(i32, i64)>, WriteError>;
    /// Takes the membership of the group that the offsets will be committed under.
    fn take_membership(&mut self) -> Result<(), StepError>;
    /// Adds offsets, under the name of the transaction.
    fn add_offsets(&mut self, offsets: &[ConsumedOffset], transaction: &str) -> Result<(), StepError>;
    fn commit(&mut self) -> Result<(), CommitError>;
    fn abort(&mut self) -> Result<(), StepError>;
    /// Whether the group has offsets that were committed under this name.
    fn has_committed(&mut self, offsets: &[ConsumedOffset], transaction: &str) -> Result<bool, String>;
    /// The records in flight of the source; `None` until it has started.
    fn consumed(&self) -> Option<Arc<OffsetTracker>>;
}

/// What a turn came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There was nothing to do.
    Idle,
    Committed,
    Failed(String),
}

enum State {
    /// There is no producer, or it is of no more use.
    Closed,
    Ready,
    /// The broker has not said whether this transaction was committed. It holds the first `records` that are pending.
    Unknown {
        transaction: String,
        offsets: Vec<ConsumedOffset>,
        records: usize,
    },
}

/// Why a transaction was not committed.
enum Failure {
    Refused(Vec<(usize, Reason, String)>),
    Step(StepError),
    Unknown { why: String, transaction: String, offsets: Vec<ConsumedOffset> },
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

/// Makes the transactions.
pub(super) struct Committer<C> {
    client: C,
    shorten: Shorten,
    dead_letters: DeadLetters,
    committed: Counter,
    aborted: Counter,
    state: State,
    /// In the order in which they came.
    records: Vec<Entry>,
    /// One record at a time: of several that were refused together only one may be too large.
    alone: bool,
    /// With the number of the transaction, its name.
    process: RequestId,
    number: u64,
}

impl<C: TransactionClient> Committer<C> {
    pub(super) fn new(client: C, shorten: Shorten, dead_letters: DeadLetters, counters: [Counter; 2]) -> Self {
        let [committed, aborted] = counters;
        Self {
            client,
            shorten,
            dead_letters,
            committed,
            aborted,
            state: State::Closed,
            records: Vec::new(),
            alone: false,
            process: RequestId::random(),
            number: 0,
        }
    }

    /// Takes records into the next transactions.
    pub(super) fn add(&mut self, records: &mut Vec<Entry>) {
        self.records.append(records);
    }

    pub(super) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Makes the producer if there is none, and finds out what became of a commit that the broker has not confirmed.
    pub(super) fn open(&mut self) -> Result<(), String> {
        match &self.state {
            State::Ready => {}
            State::Closed => self.client.open()?,
            State::Unknown { transaction, offsets, records } => {
                self.client.open()?;
                let committed = self.client.has_committed(offsets, transaction)?;
                tracing::warn!(transaction, committed, "outcome of a transaction found out");
                if committed {
                    self.client.consumed().iter().for_each(|consumed| consumed.committed(offsets));
                    self.records.drain(..*records).for_each(Entry::committed);
                }
            }
        }
        self.state = State::Ready;
        Ok(())
    }

    /// One transaction, if there is anything to commit.
    pub(super) fn turn(&mut self) -> Turn {
        if let Err(why) = self.open() {
            return Turn::Failed(why);
        }
        let Some(consumed) = self.client.consumed() else { return Turn::Idle };
        self.records.retain(|entry| entry.acks.source.is_none_or(|source| consumed.owns(source)));
        if self.records.is_empty() && !consumed.has_uncommitted() {
            return Turn::Idle;
        }
        let most = if self.alone { 1 } else { MOST };
        let count = self.records.len().min(most);
        match self.transact(count, &consumed) {
            Ok(offsets) => {
                self.committed.inc();
                consumed.committed(&offsets);
                self.records.drain(..count).for_each(Entry::committed);
                self.alone = self.alone && !self.records.is_empty();
                Turn::Committed
            }
            Err(failure) => Turn::Failed(self.failed(failure)),
        }
    }

    /// The order matters: the membership is taken before it is checked that the partitions of the records are ours. If they
    /// are lost after that, the broker refuses the offsets.
    fn transact(&mut self, count: usize, consumed: &OffsetTracker) -> Result<Vec<ConsumedOffset>, Failure> {
        self.number += 1;
        self.client.begin()?;
        let entries = self.records.get_mut(..count).unwrap_or_default();
        let records: Vec<&OutRecord> = entries.iter().map(|entry| &entry.record).collect();
        let places = self.client.write(&records).map_err(|error| match error {
            WriteError::Refused(refused) => Failure::Refused(refused),
            WriteError::Step(error) => Failure::Step(error),
        })?;
        entries.iter_mut().zip(places).for_each(|(entry, place)| entry.place = Some(place));
        self.client.take_membership()?;
        entries.iter_mut().filter_map(|entry| entry.acks.written.take()).for_each(Ack::ack);
        // those of partitions without a record here as well: they are what the broker checks
        let offsets = consumed.watermarks();
        let ours = |entry: &Entry| entry.acks.source.is_none_or(|own| offsets.iter().any(|it| it.source == own));
        if !entries.iter().all(ours) {
            return Err(StepError::Abort("partitions were lost".to_owned()).into());
        }
        let transaction = format!("{}-{}", self.process, self.number);
        self.client.add_offsets(&offsets, &transaction)?;
        match self.client.commit() {
            Ok(()) => Ok(offsets),
            Err(CommitError::Abort(why)) => Err(StepError::Abort(why).into()),
            Err(CommitError::Unknown(why)) => Err(Failure::Unknown { why, transaction, offsets }),
        }
    }

    fn failed(&mut self, failure: Failure) -> String {
        self.aborted.inc();
        match failure {
            Failure::Step(StepError::Abort(why)) => {
                self.abort();
                why
            }
            Failure::Step(StepError::Broken(why)) => {
                self.state = State::Closed;
                why
            }
            Failure::Unknown { why, transaction, offsets } => {
                let records = if self.alone { 1 } else { MOST }.min(self.records.len());
                self.state = State::Unknown { transaction, offsets, records };
                why
            }
            Failure::Refused(refused) => {
                self.abort();
                let why = refused.first().map(|(_, _, why)| why.clone()).unwrap_or_default();
                self.refused(refused);
                why
            }
        }
    }

    fn abort(&mut self) {
        if let Err(StepError::Abort(why) | StepError::Broken(why)) = self.client.abort() {
            tracing::warn!(why, "transaction cannot be aborted, its producer is replaced");
            self.state = State::Closed;
        }
    }

    /// Shortens a record that was refused for its size, or keeps it as a dead letter. Of several that were refused
    /// together each is tried alone first.
    fn refused(&mut self, refused: Vec<(usize, Reason, String)>) {
        let together = if self.alone { 1 } else { MOST }.min(self.records.len()) > 1;
        if together {
            self.alone = true;
            return;
        }
        for (number, reason, why) in refused.into_iter().rev() {
            let Some(entry) = self.records.get_mut(number) else { continue };
            let short = (reason == Reason::TooLarge && entry.original.is_none())
                .then(|| (self.shorten)(&entry.record.payload, &why))
                .flatten();
            match short {
                Some(short) => {
                    tracing::warn!(topic = &*entry.record.topic, why, "record is too large, sending a shorter one");
                    entry.original = Some(std::mem::replace(&mut entry.record.payload, short));
                }
                None => self.keep(number, reason, &why),
            }
        }
    }

    fn keep(&mut self, number: usize, reason: Reason, why: &str) {
        let Entry { record, original, acks, .. } = self.records.remove(number);
        let OutRecord { topic, partition, key, payload, headers } = record;
        let headers = headers.into_iter().map(|(name, value)| (name.into_owned(), Bytes::from(value))).collect();
        let payload = original.unwrap_or(payload).into();
        let partition = partition.unwrap_or_default();
        let record = RawRecord { payload, key, partition, offset: 0, timestamp_ms: -1, headers };
        let message = format!("topic {topic} does not take the record: {why}");
        let letter = DeadLetter { code: reason.code().as_str(), message, topic, record };
        let acks = acks.written.into_iter().chain([acks.committed]).collect();
        self.dead_letters.send(letter, Ack::join(acks));
    }
}
