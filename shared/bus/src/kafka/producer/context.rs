//! What librdkafka calls for a producer: a delivery report answers the record's ack, hands the record to the retries,
//! or to whoever deals with records that will not be delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, Problem, machine_us, now_us};
use forebay_runtime::{StageSpan, prometheus_client::metrics::counter::Counter};
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedMessage};
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientContext, Timestamp};

use super::offset_reports::OffsetReports;
use super::resend::{Attempt, Retry};
use super::send_barrier::SendPass;
use crate::backoff::resend_delay;
use crate::kafka::auth_failure::AuthFailure;
use crate::kafka::broker_clock::{BROKER_CLOCK, StampedRecord};
use crate::kafka::broker_contact::BrokerContact;
use crate::kafka::client;
use crate::kafka::statistics::ClientStatistics;
use crate::messaging::{set_offset, set_partition};
use crate::{Ack, EdgeEvents};

/// How often the broker may refuse a record that cannot be divided before it is believed to be too large: the client
/// puts several records into one batch, and the broker refuses all of them where only the sum is too large.
const SIZE_ATTEMPTS: u32 = 4;

/// Why a record will not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is larger than the broker, or this client, takes.
    TooLarge,
    /// The broker refuses it at every attempt, whatever its size.
    Invalid,
    /// Its deadline passed before the broker took it.
    Late,
}

impl Reason {
    /// The code of the error that callers get.
    pub(crate) fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge => ErrorCode::PayloadTooLarge,
            Self::Invalid => ErrorCode::Internal,
            Self::Late => ErrorCode::DeadlineExceeded,
        }
    }
}

/// A record that will not be delivered.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) record: OwnedMessage,
    pub(crate) reason: Reason,
    /// The client's error.
    pub(crate) error: String,
    pub(crate) ack: Ack,
    /// For what is sent in its place.
    pub(crate) pass: Option<SendPass>,
}

impl Undelivered {
    /// The error for those who wait for what the record holds.
    pub(crate) fn problem(&self) -> Problem {
        let (topic, error) = (self.record.topic(), &self.error);
        let message = match self.reason {
            Reason::TooLarge => format!("too large for topic {topic}: {error}"),
            Reason::Invalid => format!("topic {topic} does not take the record: {error}"),
            Reason::Late => format!("topic {topic} could not be written in time: {error}"),
        };
        Problem::new(self.reason.code(), message)
    }
}

/// Deals with a record that will not be delivered.
pub(crate) type OnUndelivered = Arc<dyn Fn(Undelivered) + Send + Sync>;

/// What librdkafka carries beside a record and returns with its delivery report.
pub(crate) struct Sent {
    pub(crate) ack: Ack,
    /// Items in the record; one that holds several can be divided.
    pub(crate) items: u64,
    pub(crate) counter: Counter,
    /// When trying ends, in Unix microseconds.
    pub(crate) deadline_us: u64,
    pub(crate) spans: Vec<StageSpan>,
    pub(crate) attempts: u32,
    /// When it was last handed to the client, by this machine's clock; set by the producer.
    pub(crate) handed_us: u64,
    pub(crate) on_undelivered: OnUndelivered,
    /// Whether the topic belongs to clients, who must not find it twice.
    pub(crate) once_only: bool,
    /// Held by such a record until it is settled.
    pub(crate) pass: Option<SendPass>,
}

impl Sent {
    /// A single item that is tried until the broker takes it or refuses it for good.
    pub(crate) fn once(ack: Ack, counter: Counter, on_undelivered: OnUndelivered) -> Self {
        Self {
            ack,
            items: 1,
            counter,
            deadline_us: u64::MAX,
            spans: Vec::new(),
            attempts: 0,
            handed_us: 0,
            on_undelivered,
            once_only: false,
            pass: None,
        }
    }

    pub(super) fn done(mut self, partition: i32, offset: i64) {
        self.counter.inc_by(self.items);
        for mut span in self.spans.drain(..) {
            set_partition(&mut span, partition);
            set_offset(&mut span, offset);
        }
        self.ack.ack();
    }

    pub(super) fn give_up(self, record: OwnedMessage, reason: Reason, error: String) {
        let Self { ack, on_undelivered, pass, .. } = self;
        on_undelivered(Undelivered { record, reason, error, ack, pass });
    }
}

/// How a record was rejected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// By the client, before it was sent.
    AtOnce,
    /// By a delivery report.
    ByReport,
}

/// Takes the delivery reports and the errors of one producer.
pub(super) struct Context {
    pub(super) retries: Mutex<Sender<Retry>>,
    pub(super) spread: AtomicU32,
    pub(super) events: Arc<dyn EdgeEvents>,
    pub(super) auth_failure: AuthFailure,
    pub(super) contact: BrokerContact,
    /// Whether the client has failed for good.
    pub(super) fatal: AtomicBool,
    offsets: OffsetReports,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.auth_failure.record_log(facility, text);
        client::log(level, facility, text);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Some(statistics) = ClientStatistics::read(statistics) else { return };
        self.contact.record(&statistics);
        self.events.throttled("producer", statistics.throttled());
        if let Some(time) = statistics.round_trip() {
            self.events.round_trip(time);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.events.fail(&format!("producer: {reason}"));
        }
        self.auth_failure.record_error(&error, reason);
        tracing::debug!(%error, reason, "producer reports an error");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, report: &DeliveryResult<'_>, sent: Box<Sent>) {
        match report {
            Ok(record) if self.offsets.leave_in_doubt(record.topic(), record.offset()) => {
                self.without_offset(record.detach(), sent);
            }
            Ok(record) => {
                self.compare_clocks(record.timestamp(), sent.handed_us);
                sent.done(record.partition(), record.offset());
            }
            Err((error, record)) => self.failed(error, Rejection::ByReport, record.detach(), sent),
        }
    }
}

