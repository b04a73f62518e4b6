//! One producer per stage. A record's ack is answered by the broker's delivery report; a failed send is tried again,
//! in place and with a growing pause, until the record's deadline, unless the broker would refuse it at every attempt.

mod context;
mod leaders;
mod lookup;
mod offset_reports;
mod replacement;
mod reports;
mod resend;
mod send_barrier;
#[cfg(test)]
mod tests;

pub(crate) use context::{OnUndelivered, Reason, Sent, Undelivered};

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use context::{Context, Rejection};
use forebay_contract::machine_us;
use forebay_runtime::{Heartbeat, StageSpan, prometheus_client::metrics::counter::Counter};
use leaders::leaders_know;
use parking_lot::{Mutex, RwLock};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use reports::REPORTS;
pub(crate) use reports::serve_reports;
use resend::resend_loop;
use rustc_hash::FxHashMap;
pub use send_barrier::SendPass;
pub(crate) use send_barrier::{PassedSends, SendBarrier};

use super::client::Client;
use crate::{Ack, EdgeEvents};

/// The largest payload that librdkafka sends unless `message.max.bytes` is set.
const LARGEST: usize = 1_000_000;

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
    pub headers: Vec<(Cow<'static, str>, Vec<u8>)>,
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
    /// What such records pass.
    barrier: SendBarrier,
    /// Whether nothing more is sent; see [`RecordSink::abandon_unsent`].
    closing: AtomicBool,
    /// Reads what stands in a topic.
    client: Client,
    partitions: Mutex<FxHashMap<String, u32>>,
    counters: Mutex<FxHashMap<Arc<str>, Counter>>,
    new_counter: Box<dyn Fn(&str) -> Counter + Send + Sync>,
    /// Takes records of [`RecordSink::send`].
    on_undelivered: Mutex<OnUndelivered>,
    /// The largest payload that the client sends.
    largest: usize,
}

impl std::fmt::Debug for RecordSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordSink")
    }
}

