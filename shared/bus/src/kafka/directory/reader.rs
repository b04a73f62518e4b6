//! Reads the whole topic from its beginning, until the process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay_contract::{DirectoryKey, ModelView, ReplicaState, ServingOverride, now_ms};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Heartbeat, Host, LONGEST_UNMARKED_WAIT};
use prost::Message as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::directory::LONG_DEAD;
use crate::kafka::auth_failure::AuthFailure;
use crate::kafka::broker_contact::{BrokerContact, DeadClientCheck, discard, successor};
use crate::kafka::client::{self, Client};
use crate::kafka::statistics::ClientStatistics;
use crate::{EdgeEvents, ModelDirectory};

const BROKER: Duration = Duration::from_secs(5);
const _: () = assert!(BROKER.as_millis() <= LONGEST_UNMARKED_WAIT.as_millis());
const POLL: Duration = Duration::from_millis(250);
/// Interval between checks of the replicas' liveness and of a broker that cannot be reached.
const LOOK: Duration = Duration::from_secs(1);
/// Interval between checks for new partitions.
const PARTITIONS: Duration = Duration::from_secs(30);

/// Notes when no broker can be reached.
#[derive(Default)]
struct Context {
    lost: AtomicBool,
    auth_failure: AuthFailure,
    contact: BrokerContact,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.auth_failure.record_log(facility, text);
        client::log(level, facility, text);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        ClientStatistics::read(statistics).iter().for_each(|statistics| self.contact.record(statistics));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.lost.store(true, Ordering::Release);
        }
        self.auth_failure.record_error(&error, reason);
        tracing::debug!(%error, reason, "directory reader reports an error");
    }
}

impl ConsumerContext for Context {}

/// The reader of one process.
pub(super) struct Reader {
    consumer: BaseConsumer<Context>,
    config: ClientConfig,
    dead_client: DeadClientCheck,
    topic: String,
    directory: ModelDirectory,
    events: Arc<dyn EdgeEvents>,
    heartbeat: Heartbeat,
    closing: Arc<AtomicBool>,
    ignored: Counter,
    assigned: BTreeSet<i32>,
    /// Partitions whose end, as it was at the start, is not reached yet; none while nothing is assigned.
    unread: Option<BTreeMap<i32, i64>>,
    disconnected: bool,
}

impl Reader {
    pub(super) fn open(
        client: &Client,
        topic: &str,
        directory: ModelDirectory,
        (events, heartbeat): (Arc<dyn EdgeEvents>, Heartbeat),
        closing: Arc<AtomicBool>,
        host: &Host,
    ) -> Result<Self, KafkaError> {
        let mut config = client.reader_of_partitions();
        // the end of a partition is an event
        config.set("enable.partition.eof", "true");
        let consumer = config.create_with_context(Context::default())?;
        let topic = topic.to_owned();
        let help = "Records of the models topic that are not understood";
        let ignored = host.metrics().group("forebay_models_").add("records_ignored", help);
        let assigned = BTreeSet::new();
        Ok(Self {
            consumer,
            config,
            dead_client: DeadClientCheck::new(client, &topic),
            topic,
            directory,
            events,
            heartbeat,
            closing,
            ignored,
            assigned,
            unread: None,
            disconnected: false,
        })
    }

    pub(super) fn spawn(mut self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("directory-reader".into()).spawn(move || self.run())
    }

