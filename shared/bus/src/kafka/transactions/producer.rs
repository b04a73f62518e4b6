//! Transactions with librdkafka. The thread of the transactions waits for every call, which is made on another one; a third
//! one serves the delivery reports.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::RequestId;
use forebay_runtime::Heartbeat;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::bounded_calls::BoundedCalls;
use super::committer::{CommitError, StepError, TransactionClient, WriteError};
use super::written::Written;
use crate::kafka::auth_failure::AuthFailure;
use crate::kafka::broker_contact::discard;
use crate::kafka::client::{Client, Quiet, log};
use crate::kafka::offset_tracker::{ConsumedOffset, OffsetTracker};
use crate::kafka::producer::{OutRecord, serve_reports};
use crate::kafka::source::{CommitsSlot, SourceCommits, names_transaction};

/// What transactional ids begin with, for the rights of the service.
const PREFIX: &str = "forebay-";
/// Longest wait for a delivery report, and about the longest time for which a producer outlives its last handle.
const REPORTS: Duration = Duration::from_secs(1);
/// Longest wait for the group's offsets.
const OFFSETS: Duration = Duration::from_secs(10);
/// So much longer than it was given is waited for a call of the client. `send_offsets_to_transaction` of librdkafka 2.12.1 has
/// not returned after the leader of the group's offsets had changed.
const MORE: Duration = Duration::from_secs(1);
/// Longest pause between the last delivery report and the moment at which the client counts no record any more.
const SETTLED: Duration = Duration::from_secs(1);

/// A producer that can make transactions.
struct OpenProducer {
    producer: Arc<BaseProducer<Reports>>,
    calls: BoundedCalls<BaseProducer<Reports>>,
}

impl OpenProducer {
    /// Waits for a call of the client, which is given `limit`; `None` if it does not return.
    fn call<T: Send + 'static>(
        &self,
        heartbeat: &Heartbeat,
        limit: Duration,
        call: impl FnOnce(&BaseProducer<Reports>) -> KafkaResult<T> + Send + 'static,
    ) -> Option<KafkaResult<T>> {
        let _waiting = heartbeat.waiting(limit + MORE);
        self.calls.call(limit + MORE, call)
    }
}

/// Why a producer is given up that was called in vain.
const NOT_RETURNED: &str = "the client does not return from a call";

/// The producer of one sink.
pub(super) struct TransactionalProducer {
    client: Client,
    config: ClientConfig,
    source: CommitsSlot,
    /// Longest time of one step.
    limit: Duration,
    heartbeat: Heartbeat,
    reports: Heartbeat,
    auth_failure: AuthFailure,
    open: Option<OpenProducer>,
    membership: Option<Arc<ConsumerGroupMetadata>>,
}

impl TransactionalProducer {
    pub(super) fn new(
        client: Client,
        stage: &str,
        source: CommitsSlot,
        heartbeat: Heartbeat,
        reports: Heartbeat,
    ) -> Self {
        let name = client.settings().instance().unwrap_or_else(|| RequestId::random().to_string());
        let config = client.transactional_producer(&format!("{PREFIX}{stage}-{name}"));
        let limit = client.transaction_timeout();
        let (auth_failure, open, membership) = (AuthFailure::default(), None, None);
        Self { client, config, source, limit, heartbeat, reports, auth_failure, open, membership }
    }

    fn producer(&self) -> Result<&OpenProducer, StepError> {
        self.open.as_ref().ok_or_else(|| StepError::Broken("there is no producer".to_owned()))
    }

    /// Waits for a call of the client, which is given `limit`.
    fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce(&BaseProducer<Reports>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, StepError> {
        let end = self.producer()?.call(&self.heartbeat, limit, call);
        end.ok_or_else(|| StepError::Broken(NOT_RETURNED.to_owned()))?.map_err(|error| step(&error))
    }

    fn commits(&self) -> Result<&Arc<SourceCommits>, StepError> {
        self.source.get().ok_or_else(|| StepError::Abort("the source has not started".to_owned()))
    }
}

impl TransactionClient for TransactionalProducer {
    fn open(&mut self) -> Result<(), String> {
        if let Some(broken) = self.open.take() {
            // it may wait for a broker while it ends
            discard(broken.producer);
        }
        let context = Reports { auth_failure: self.auth_failure.clone() };
        let producer: BaseProducer<Reports> =
            self.config.create_with_context(context).map_err(|error| error.to_string())?;
        let producer = Arc::new(producer);
        serve_reports(&producer, self.reports.clone(), REPORTS).map_err(|error| error.to_string())?;
        let calls = BoundedCalls::start(Arc::clone(&producer)).map_err(|error| format!("thread of calls: {error}"))?;
        let (open, limit) = (OpenProducer { producer, calls }, self.limit * 2);
        let why = match open.call(&self.heartbeat, limit, move |producer| producer.init_transactions(limit)) {
            Some(Ok(())) => {
                self.auth_failure.clear();
                self.open = Some(open);
                return Ok(());
            }
            Some(Err(error)) => self.auth_failure.explain(&error),
            None => NOT_RETURNED.to_owned(),
        };
        discard(open.producer);
        Err(why)
    }

