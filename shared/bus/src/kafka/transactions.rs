//! Records that are written in transactions, together with the offsets of the records that they answer. A reader of
//! committed records sees each once, even if a replica that has lost its partitions wakes up and continues.
//!
//! Two things keep such a replica out. Its commits name the group's generation, so the broker refuses them as soon as the
//! partitions have another owner; and the new owner gets the committed offsets only when no transaction over them is
//! open any more. The transactional id is therefore a new one for each process, and it need not be known beforehand
//! which replica follows which. A process with a name of its own in the group has it in its transactional id as well: its
//! next start ends what the last one has left open.
//!
//! - `committer`: what happens in which order, and after a failure
//! - `producer`: the same for librdkafka, whose calls `bounded_calls` waits for; `written` takes the delivery reports

mod bounded_calls;
mod committer;
mod producer;
#[cfg(test)]
mod tests;
mod written;

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Heartbeat, StageSpan};
use parking_lot::{Condvar, Mutex};
use rdkafka::error::KafkaError;

use super::client::Client;
use super::dead_letters::DeadLetters;
use super::producer::{OutRecord, RecordSink};
use super::source::CommitsSlot;
use crate::backoff::Backoff;
use crate::messaging::{set_offset, set_partition};
use crate::{Ack, EdgeEvents};
use committer::{Committer, Turn};
use producer::TransactionalProducer;

/// Makes a shorter payload of one that is too large, given the reason.
pub type Shorten = Box<dyn Fn(&[u8], &str) -> Option<Vec<u8>> + Send>;

/// Who waits for a record of a transaction.
#[derive(Debug)]
pub struct TransactionAcks {
    /// The record that is answered. Acknowledged when a transaction is about to commit the answer, which commits the offset
    /// as well.
    pub written: Ack,
    /// Acknowledged when the transaction was committed.
    pub committed: Ack,
}

/// How transactions are made.
pub struct TransactionSettings {
    /// Shortest time from the beginning of one transaction to that of the next.
    pub interval: Duration,
    /// What is sent instead of a payload that is too large.
    pub shorten: Shorten,
    /// Transactions that were committed.
    pub committed: Counter,
    /// Transactions that were aborted, or of which nothing is known, and whose records were sent again.
    pub aborted: Counter,
}

impl std::fmt::Debug for TransactionSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionSettings").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// What a sink needs to open.
pub(super) struct SinkSpec {
    pub(super) client: Client,
    pub(super) stage: &'static str,
    pub(super) settings: TransactionSettings,
    pub(super) dead_letters: DeadLetters,
    /// Knows the partition counts and counts what is sent.
    pub(super) counts: RecordSink,
    pub(super) events: Arc<dyn EdgeEvents>,
    /// Those of the thread of the transactions, and of the one that serves delivery reports.
    pub(super) heartbeats: [Heartbeat; 2],
}

/// Sends records in transactions. Cheap to clone.
#[derive(Clone)]
pub struct TransactionalSink {
    queue: Arc<Queue>,
    counts: RecordSink,
    source: CommitsSlot,
}

impl std::fmt::Debug for TransactionalSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TransactionalSink")
    }
}

/// Records on their way to the thread of the transactions. Bounded by the permits of unfinished work.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: Vec<Entry>,
    /// Whether the thread has records to send, or offsets to commit.
    working: bool,
    closed: bool,
}

/// A record of a transaction.
struct Entry {
    record: OutRecord,
    /// What it was before it was shortened.
    original: Option<Vec<u8>>,
    acks: EntryAcks,
    spans: Vec<StageSpan>,
    counter: Counter,
    /// Partition and offset, once it is written.
    place: Option<(i32, i64)>,
}

/// The acknowledgements of an entry. The first is taken before the first transaction with the entry commits.
struct EntryAcks {
    source: Option<crate::ack::SourcePartition>,
    written: Option<Ack>,
    committed: Ack,
}

impl Entry {
    fn new(record: OutRecord, acks: TransactionAcks, spans: Vec<StageSpan>, counter: Counter) -> Self {
        let TransactionAcks { written, committed } = acks;
        let acks = EntryAcks { source: written.source(), written: Some(written), committed };
        Self { record, original: None, acks, spans, counter, place: None }
    }

    fn committed(mut self) {
        self.counter.inc();
        for mut span in self.spans.drain(..) {
            if let Some((partition, offset)) = self.place {
                set_partition(&mut span, partition);
                set_offset(&mut span, offset);
            }
        }
        self.acks.committed.ack();
    }
}