    fn run(&mut self) {
        let (mut looked, mut counted) = (Instant::now(), None::<Instant>);
        while !self.closing.load(Ordering::Acquire) {
            self.heartbeat.beat();
            if counted.is_none_or(|at| at.elapsed() > self.assign_interval()) {
                self.assign();
                counted = Some(Instant::now());
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    self.take(&message);
                    let (partition, next) = (message.partition(), message.offset() + 1);
                    drop(message);
                    self.reached(partition, next);
                }
                // the last records may have been removed by compaction
                Some(Err(KafkaError::PartitionEOF(partition))) => self.reached(partition, i64::MAX),
                Some(Err(error)) => tracing::debug!(topic = self.topic, %error, "directory reader reports an error"),
                None => {}
            }
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                self.notice_loss();
                self.directory.sweep();
                self.replace_dead_client();
            }
        }
    }

    fn assign_interval(&self) -> Duration {
        if self.disconnected || self.unread.is_none() { LOOK / 2 } else { PARTITIONS }
    }

    /// Reads partitions that are new. An answer also says that the broker is there.
    fn assign(&mut self) {
        match self.new_partitions() {
            Ok(()) => self.on_reconnect(),
            // later, the other edges report a broker that cannot be reached
            Err(error) if self.unread.is_none() => {
                let why = self.consumer.context().auth_failure.explain(&error);
                self.events.unready(&format!("topic {}: {why}", self.topic));
            }
            Err(error) => tracing::debug!(topic = self.topic, %error, "partitions cannot be counted"),
        }
    }

    fn new_partitions(&mut self) -> Result<(), KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), BROKER)?;
        self.consumer.context().auth_failure.clear();
        let found = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        let new: BTreeSet<i32> = found.filter(|partition| !self.assigned.contains(partition)).collect();
        if new.is_empty() {
            let known = !self.assigned.is_empty();
            let missing = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
            return if known { Ok(()) } else { Err(missing) };
        }
        let mut list = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        for partition in &new {
            self.heartbeat.beat();
            let (begin, end) = self.consumer.fetch_watermarks(&self.topic, *partition, BROKER)?;
            // by number, for a client that has to ask for the beginning first fetches the partition that is answered first
            // alone, and the others only when the broker has let that request wait for its whole time
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(begin))?;
            if begin < end {
                ends.insert(*partition, end);
            }
        }
        self.consumer.incremental_assign(&list)?;
        self.unread.get_or_insert_default().extend(ends);
        self.assigned.extend(new);
        self.report_end();
        Ok(())
    }

    /// Everything before `next` was read.
    fn reached(&mut self, partition: i32, next: i64) {
        let Some(unread) = &mut self.unread else { return };
        if unread.get(&partition).is_some_and(|end| next >= *end) {
            unread.remove(&partition);
            self.report_end();
        }
    }

    fn report_end(&mut self) {
        let Some(unread) = &self.unread else { return };
        if unread.is_empty() && !self.directory.is_caught_up() {
            self.directory.caught_up(true);
            self.events.ready();
            tracing::info!(topic = self.topic, models = self.directory.views().len(), "models topic read to its end");
        }
    }

    fn notice_loss(&mut self) {
        if self.consumer.context().lost.swap(false, Ordering::AcqRel) && !self.disconnected {
            self.disconnected = true;
            self.directory.connected(false);
        }
    }

    /// Replaces a client that has lost its brokers for good, and reads on where it was.
    fn replace_dead_client(&mut self) {
        if !self.dead_client.is_dead(self.consumer.client(), &self.consumer.context().contact, &self.heartbeat) {
            return;
        }
        let mut starts = TopicPartitionList::new();
        for partition in &self.assigned {
            let _ = starts.add_partition_offset(&self.topic, *partition, Offset::Beginning);
        }
        match successor(&self.config, &self.consumer, starts) {
            Ok(consumer) => {
                discard(std::mem::replace(&mut self.consumer, consumer));
                self.events.client_replaced("consumer");
            }
            Err(error) => tracing::warn!(topic = self.topic, %error, "client cannot be replaced yet"),
        }
    }

    fn on_reconnect(&mut self) {
        if self.disconnected {
            self.disconnected = false;
            self.directory.connected(true);
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        if !self.understand(message) {
            self.ignored.inc();
            let (partition, offset) = (message.partition(), message.offset());
            tracing::debug!(topic = self.topic, partition, offset, "record of the models topic is not understood");
        }
    }

    /// False for a record of a kind this build does not know, or a broken one: a newer build, or a foreign
    /// writer.
    fn understand(&self, message: &BorrowedMessage<'_>) -> bool {
        let Some(key) = message.key().and_then(DirectoryKey::parse) else { return false };
        let payload = message.payload().unwrap_or_default();
        if payload.is_empty() {
            self.directory.on_removed(&key);
            return true;
        }
        match key {
            DirectoryKey::View(model) => {
                let view = ModelView::decode(payload).ok().filter(|view| view.model == model);
                view.map(|view| self.directory.on_view(view)).is_some()
            }
            DirectoryKey::Override(model) => {
                let record = ServingOverride::decode(payload).ok().filter(|record| record.model == model);
                record.map(|record| self.directory.on_override(record)).is_some()
            }
            DirectoryKey::Replica { replica, model } => {
                let state = ReplicaState::decode(payload).ok();
                let state = state.filter(|state| state.replica == replica && state.model == model);
                let old = !self.directory.is_caught_up() && is_old(message);
                state
                    .map(|state| if old { self.directory.on_stale(state) } else { self.directory.on_state(state) })
                    .is_some()
            }
        }
    }
}

/// Whether a record that was there at the start is from a replica long gone. Clocks differ, hence the wide margin;
/// a replica that is alive sends its state again within a heartbeat.
fn is_old(message: &BorrowedMessage<'_>) -> bool {
    let limit = i64::try_from(LONG_DEAD.as_millis()).unwrap_or(i64::MAX);
    message.timestamp().to_millis().is_some_and(|written| now_ms().saturating_sub(written) > limit)
}