    fn begin(&mut self) -> Result<(), StepError> {
        self.call(self.limit, Producer::begin_transaction)
    }

    fn write(&mut self, records: &[&OutRecord]) -> Result<Vec<(i32, i64)>, WriteError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let producer = &self.producer().map_err(WriteError::Step)?.producer;
        let written = Arc::new(Written::new(records.len()));
        for (number, record) in records.iter().enumerate() {
            let report = Box::new(Report { written: Arc::clone(&written), number });
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let add = |headers: OwnedHeaders, (key, value): &(Cow<'static, str>, Vec<u8>)| {
                headers.insert(Header { key, value: Some(value) })
            };
            let mut out = BaseRecord::<[u8], [u8], Box<Report>>::with_opaque_to(&record.topic, report);
            out.payload = Some(&record.payload);
            out.key = record.key.as_deref();
            out.partition = record.partition.map(u32::cast_signed);
            out.headers = Some(record.headers.iter().fold(headers, add));
            if let Err((error, out)) = producer.send(out) {
                written.take(out.delivery_opaque.number, Err(error));
            }
        }
        let _waiting = self.heartbeat.waiting(self.limit * 2);
        let places = written.wait(Instant::now() + self.limit * 2)?;
        // `commit_transaction` waits 100 ms for a record that is still counted
        let deadline = Instant::now() + SETTLED;
        while producer.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(places)
    }

    fn take_membership(&mut self) -> Result<(), StepError> {
        self.membership = self.commits()?.membership();
        match self.membership {
            Some(_) => Ok(()),
            None => Err(StepError::Abort("this process is not a member of its group yet".to_owned())),
        }
    }

    fn add_offsets(&mut self, offsets: &[ConsumedOffset], transaction: &str) -> Result<(), StepError> {
        let list = self.commits()?.to_commit(offsets, transaction);
        let Some(membership) = self.membership.clone() else {
            return Err(StepError::Abort("the membership was not taken".to_owned()));
        };
        let limit = self.limit;
        self.call(limit, move |producer| producer.send_offsets_to_transaction(&list, &membership, limit))
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        let limit = self.limit;
        self.call(limit, move |producer| producer.commit_transaction(limit)).map_err(|error| match error {
            StepError::Abort(why) => CommitError::Abort(why),
            StepError::Broken(why) => CommitError::Unknown(why),
        })
    }

    fn abort(&mut self) -> Result<(), StepError> {
        let limit = self.limit;
        self.call(limit, move |producer| producer.abort_transaction(limit))
    }

    fn has_committed(&mut self, offsets: &[ConsumedOffset], transaction: &str) -> Result<bool, String> {
        let Some(commits) = self.source.get() else { return Ok(false) };
        let _waiting = self.heartbeat.waiting(OFFSETS);
        let mut config = self.client.reader_of_partitions();
        config.set("group.id", commits.group());
        let reader: BaseConsumer<Quiet> =
            config.create_with_context(Quiet::default()).map_err(|error| error.to_string())?;
        let committed = reader.committed_offsets(commits.partitions_of(offsets), OFFSETS);
        let committed = committed.map_err(|error| error.to_string())?;
        Ok(committed.elements().iter().any(|element| names_transaction(element.metadata(), transaction)))
    }

    fn consumed(&self) -> Option<Arc<OffsetTracker>> {
        self.source.get().map(|commits| Arc::clone(commits.offsets()))
    }
}

/// After a time-out the producer is not used again: what it has sent may still arrive, in the midst of a later transaction.
fn step(error: &KafkaError) -> StepError {
    match error {
        KafkaError::Transaction(cause) if cause.txn_requires_abort() => StepError::Abort(error.to_string()),
        _ => StepError::Broken(error.to_string()),
    }
}

/// What librdkafka returns with a delivery report.
struct Report {
    written: Arc<Written>,
    number: usize,
}

struct Reports {
    auth_failure: AuthFailure,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.auth_failure.record_log(facility, text);
        log(level, facility, text);
    }

    // those of the stage's other producer tell as much
    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.auth_failure.record_error(&error, reason);
        tracing::debug!(%error, reason, "transactional producer reports an error");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Report>;

    fn delivery(&self, report: &DeliveryResult<'_>, opaque: Box<Report>) {
        let Report { written, number } = *opaque;
        match report {
            Ok(record) => written.take(number, Ok((record.partition(), record.offset()))),
            Err((error, _)) => written.take(number, Err(error.clone())),
        }
    }
}