impl TransactionalSink {
    /// Starts the thread of the transactions. The broker need not be there yet.
    pub(super) fn open(spec: SinkSpec) -> Result<Self, KafkaError> {
        let (queue, source) = (Arc::<Queue>::default(), CommitsSlot::default());
        let sink = Self { queue: Arc::clone(&queue), counts: spec.counts, source: Arc::clone(&source) };
        let [heartbeat, reports] = spec.heartbeats;
        let producer =
            TransactionalProducer::new(spec.client, spec.stage, Arc::clone(&source), heartbeat.clone(), reports);
        let TransactionSettings { interval, shorten, committed, aborted } = spec.settings;
        let committer = Committer::new(producer, shorten, spec.dead_letters, [committed, aborted]);
        let events = spec.events;
        let thread = Transactions { queue, source, committer, ended: Instant::now(), interval, events, heartbeat };
        let spawned = std::thread::Builder::new().name("kafka-transact".into()).spawn(move || thread.run());
        spawned.map_err(|error| KafkaError::ClientCreation(format!("transaction thread: {error}")))?;
        Ok(sink)
    }

    /// Sends a record in the next transaction.
    pub fn send(&self, record: OutRecord, acks: TransactionAcks, spans: Vec<StageSpan>) {
        let counter = self.counts.counter(&record.topic);
        self.queue.state.lock().waiting.push(Entry::new(record, acks, spans, counter));
        self.queue.changed.notify_all();
    }

    /// Partitions of `topic` as last seen; `None` while the broker has not answered yet.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.counts.partitions(topic)
    }

    /// To be filled by the source whose records are answered.
    pub(super) fn source(&self) -> CommitsSlot {
        Arc::clone(&self.source)
    }

    /// Waits until everything is committed; `false` when `limit` passed first.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.queue.state.lock();
        while state.working || !state.waiting.is_empty() {
            if self.queue.changed.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        self.queue.state.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

/// The thread of the transactions.
struct Transactions {
    queue: Arc<Queue>,
    source: CommitsSlot,
    committer: Committer<TransactionalProducer>,
    /// When the last transaction ended.
    ended: Instant,
    interval: Duration,
    events: Arc<dyn EdgeEvents>,
    heartbeat: Heartbeat,
}

impl Transactions {
    fn run(mut self) {
        let (mut backoff, mut failed) = (Backoff::new(), false);
        // a first transaction would wait for the producer otherwise
        self.open();
        while self.wait(failed) {
            let began = Instant::now();
            let turn = self.committer.turn();
            report(&turn, &mut failed, self.events.as_ref());
            if matches!(turn, Turn::Failed(_)) {
                self.pause(backoff.next());
                continue;
            }
            backoff.reset();
            self.ended = Instant::now();
            self.pause(self.interval.saturating_sub(began.elapsed()));
        }
    }

    fn open(&mut self) {
        let mut backoff = Backoff::new();
        while let Err(why) = self.committer.open() {
            self.events.unready(&format!("transactions: {why}"));
            self.pause(backoff.next());
            if self.queue.state.lock().closed {
                return;
            }
        }
        self.events.ready();
    }

    /// Waits for records, or for offsets that are to be committed, unless the last turn `failed`: its work may have gone with
    /// its partitions, and then nothing else would show that the producer is of use again. `false` when the sink is closed.
    fn wait(&mut self, failed: bool) -> bool {
        loop {
            self.heartbeat.beat();
            let offsets = self.source.get().is_some_and(|source| source.offsets().has_uncommitted());
            let mut state = self.queue.state.lock();
            if state.closed {
                return false;
            }
            self.committer.add(&mut state.waiting);
            state.working = offsets || self.committer.has_records();
            self.queue.changed.notify_all();
            if failed || self.committer.has_records() || (offsets && self.ended.elapsed() >= OFFSETS) {
                return true;
            }
            let _ = self.queue.changed.wait_for(&mut state, OFFSETS.min(self.heartbeat.interval()));
        }
    }

    fn pause(&self, time: Duration) {
        let deadline = Instant::now() + time;
        while let left = deadline.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            self.heartbeat.beat();
            std::thread::sleep(left.min(self.heartbeat.interval()));
        }
    }
}

/// Reports what a turn came to; `failed` is whether the last one has. A turn without work has a producer of use as well.
fn report(turn: &Turn, failed: &mut bool, events: &dyn EdgeEvents) {
    let Turn::Failed(why) = turn else {
        if std::mem::take(failed) || *turn == Turn::Committed {
            events.ready();
        }
        return;
    };
    tracing::warn!(why, "transaction failed, its records are sent again");
    // one is normal when partitions move
    if std::mem::replace(failed, true) {
        events.unready(&format!("transactions: {why}"));
    }
}

/// Interval between commits of offsets without a record to write: duplicates, and replies over HTTP and RabbitMQ.
const OFFSETS: Duration = Duration::from_millis(100);
