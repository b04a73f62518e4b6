//! Records which produced requests the broker acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::error::LoadtestError;
use crate::mesh_under_test::place_of;
use crate::oracle::Oracle;
use crate::request_generator::RequestGenerator;

/// Counts delivery reports, and writes them to the oracle if there is one.
#[derive(Debug)]
pub(crate) struct DeliveryRecorder {
    requests: Arc<RequestGenerator>,
    oracle: Option<Oracle>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// The producer's handle on the recorder.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryReports(pub(crate) Arc<DeliveryRecorder>);

/// A producer whose delivery reports go to a recorder.
pub(crate) type RecordingProducer = ThreadedProducer<DeliveryReports>;

impl DeliveryRecorder {
    pub(crate) fn new(requests: Arc<RequestGenerator>, oracle: Option<Oracle>) -> Arc<Self> {
        Arc::new(Self { requests, oracle, accepted: AtomicU64::new(0), refused: AtomicU64::new(0) })
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
        producer: &RecordingProducer,
        destination: Destination<'_>,
        index: u64,
        body: &[u8],
    ) -> Result<(), LoadtestError> {
        if let Some(oracle) = &self.oracle {
            oracle.sent(&self.requests, index)?;
        }
        // An opaque of 0 is a null pointer, which the client takes for "none": hence + 1.
        let opaque = usize::try_from(index + 1).unwrap_or(usize::MAX);
        loop {
            let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(destination.topic, opaque).payload(body);
            if let Some(key) = destination.key {
                record = record.key(key);
            }
            if let Some(partition) = destination.partition {
                record = record.partition(partition);
            }
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err((error, _)) => {
                    return Err(LoadtestError::kafka(format!("produce to {}", destination.topic))(error));
                }
            }
        }
    }

    /// Waits until everything produced is either accepted or refused.
    pub(crate) fn settle(&self, producer: &RecordingProducer) -> Result<(), LoadtestError> {
        producer.flush(Duration::from_secs(60)).map_err(LoadtestError::kafka("flush producer"))?;
        self.oracle.as_ref().map_or(Ok(()), Oracle::flush)
    }
}

/// Where a record goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) partition: Option<i32>,
}

impl ClientContext for DeliveryReports {}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, opaque: usize) {
        let (recorder, index) = (&self.0, opaque.saturating_sub(1) as u64);
        let written = match place_of(report) {
            Ok(_) => {
                recorder.accepted.fetch_add(1, Ordering::AcqRel);
                recorder.oracle.as_ref().map(|oracle| oracle.accepted(&recorder.requests, index))
            }
            Err(error) => {
                if recorder.refused.fetch_add(1, Ordering::AcqRel) == 0 {
                    eprintln!("request {index} was not accepted: {error}");
                }
                recorder.oracle.as_ref().map(|oracle| oracle.refused(&recorder.requests, index))
            }
        };
        if let Some(Err(error)) = written {
            eprintln!("oracle: {error}");
        }
    }
}
