//! What the broker acknowledged of what was produced.
use crate::error::LoadtestError;
use crate::feed::Feed;
use crate::oracle::Oracle;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts delivery reports, and writes them to the oracle if there is one.
#[derive(Debug)]
pub(crate) struct Ledger {
    feed: Arc<Feed>,
    oracle: Option<Oracle>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// The producer's handle on the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries(pub(crate) Arc<Ledger>);

/// A producer that keeps a ledger.
pub(crate) type LedgerProducer = ThreadedProducer<Deliveries>;

impl Ledger {
    pub(crate) fn new(feed: Arc<Feed>, oracle: Option<Oracle>) -> Arc<Self> {
        Arc::new(Self { feed, oracle, accepted: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    /// Produces request `index` with the body in `body`, waiting while the client's queue is full.
    pub(crate) fn produce(
        &self,
        producer: &LedgerProducer,
        target: Target<'_>,
        index: u64,
        body: &[u8],
    ) -> Result<(), LoadtestError> {
        if let Some(oracle) = &self.oracle {
            oracle.sent(&self.feed, index)?;
        }
        // An opaque of 0 is a null pointer, which the client takes for "none": hence + 1.
        let opaque = usize::try_from(index + 1).unwrap_or(usize::MAX);
        loop {
            let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(target.topic, opaque).payload(body);
            if let Some(key) = target.key {
                record = record.key(key);
            }
            if let Some(partition) = target.partition {
                record = record.partition(partition);
            }
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err((error, _)) => return Err(LoadtestError::kafka(format!("produce to {}", target.topic))(error)),
            }
        }
    }

    /// Waits until everything produced is either accepted or refused.
    pub(crate) fn settle(&self, producer: &LedgerProducer) -> Result<(), LoadtestError> {
        producer.flush(Duration::from_secs(60)).map_err(LoadtestError::kafka("flush producer"))?;
        self.oracle.as_ref().map_or(Ok(()), Oracle::flush)
    }
}

/// Where a record goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) partition: Option<i32>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, opaque: usize) {
        let (ledger, index) = (&self.0, opaque.saturating_sub(1) as u64);
        let written = match report {
            Ok(_) => {
                ledger.accepted.fetch_add(1, Ordering::AcqRel);
                ledger.oracle.as_ref().map(|oracle| oracle.accepted(&ledger.feed, index))
            }
            Err((error, _)) => {
                if ledger.refused.fetch_add(1, Ordering::AcqRel) == 0 {
                    eprintln!("request {index} was not accepted: {error}");
                }
                ledger.oracle.as_ref().map(|oracle| oracle.refused(&ledger.feed, index))
            }
        };
        if let Some(Err(error)) = written {
            eprintln!("oracle: {error}");
        }
    }
}
