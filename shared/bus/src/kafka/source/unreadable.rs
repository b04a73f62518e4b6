//! Batches that the client cannot read: damaged ones, and such of a codec that it does not know. The client names neither
//! partition nor end of such a batch, so partitions are read once more, each by a client of its own. The damaged one rests
//! meanwhile, and is read on behind the batch when it has not become readable in time; one dead letter names its offsets.

mod batch_reader;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

pub(super) use batch_reader::BatchReader;
use batch_reader::{Reading, base_offset, codec, first_behind};
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::member::Member;
use super::positions::ReadUpTo;
use super::taken_records::ack_of;
use super::{CLOSE, Intake};
use crate::kafka::client::spawn;
use crate::kafka::dead_letters::{DeadLetter, DeadLetters};
use crate::kafka::record::RawRecord;

/// A batch that has been unreadable for this long is stepped over.
const GIVE_UP: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);

/// The header of a dead letter for records that were never read: their first and last offset.
const OFFSETS: &str = "forebay-offsets";

/// Whether the client could not make sense of what a broker has sent.
pub(super) fn is_unreadable(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode::{BadCompression, BadMessage, InvalidMessage, NotImplemented};
    matches!(code, Some(BadMessage | BadCompression | NotImplemented | InvalidMessage))
}

/// What a partition turned out to hold at its position.
#[derive(Debug)]
enum Finding {
    /// Something readable, or nothing yet.
    Readable,
    /// A batch that cannot be read, for this reason.
    Damaged(String),
    /// The batch is still damaged; this is the offset behind it.
    EndsBefore(i64),
}

/// The number of a suspect, and what it holds.
type Report = (u64, Finding);

/// A partition that is examined, and does not give records meanwhile.
struct Suspect {
    number: u64,
    /// The key of the partition.
    partition: i32,
    position: i64,
    /// The generation of the work on it, which changes when it is assigned again or read again from before.
    generation: Option<u64>,
    reason: Option<String>,
}

/// The partitions of a source that are examined.
pub(super) struct Unreadable {
    dead_letters: DeadLetters,
    suspects: Vec<Suspect>,
    examined: u64,
    report: Sender<Report>,
    found: Receiver<Report>,
    stopped: Arc<AtomicBool>,
}

impl Unreadable {
    pub(super) fn new(dead_letters: DeadLetters) -> Self {
        let (report, found) = channel();
        Self { dead_letters, suspects: Vec::new(), examined: 0, report, found, stopped: Arc::default() }
    }
}

impl Drop for Unreadable {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
    }
}

impl<I: Intake> Member<I> {
    /// Has the partitions examined that the client's error may be about: those that are read next at the offset that it
    /// names, or all.
    pub(super) fn suspect_unreadable(&mut self) {
        let base = self.consumer.context().take_unreadable().and_then(|reason| base_offset(&reason));
        let mut positions = self.positions.next_of(&self.offsets.assigned());
        if positions.iter().any(|(_, next)| Some(*next) == base) {
            positions.retain(|(_, next)| Some(*next) == base);
        }
        for (partition, position) in positions {
            let is_known = |suspect: &Suspect| suspect.partition == partition && suspect.position == position;
            if self.unreadable.suspects.iter().any(is_known) {
                self.rest(partition, position);
            } else {
                self.examine(partition, position);
            }
        }
    }

    fn examine(&mut self, partition: i32, position: i64) {
        self.rest(partition, position);
        let reader = BatchReader::new(&self.config, self.topics.topic(partition), self.topics.of(partition).1);
        let (found, stopped) = (self.unreadable.report.clone(), Arc::clone(&self.unreadable.stopped));
        let (number, generation) = (self.unreadable.examined, self.offsets.generation(partition));
        self.unreadable.examined += 1;
        let started = spawn("kafka-unreadable", move || {
            let _ = watch(&reader, position, &stopped, |finding| found.send((number, finding)).is_ok());
        });
        match started {
            Ok(()) => {
                self.unreadable.suspects.retain(|suspect| suspect.partition != partition);
                self.unreadable.suspects.push(Suspect { number, partition, position, generation, reason: None });
            }
            Err(error) => {
                let (topic, partition) = self.topics.of(partition);
                tracing::warn!(topic, partition, %error, "partition cannot be examined yet");
            }
        }
    }

    /// Stops reading a partition; what was fetched behind `position` is read again.
    fn rest(&self, partition: i32, position: i64) {
        let paused = self.consumer.pause(&self.topics.list(&[partition]));
        if let Err(error) = paused.and_then(|()| self.seek(partition, position)) {
            let (topic, partition) = self.topics.of(partition);
            tracing::debug!(topic, partition, %error, "partition does not rest");
        }
    }

