//! A reader of given partitions, from their end and without a group: replies to one ingestion replica, and the
//! predictions for caching. It commits nothing: a record that it misses was answered elsewhere or is advisory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use forebay_contract::decode;
use forebay_runtime::{Heartbeat, StartError};
use parking_lot::{Mutex, RwLock};
use prost::Message as Payload;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::broker_contact::{DeadClientCheck, discard, successor};
use super::client::{Client, Quiet, spawn};
use super::dead_letters::{DeadLetter, DeadLetters};
use super::record::copy_record;
use crate::work_size::bytes_of_batch;
use crate::{Ack, Delivery, EdgeEvents, Inlet, Permits};

const BROKER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(250);
const AGAIN: Duration = Duration::from_millis(500);

/// Reads partitions of one topic and hands their batches to an inlet.
#[derive(Clone)]
pub(crate) struct AssignedConsumer {
    shared: Arc<Shared>,
}

struct Shared {
    consumer: RwLock<Arc<BaseConsumer<Quiet>>>,
    config: ClientConfig,
    topic: Arc<str>,
    /// The partitions that are read, each with the offset that it began at.
    assigned: Mutex<BTreeMap<i32, i64>>,
    /// Partitions that could not be assigned yet; the reader tries again.
    wanted: Mutex<Option<Vec<i32>>>,
    /// Most partitions that were ever wanted at once.
    most_wanted: AtomicUsize,
    closing: AtomicBool,
    events: Arc<dyn EdgeEvents>,
}

impl std::fmt::Debug for AssignedConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AssignedConsumer")
    }
}

/// What an assigned consumer reads, and for whom.
pub(crate) struct Reading<'a, P> {
    pub(crate) topic: &'a str,
    pub(crate) inlet: Inlet<P>,
    /// Bound what was handed over and is not finished.
    pub(crate) permits: Permits,
    /// Whether a batch without permits is dropped and counted; otherwise it waits for them.
    pub(crate) advisory: bool,
    pub(crate) dead_letters: DeadLetters,
    /// The heartbeat of the thread that reads.
    pub(crate) heartbeat: Heartbeat,
}

impl AssignedConsumer {
    /// Starts the thread that reads; no partition is assigned yet.
    pub(crate) fn start<P: Payload + Default + 'static>(
        client: &Client,
        config: &ClientConfig,
        reading: Reading<'_, P>,
        events: Arc<dyn EdgeEvents>,
    ) -> Result<(Self, JoinHandle<()>), KafkaError> {
        let Reading { topic, inlet, permits, advisory, dead_letters, heartbeat } = reading;
        let shared = Arc::new(Shared {
            consumer: RwLock::new(Arc::new(config.create_with_context(Quiet::default())?)),
            config: config.clone(),
            topic: topic.into(),
            assigned: Mutex::default(),
            wanted: Mutex::default(),
            most_wanted: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            events,
        });
        let assigned_consumer = Self { shared: Arc::clone(&shared) };
        let dead_client = DeadClientCheck::new(client, topic);
        let reader = Reader { shared, inlet, permits, advisory, dead_letters, heartbeat, dead_client };
        let thread = std::thread::Builder::new()
            .name(format!("assigned {topic}").chars().take(15).collect())
            .spawn(move || {
                let mut reader = reader;
                reader.run()
            })
            .map_err(|error| KafkaError::ClientCreation(format!("assigned consumer thread: {error}")))?;
        Ok((assigned_consumer, thread))
    }

    /// Ready without any partition: the first ones come with an assignment.
    pub(crate) fn ready(&self) {
        self.shared.events.ready();
    }

    /// Assigns `partitions` as soon as the broker knows them; unready until then.
    pub(crate) fn assign_when_reachable(self, partitions: Vec<i32>, heartbeat: Heartbeat) -> Result<(), StartError> {
        spawn("kafka-assign", move || {
            let assign = || {
                let _waiting = heartbeat.waiting(longest_assignment(partitions.len()));
                self.assign(&partitions)
            };
            while let Err(error) = assign() {
                let why = self.shared.consumer().context().auth_failure.explain(&error);
                self.shared.events.unready(&format!("topic {}: {why}", self.shared.topic));
                std::thread::sleep(AGAIN);
                if self.shared.closing.load(Ordering::Acquire) {
                    return;
                }
            }
        })
    }

    /// Reads exactly these partitions from now on. New ones begin at their end, taken before this returns, so that
    /// nothing written afterwards is missed. When that fails, the reader keeps trying.
    pub(crate) fn assign(&self, partitions: &[i32]) -> Result<(), KafkaError> {
        self.shared.most_wanted.fetch_max(partitions.len(), Ordering::Relaxed);
        let mut wanted = self.shared.wanted.lock();
        let done = self.shared.assign(partitions);
        *wanted = done.is_err().then(|| partitions.to_vec());
        done
    }

    /// Ends the thread with its next poll.
    pub(crate) fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
    }
}

impl Shared {
    fn consumer(&self) -> Arc<BaseConsumer<Quiet>> {
        Arc::clone(&self.consumer.read())
    }