impl RecordSink {
    pub(crate) fn open(
        client: Client,
        config: ClientConfig,
        events: Arc<dyn EdgeEvents>,
        [reports, resends]: [Heartbeat; 2],
        new_counter: impl Fn(&str) -> Counter + Send + Sync + 'static,
    ) -> Result<Self, KafkaError> {
        let (retries, due) = channel();
        let largest = config.get("message.max.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(LARGEST);
        let wants_offsets = config.get("enable.idempotence") == Some("true");
        let context = Context::new(retries, events, wants_offsets);
        let producer = Arc::new(config.create_with_context(context)?);
        serve_reports(&producer, reports.clone(), REPORTS)?;
        let inner = Arc::new(Inner {
            producer: RwLock::new(producer),
            config,
            reports,
            for_clients: AtomicBool::new(false),
            barrier: SendBarrier::default(),
            closing: AtomicBool::new(false),
            client,
            partitions: Mutex::default(),
            counters: Mutex::default(),
            new_counter: Box::new(new_counter),
            // the work behind the record is done again
            on_undelivered: Mutex::new(Arc::new(|undelivered| undelivered.ack.nack())),
            largest,
        });
        let resend = Arc::downgrade(&inner);
        let spawned = std::thread::Builder::new().name("kafka-retry".into()).spawn(move || {
            resend_loop(&due, &resends, &|due| {
                if let Some(inner) = resend.upgrade() {
                    inner.retry(due);
                }
            });
        });
        spawned.map_err(|error| KafkaError::ClientCreation(format!("retry thread: {error}")))?;
        Ok(Self(inner))
    }

    /// What happens to records of [`RecordSink::send`] that the broker will never take.
    pub(crate) fn on_undelivered(&self, on_undelivered: OnUndelivered) {
        *self.0.on_undelivered.lock() = on_undelivered;
    }

    /// Sends what `shorten` makes of a record of [`RecordSink::send`] that is too large: it gets the payload and the
    /// reason. A record that it makes nothing of, or that is still too large, ends as it would have without.
    pub fn shorten_too_large(&self, shorten: impl Fn(&[u8], &str) -> Option<Vec<u8>> + Send + Sync + 'static) {
        let (sink, last) = (self.clone(), self.0.on_undelivered.lock().clone());
        self.on_undelivered(Arc::new(move |undelivered| {
            let too_large = undelivered.reason == Reason::TooLarge;
            let short = || shorten(undelivered.record.payload()?, &undelivered.problem().message);
            let Some(short) = too_large.then(short).flatten() else { return last(undelivered) };
            let Undelivered { record, reason, error, ack, pass } = undelivered;
            tracing::warn!(topic = record.topic(), error, "record is too large, sending a shorter one");
            let (last, original) = (Arc::clone(&last), record.clone());
            let give_up: OnUndelivered = Arc::new(move |again| {
                last(Undelivered { record: original.clone(), reason, error: error.clone(), ..again });
            });
            let counter = sink.counter(&record.topic().into());
            let sent = Box::new(Sent { once_only: true, pass, ..Sent::once(ack, counter, give_up) });
            let partition = Some(record.partition()).filter(|p| *p >= 0);
            let headers = record.headers().cloned();
            sink.0.send(record.topic(), partition, record.key(), Some(&short), headers, sent);
        }));
    }

    /// The largest payload that this client sends.
    pub(crate) fn largest(&self) -> usize {
        self.0.largest
    }

    /// Sends a record; `ack` is answered by the delivery report. Tried again until it is delivered: a result that
    /// was computed is worth sending late. A record the broker will never take goes to the dead letters.
    pub fn send(&self, record: OutRecord, ack: Ack) {
        self.send_with_spans(record, ack, Vec::new());
    }

    /// As [`RecordSink::send`], with spans that end with the delivery report.
    pub fn send_with_spans(&self, record: OutRecord, ack: Ack, spans: Vec<StageSpan>) {
        let counter = self.counter(&record.topic);
        let on_undelivered = self.0.on_undelivered.lock().clone();
        let sent = Sent { spans, once_only: true, ..Sent::once(ack, counter, on_undelivered) };
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

    /// As [`RecordSink::produce`], on the thread of the retries.
    pub(crate) fn produce_later(&self, topic: &str, partition: u32, payload: Vec<u8>, sent: Sent) {
        let (topic, partition) = (topic.to_owned(), partition.cast_signed());
        let no_time = rdkafka::Timestamp::NotAvailable;
        let record = OwnedMessage::new(Some(payload), None, topic, no_time, partition, 0, None);
        self.0.producer().context().retry_at(Instant::now(), record, Box::new(sent));
    }

    pub(crate) fn counter(&self, topic: &Arc<str>) -> Counter {
        let mut counters = self.0.counters.lock();
        counters.entry(Arc::clone(topic)).or_insert_with(|| (self.0.new_counter)(topic)).clone()
    }

    /// Partitions of `topic` as last seen; `None` while the broker has not answered yet.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.0.partitions.lock().get(topic).copied()
    }

    /// Fetches from the broker the partitions of `topic`. They are known once the leaders of those that were added know them,
    /// as far as these answer.
    pub(crate) fn refresh(&self, topic: &str, limit: Duration) -> Result<u32, KafkaError> {
        let producer = self.0.producer();
        let metadata = producer.client().fetch_metadata(Some(topic), limit)?;
        producer.context().auth_failure.clear();
        let topics = metadata.topics();
        // a topic that this client has no right to is another matter than one that is not there
        if let Some(code) = topics.first().and_then(|topic| topic.error()) {
            return Err(KafkaError::MetadataFetch(code.into()));
        }
        let found = topics.first().map_or(&[][..], |topic| topic.partitions());
        if found.is_empty() {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
        }
        let known = self.partitions(topic).unwrap_or(0).cast_signed();
        let added = found.iter().filter(|partition| partition.id() >= known && partition.leader() >= 0);
        leaders_know(producer.client(), topic, added.map(|partition| partition.id()), limit)?;
        let found = u32::try_from(found.len()).unwrap_or(u32::MAX);
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
        if self.closing.load(Ordering::Acquire) {
            return sent.ack.nack();
        }
        sent.handed_us = machine_us();
        if sent.once_only && sent.pass.is_none() {
            sent.pass = Some(self.barrier.pass());
        }
        let mut record = BaseRecord::<[u8], [u8], Box<Sent>>::with_opaque_to(topic, sent);
        record.payload = payload;
        record.partition = partition;
        record.key = key;
        record.headers = headers;
        let Err((error, record)) = self.producer().send(record) else { return };
        let sent = record.delivery_opaque;
        let owned = OwnedMessage::new(
            payload.map(<[u8]>::to_vec),
            key.map(<[u8]>::to_vec),
            topic.to_owned(),
            rdkafka::Timestamp::NotAvailable,
            partition.unwrap_or(-1),
            0,
            record.headers,
        );
        self.producer().context().failed(&error, Rejection::AtOnce, owned, sent);
    }
}
