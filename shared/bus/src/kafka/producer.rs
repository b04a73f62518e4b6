//! One producer per stage. A record's ack is answered by the broker's delivery report; a failed send is tried again,
//! in place and with a growing pause, until the record's deadline.

mod context;
mod replacement;

pub(crate) use context::{Sent, Undeliverable};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use context::{Context, Retry, is_permanent};
use forebay_contract::{machine_us, now_us};
use forebay_runtime::{Heartbeat, StageSpan, prometheus_client::metrics::counter::Counter};
use parking_lot::{Mutex, RwLock};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rustc_hash::FxHashMap;

use super::client::Client;
use crate::{Ack, EdgeEvents};

/// A record for a topic of the clients.
#[derive(Debug)]
pub struct OutRecord {
    /// Topic that it is written to.
    pub topic: Arc<str>,
    /// Partition; `None` lets the partitioner choose by key.
    pub partition: Option<u32>,
    /// Key.
    pub key: Option<Bytes>,
    /// Value.
    pub payload: Vec<u8>,
    /// Headers.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

/// Sends records and knows the partition counts of their topics. Cheap to clone.
#[derive(Clone)]
pub struct RecordSink(Arc<Inner>);

struct Inner {
    producer: RwLock<Arc<BaseProducer<Context>>>,
    config: ClientConfig,
    /// The heartbeat of the threads that serve the delivery reports.
    reports: Heartbeat,
    /// Whether it writes topics of clients, where a record must not stand twice.
    for_clients: AtomicBool,
    partitions: Mutex<FxHashMap<String, u32>>,
    counters: Mutex<FxHashMap<Arc<str>, Counter>>,
    new_counter: Box<dyn Fn(&str) -> Counter + Send + Sync>,
    undeliverable: Mutex<Option<Undeliverable>>,
}

impl std::fmt::Debug for RecordSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordSink")
    }
}

impl RecordSink {
    pub(crate) fn open(
        client: &Client,
        events: Arc<dyn EdgeEvents>,
        [reports, resends]: [Heartbeat; 2],
        new_counter: impl Fn(&str) -> Counter + Send + Sync + 'static,
    ) -> Result<Self, KafkaError> {
        let (retries, due) = channel();
        let config: ClientConfig = client.producer();
        let context = Context::new(retries, events);
        let producer = Arc::new(config.create_with_context(context)?);
        serve_reports(&producer, reports.clone())?;
        let inner = Arc::new(Inner {
            producer: RwLock::new(producer),
            config,
            reports,
            for_clients: AtomicBool::new(false),
            partitions: Mutex::default(),
            counters: Mutex::default(),
            new_counter: Box::new(new_counter),
            undeliverable: Mutex::default(),
        });
        let resend = Arc::downgrade(&inner);
        let spawned = std::thread::Builder::new().name("kafka-retry".into()).spawn(move || {
            resend_loop(&due, &resends, &|retry| {
                if let Some(inner) = resend.upgrade() {
                    inner.resend(retry);
                }
            });
        });
        spawned.map_err(|error| KafkaError::ClientCreation(format!("retry thread: {error}")))?;
        Ok(Self(inner))
    }

    /// What happens to records of [`RecordSink::send`] that the broker will never take.
    pub(crate) fn on_undeliverable(&self, give_up: Undeliverable) {
        *self.0.undeliverable.lock() = Some(give_up);
    }

    /// Sends a record; `ack` is answered by the delivery report. Tried again until it is delivered: a result that
    /// was computed is worth sending late. A record the broker will never take goes to the dead letters.
    pub fn send(&self, record: OutRecord, ack: Ack) {
        self.send_with_spans(record, ack, Vec::new());
    }

    /// As [`RecordSink::send`], with spans that end with the delivery report.
    pub fn send_with_spans(&self, record: OutRecord, ack: Ack, spans: Vec<StageSpan>) {
        let counter = self.counter(&record.topic);
        let undeliverable = self.0.undeliverable.lock().clone();
        let sent =
            Sent { ack, items: 1, counter, deadline_us: u64::MAX, spans, attempts: 0, handed_us: 0, undeliverable };
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
        let headers = (!record.headers.is_empty()).then_some(headers);
        self.produce(&record.topic, record.partition, record.key.as_deref(), Some(&record.payload), headers, sent);
    }

    /// As [`RecordSink::send`], for records that say themselves what to do when they cannot be sent; no payload is a
    /// tombstone.
    pub(crate) fn produce(
        &self,
        topic: &str,
        partition: Option<u32>,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
        sent: Sent,
    ) {
        let partition = partition.map(|p| p.cast_signed());
        self.0.send(topic, partition, key, payload, headers, Box::new(sent));
    }

    pub(crate) fn counter(&self, topic: &Arc<str>) -> Counter {
        let mut counters = self.0.counters.lock();
        counters.entry(Arc::clone(topic)).or_insert_with(|| (self.0.new_counter)(topic)).clone()
    }