    fn seek(&self, partition: i32, position: i64) -> rdkafka::error::KafkaResult<()> {
        let (topic, partition) = self.topics.of(partition);
        self.consumer.seek(topic, partition, Offset::Offset(position), CLOSE)
    }

    /// Acts on what the examinations have found.
    pub(super) fn settle_unreadable(&mut self) {
        if self.unreadable.suspects.is_empty() {
            return;
        }
        let changed = |suspect: &mut Suspect| self.offsets.generation(suspect.partition) != suspect.generation;
        let changed: Vec<i32> = self.unreadable.suspects.extract_if(.., changed).map(|it| it.partition).collect();
        changed.into_iter().for_each(|partition| self.read_on(partition));
        while let Ok((number, finding)) = self.unreadable.found.try_recv() {
            let Some(at) = self.unreadable.suspects.iter().position(|it| it.number == number) else { continue };
            let partition = self.unreadable.suspects[at].partition;
            match finding {
                Finding::Damaged(reason) => {
                    let offset = self.unreadable.suspects[at].position;
                    let (topic, partition) = self.topics.of(partition);
                    let codec = codec(&reason);
                    tracing::error!(topic, partition, offset, codec, reason, "batch cannot be read");
                    self.events.unreadable(topic);
                    self.unreadable.suspects[at].reason = Some(reason);
                }
                Finding::Readable => {
                    self.unreadable.suspects.swap_remove(at);
                    self.read_on(partition);
                }
                Finding::EndsBefore(next) => {
                    let suspect = self.unreadable.suspects.swap_remove(at);
                    self.step_over(suspect, next);
                }
            }
        }
    }

    fn read_on(&self, partition: i32) {
        if !self.paused
            && let Err(error) = self.consumer.resume(&self.topics.list(&[partition]))
        {
            let (topic, partition) = self.topics.of(partition);
            tracing::debug!(topic, partition, %error, "partition is not resumed");
        }
    }

    /// Reads on at `next`, with one dead letter for all offsets before it.
    fn step_over(&mut self, suspect: Suspect, next: i64) {
        let Suspect { partition: key, position: first, reason, .. } = suspect;
        let ((topic, partition), last) = (self.topics.of(key), next - 1);
        if let Err(error) = self.seek(key, next) {
            // found again with the next error
            tracing::warn!(topic, partition, %error, "unreadable batch cannot be stepped over yet");
            return self.read_on(key);
        }
        let Some(in_flight) = self.offsets.begin(key, first, last) else { return };
        tracing::error!(topic, partition, first, last, "unreadable batch is stepped over");
        self.positions.has_read(&[(key, ReadUpTo { next, latest_ms: None })]);
        let reason = reason.unwrap_or_default();
        let letter = DeadLetter {
            code: "invalid_request",
            message: format!("the records {first} to {last} of this partition cannot be read: {reason}"),
            topic: Arc::clone(self.topics.topic(key)),
            record: RawRecord {
                payload: bytes::Bytes::new(),
                key: None,
                partition: partition.unsigned_abs(),
                offset: first.unsigned_abs(),
                timestamp_ms: -1,
                headers: vec![
                    (OFFSETS.to_owned(), format!("{first}-{last}").into()),
                    // there are no bytes to replay
                    ("forebay-truncated".to_owned(), "true".into()),
                ],
            },
        };
        self.unreadable.dead_letters.send(letter, ack_of(vec![in_flight], Arc::clone(&self.offsets), None));
        self.read_on(key);
    }
}

/// Reads a partition at `position` until it is readable, or has not been for [`GIVE_UP`]. Ends when its source has ended.
fn watch(reader: &BatchReader, position: i64, stopped: &AtomicBool, tell: impl Fn(Finding) -> bool) -> Option<()> {
    let began = Instant::now();
    let mut known = false;
    while !stopped.load(Ordering::Acquire) {
        match reader.read(position) {
            Ok(Reading::Record | Reading::End(_)) => {
                tell(Finding::Readable);
                return None;
            }
            Ok(Reading::Damaged { base, reason }) => {
                if !std::mem::replace(&mut known, true) && !tell(Finding::Damaged(reason)) {
                    return None;
                }
                if began.elapsed() >= GIVE_UP
                    && let Some(end) = reader.end()
                    && let Some(next) = first_behind(position, end, |at| reader.is_within(at, base))
                {
                    tell(Finding::EndsBefore(next));
                    return Some(());
                }
            }
            // the broker does not answer
            Err(error) => tracing::debug!(%error, "partition cannot be examined yet"),
        }
        std::thread::sleep(AGAIN);
    }
    None
}