    fn assign(&self, partitions: &[i32]) -> Result<(), KafkaError> {
        let mut assigned = self.assigned.lock();
        let consumer = self.consumer();
        let mut starts = BTreeMap::new();
        let new: Vec<i32> = partitions.iter().filter(|p| !assigned.contains_key(p)).copied().collect();
        if !new.is_empty() {
            self.look_up(&consumer, &new)?;
        }
        for partition in &new {
            let (_, end) = consumer.fetch_watermarks(&self.topic, *partition, BROKER)?;
            starts.insert(*partition, end);
        }
        let mut leaving = TopicPartitionList::new();
        for partition in assigned.keys().filter(|p| !partitions.contains(p)) {
            leaving.add_partition(&self.topic, *partition);
        }
        if leaving.count() > 0 {
            consumer.incremental_unassign(&leaving)?;
        }
        if !starts.is_empty() {
            consumer.incremental_assign(&self.list(&starts)?)?;
        }
        assigned.retain(|partition, _| partitions.contains(partition));
        assigned.append(&mut starts);
        self.events.ready();
        Ok(())
    }

    /// Fetches the topic's metadata from the broker: the client caches for a long time that a topic is missing, or that
    /// it has no access to it.
    fn look_up(&self, consumer: &BaseConsumer<Quiet>, partitions: &[i32]) -> Result<(), KafkaError> {
        let metadata = consumer.fetch_metadata(Some(&self.topic), BROKER)?;
        consumer.context().auth_failure.clear();
        let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let Some(topic) = metadata.topics().first() else { return Err(unknown) };
        if let Some(code) = topic.error() {
            return Err(KafkaError::MetadataFetch(code.into()));
        }
        let known = |partition: &i32| topic.partitions().iter().any(|it| it.id() == *partition);
        if partitions.iter().all(known) { Ok(()) } else { Err(unknown) }
    }

    fn list(&self, starts: &BTreeMap<i32, i64>) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, start) in starts {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*start))?;
        }
        Ok(list)
    }

    /// Replaces a client that has lost its brokers for good, and reads on where it was.
    fn replace_client(&self) -> Result<(), KafkaError> {
        let assigned = self.assigned.lock();
        let consumer = successor(&self.config, &self.consumer(), self.list(&assigned)?)?;
        discard(std::mem::replace(&mut *self.consumer.write(), Arc::new(consumer)));
        self.events.client_replaced("consumer");
        Ok(())
    }

    /// Tries the partitions that could not be assigned again.
    fn catch_up(&self, heartbeat: &Heartbeat) {
        // a rebalance, which blocks its thread in here, may hold both locks
        let _waiting = heartbeat.waiting(longest_assignment(self.most_wanted.load(Ordering::Relaxed)));
        let mut wanted = self.wanted.lock();
        if let Some(partitions) = &*wanted
            && self.assign(partitions).is_ok()
        {
            *wanted = None;
        }
    }
}

/// Longest time that [`AssignedConsumer::assign`] takes: a call to the broker for the topic and one for each partition,
/// twice where another assignment is under way.
pub(crate) fn longest_assignment(partitions: usize) -> Duration {
    BROKER * (2 * u32::try_from(partitions).unwrap_or(u32::MAX / 8).min(u32::MAX / 8) + 2)
}

struct Reader<P> {
    shared: Arc<Shared>,
    inlet: Inlet<P>,
    permits: Permits,
    advisory: bool,
    dead_letters: DeadLetters,
    heartbeat: Heartbeat,
    dead_client: DeadClientCheck,
}

impl<P: Payload + Default + 'static> Reader<P> {
    fn run(&mut self) {
        let mut caught_up = Instant::now();
        while !self.shared.closing.load(Ordering::Acquire) {
            self.heartbeat.beat();
            if caught_up.elapsed() > AGAIN {
                self.replace_dead_client();
                self.shared.catch_up(&self.heartbeat);
                caught_up = Instant::now();
            }
            let consumer = self.shared.consumer();
            match consumer.poll(POLL) {
                Some(Ok(message)) => self.deliver(&message),
                Some(Err(error)) => {
                    tracing::debug!(topic = &*self.shared.topic, %error, "assigned consumer reports an error")
                }
                None => {}
            }
        }
    }

    fn replace_dead_client(&mut self) {
        let consumer = self.shared.consumer();
        let dead = self.dead_client.is_dead(consumer.client(), &consumer.context().contact, &self.heartbeat);
        // the one that is discarded must not end on this thread
        drop(consumer);
        if dead && let Err(error) = self.shared.replace_client() {
            tracing::warn!(topic = &*self.shared.topic, %error, "client cannot be replaced yet");
        }
    }

    fn deliver(&self, message: &BorrowedMessage<'_>) {
        let record = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        let batch = match decode::<P>(record) {
            Ok(batch) => batch,
            Err(error) => {
                let letter = DeadLetter {
                    code: "invalid_request",
                    message: error.to_string(),
                    topic: Arc::clone(&self.shared.topic),
                    record: copy_record(message, &mut BytesMut::new()),
                };
                return self.dead_letters.send(letter, Ack::none());
            }
        };
        let mut permit = loop {
            self.heartbeat.beat();
            match self.permits.take_within(batch.items.len(), POLL) {
                Some(permit) => break permit,
                None if self.advisory => return self.shared.events.advice_dropped(batch.items.len()),
                None if self.shared.closing.load(Ordering::Acquire) => return,
                None => {}
            }
        };
        let items = batch.items.len();
        permit.keep_with_bytes(items, bytes_of_batch(message.payload_len(), items));
        self.inlet.deliver(Delivery { payload: batch, ack: Ack::new(move |_| drop(permit)) });
    }
}