impl Context {
    /// Learns from the time at which the broker has stamped a record. On other topics it is this client's own.
    fn compare_clocks(&self, timestamp: Timestamp, sent_us: u64) {
        let Timestamp::LogAppendTime(ms) = timestamp else { return };
        let appended_us = u64::try_from(ms).unwrap_or_default().saturating_mul(1000);
        let record = StampedRecord { sent_us, appended_us, reported_us: machine_us() };
        if let Some(seconds) = BROKER_CLOCK.observe(record, Instant::now()) {
            self.events.clock_skew(seconds);
        }
    }

    pub(super) fn new(retries: Sender<Retry>, events: Arc<dyn EdgeEvents>, wants_offsets: bool) -> Self {
        let (auth_failure, contact) = (AuthFailure::default(), BrokerContact::default());
        Self {
            retries: Mutex::new(retries),
            spread: AtomicU32::new(0),
            events,
            auth_failure,
            contact,
            fatal: AtomicBool::new(false),
            offsets: OffsetReports::new(wants_offsets),
        }
    }

    /// The context of the client that replaces this one.
    pub(super) fn successor(&self) -> Self {
        Self::new(self.retries.lock().clone(), Arc::clone(&self.events), self.offsets.wanted())
    }

    /// Deals with a record that is reported as delivered without its offset. The client reports so what a broker has refused
    /// once a later batch was taken, as it believes that the broker would not have taken that one out of order. A broker that
    /// has yet to learn of the producer does, and the record is lost: github.com/confluentinc/confluent-kafka-go/issues/921.
    fn without_offset(&self, record: OwnedMessage, sent: Box<Sent>) {
        let topic = record.topic();
        if sent.once_only {
            return self.look_up_at(Instant::now(), record, sent);
        }
        tracing::warn!(topic, "record is reported as delivered without an offset, sending it again");
        self.retry(record, sent, false);
    }

    /// Ends the process, once. The unanswered acknowledgements have the work read again by the successor.
    fn fail(&self, why: &str) {
        if !self.fatal.swap(true, Ordering::Relaxed) {
            self.events.fail(&format!("producer: {why}"));
        }
    }

    /// Tries a record again, or gives it up.
    pub(super) fn failed(&self, error: &KafkaError, rejection: Rejection, record: OwnedMessage, sent: Box<Sent>) {
        let late = || (now_us() >= sent.deadline_us).then_some(Reason::Late);
        if let Some(reason) = refusal(error, rejection, &sent).or_else(late) {
            return sent.give_up(record, reason, error.to_string());
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            return self.fail(&format!("it takes no record any more, as for {}: {error}", record.topic()));
        }
        // a full queue is back-pressure
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            tracing::warn!(topic = record.topic(), attempts = sent.attempts, %error, "send failed, trying again");
        }
        self.retry(record, sent, is_about_size(error));
    }

    /// Records that were refused together are resent at different times if `apart`.
    fn retry(&self, record: OwnedMessage, mut sent: Box<Sent>, apart: bool) {
        let mut delay = resend_delay(sent.attempts);
        if apart {
            // steps of the golden ratio: however many they are, they are spread evenly
            let step = self.spread.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9);
            delay += delay.mul_f64(f64::from(step) / f64::from(u32::MAX));
        }
        let left = Duration::from_micros(sent.deadline_us.saturating_sub(now_us()));
        sent.attempts += 1;
        self.retry_at(Instant::now() + delay.min(left), record, sent);
    }

    pub(super) fn retry_at(&self, due: Instant, record: OwnedMessage, sent: Box<Sent>) {
        // a closed channel means the process is ending: the dropped ack is a nack, nothing is lost
        let _ = self.retries.lock().send(Retry { due, record, sent, attempt: Attempt::Send });
    }

    pub(super) fn look_up_at(&self, due: Instant, record: OwnedMessage, sent: Box<Sent>) {
        let _ = self.retries.lock().send(Retry { due, record, sent, attempt: Attempt::LookUp });
    }
}

fn is_about_size(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{MessageBatchTooLarge, MessageSizeTooLarge};
    matches!(error.rdkafka_error_code(), Some(MessageSizeTooLarge | MessageBatchTooLarge))
}

/// Why the record would be refused at every attempt; `None` if it may be taken later. A topic or partition that is
/// not there may be created, and one that is not allowed may become so.
pub(super) fn refusal(error: &KafkaError, rejection: Rejection, sent: &Sent) -> Option<Reason> {
    use RDKafkaErrorCode::{InvalidMessage, InvalidMessageSize, InvalidRecord};
    if is_about_size(error) {
        let alone = rejection == Rejection::AtOnce || sent.items > 1 || sent.attempts >= SIZE_ATTEMPTS;
        return alone.then_some(Reason::TooLarge);
    }
    let invalid = matches!(error.rdkafka_error_code(), Some(InvalidMessageSize | InvalidMessage | InvalidRecord));
    invalid.then_some(Reason::Invalid)
}
