//! Writing records as a client would.

use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::{BROKER_TIMEOUT, client_config};
use crate::error::LoadtestError;

/// A delivery report: the number of the record, and its partition and offset or why it has none.
pub type DeliveryOutcome = (u64, Result<(i32, i64), String>);

#[derive(Debug, Default)]
struct Reports(Mutex<Vec<DeliveryOutcome>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, opaque: usize) {
        // an opaque of 0 would be a null pointer
        self.0.lock().push((opaque as u64 - 1, place_of(report)));
    }
}

/// Where a record stands, partition and offset, or why it does not.
pub(crate) fn place_of(report: &DeliveryResult<'_>) -> Result<(i32, i64), String> {
    match report {
        // the client reports so as well what a broker has refused
        Ok(record) if record.offset() < 0 => Err("reported as delivered without an offset".to_owned()),
        Ok(record) => Ok((record.partition(), record.offset())),
        Err((error, _)) => Err(error.to_string()),
    }
}

/// A client that writes records.
pub struct TopicWriter {
    producer: ThreadedProducer<Reports>,
}

impl std::fmt::Debug for TopicWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicWriter").finish_non_exhaustive()
    }
}

/// One record to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutgoingRecord<'a> {
    /// Where to.
    pub topic: &'a str,
    /// To this partition, or to one of the client's choice.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub payload: &'a [u8],
    /// Its headers.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Its time, milliseconds since 1970; now, if there is none.
    pub timestamp_ms: Option<i64>,
}

impl TopicWriter {
    /// An idempotent producer that waits a minute for each record.
    pub fn new(brokers: &str) -> Result<Self, LoadtestError> {
        let mut config = client_config(brokers);
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "1");
        config.set("delivery.timeout.ms", "60000").set("message.max.bytes", "4000000");
        config.set("topic.metadata.refresh.interval.ms", "2000");
        let producer = config.create_with_context(Reports::default());
        Ok(Self { producer: producer.map_err(LoadtestError::kafka("create producer"))? })
    }

    /// Hands a record to the client; its report comes under `number`.
    pub fn hand_over(&self, out: OutgoingRecord<'_>, number: u64) -> Result<(), LoadtestError> {
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(out.topic, number as usize + 1);
        record = record.payload(out.payload);
        if let Some(partition) = out.partition {
            record = record.partition(partition);
        }
        if let Some(key) = out.key {
            record = record.key(key);
        }
        if let Some(time) = out.timestamp_ms {
            record = record.timestamp(time);
        }
        if !out.headers.is_empty() {
            let header = |headers: OwnedHeaders, (key, value): &(&str, &[u8])| {
                headers.insert(Header { key, value: Some(*value) })
            };
            record = record.headers(out.headers.iter().fold(OwnedHeaders::new(), header));
        }
        self.producer.send(record).map_err(|(error, _)| LoadtestError::kafka(format!("write to {}", out.topic))(error))
    }

    /// Reports that have come since the last call.
    pub fn reports(&self) -> Vec<DeliveryOutcome> {
        std::mem::take(&mut self.producer.context().0.lock())
    }

    /// Records whose report has not come.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// Waits until every record has its report.
    pub fn flush(&self, within: Duration) -> Result<(), LoadtestError> {
        self.producer.flush(within).map_err(LoadtestError::kafka("flush the producer"))
    }

    /// Writes one record and waits for its place.
    pub fn write(&self, out: OutgoingRecord<'_>) -> Result<(i32, i64), LoadtestError> {
        self.hand_over(out, 0)?;
        self.flush(BROKER_TIMEOUT)?;
        let outcome = self.reports().pop().map_or_else(|| Err("no report".to_owned()), |(_, outcome)| outcome);
        outcome.map_err(|error| LoadtestError::Input(format!("write to {}: {error}", out.topic)))
    }
}