    /// Partitions of `topic` as last seen; `None` while the broker has not answered yet.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.0.partitions.lock().get(topic).copied()
    }

    /// Fetches from the broker the partitions of `topic`.
    pub(crate) fn refresh(&self, topic: &str, limit: Duration) -> Result<u32, KafkaError> {
        let producer = self.0.producer();
        let metadata = producer.client().fetch_metadata(Some(topic), limit)?;
        producer.context().auth_failure.clear();
        let topics = metadata.topics();
        // a topic that this client has no right to is another matter than one that is not there
        if let Some(code) = topics.first().and_then(|topic| topic.error()) {
            return Err(KafkaError::MetadataFetch(code.into()));
        }
        let found = topics.first().map_or(0, |topic| topic.partitions().len());
        if found == 0 {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
        }
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        self.0.partitions.lock().insert(topic.to_owned(), found);
        Ok(found)
    }

    /// Why `error` came about, where the broker has said so.
    pub(crate) fn explain(&self, error: &KafkaError) -> String {
        self.0.producer().context().auth_failure.explain(error)
    }

    /// Names of all topics that this client may see; the broker's own are left out.
    pub(crate) fn topics(&self, limit: Duration) -> Result<Vec<String>, KafkaError> {
        let metadata = self.0.producer().client().fetch_metadata(None, limit)?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        Ok(names.filter(|name| !name.starts_with("__")).map(str::to_owned).collect())
    }

    /// Waits until every record has its delivery report; `false` when `limit` passed first.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        self.0.producer().flush(limit).is_ok()
    }
}

impl Inner {
    fn producer(&self) -> Arc<BaseProducer<Context>> {
        Arc::clone(&self.producer.read())
    }

    fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
        mut sent: Box<Sent>,
    ) {
        sent.handed_us = machine_us();
        let mut record = BaseRecord::<[u8], [u8], Box<Sent>>::with_opaque_to(topic, sent);
        record.payload = payload;
        record.partition = partition;
        record.key = key;
        record.headers = headers;
        let Err((error, record)) = self.producer().send(record) else { return };
        let mut sent = record.delivery_opaque;
        let permanent = is_permanent(&error);
        if permanent && let Some(give_up) = sent.undeliverable.take() {
            return give_up(payload.unwrap_or_default().to_vec(), &error.to_string(), true, sent.ack);
        }
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            tracing::warn!(topic, %error, "send refused, trying again");
        }
        let owned = OwnedMessage::new(
            payload.map(<[u8]>::to_vec),
            key.map(<[u8]>::to_vec),
            topic.to_owned(),
            rdkafka::Timestamp::NotAvailable,
            partition.unwrap_or(-1),
            0,
            record.headers,
        );
        self.producer().context().retry(owned, sent);
    }

    fn resend(&self, retry: Retry) {
        let Retry { record, mut sent, .. } = retry;
        let payload = record.payload();
        if now_us() >= sent.deadline_us
            && let Some(give_up) = sent.undeliverable.take()
        {
            return give_up(
                payload.unwrap_or_default().to_vec(),
                "deadline passed before the broker took it",
                false,
                sent.ack,
            );
        }
        let partition = Some(record.partition()).filter(|p| *p >= 0);
        let headers = record.headers().cloned();
        self.send(record.topic(), partition, record.key(), payload, headers, sent);
    }
}

/// Serves delivery reports on a separate thread until the last handle to the producer is dropped. The client's own
/// thread for this waits 100 ms at a time and spins through the last of them, which is a core's percent on an idle
/// service.
fn serve_reports(producer: &Arc<BaseProducer<Context>>, heartbeat: Heartbeat) -> Result<(), KafkaError> {
    let producer = Arc::downgrade(producer);
    let serve = move || {
        while let Some(producer) = producer.upgrade() {
            heartbeat.beat();
            producer.poll(Duration::from_secs(1));
        }
    };
    let spawned = std::thread::Builder::new().name("kafka-reports".into()).spawn(serve);
    spawned.map(drop).map_err(|error| KafkaError::ClientCreation(format!("report thread: {error}")))
}

fn resend_loop(due: &Receiver<Retry>, heartbeat: &Heartbeat, resend: &dyn Fn(Retry)) {
    let mut waiting: Vec<Retry> = Vec::new();
    loop {
        let now = Instant::now();
        let mut next = heartbeat.interval();
        heartbeat.beat();
        for index in (0..waiting.len()).rev() {
            match waiting.get(index).map(|retry| retry.due.saturating_duration_since(now)) {
                Some(Duration::ZERO) => resend(waiting.swap_remove(index)),
                Some(left) => next = next.min(left),
                None => {}
            }
        }
        match due.recv_timeout(next) {
            Ok(retry) => waiting.push(retry),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
