//! What librdkafka calls for a producer: a delivery report answers the record's ack, or hands the record to the retries.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use forebay_contract::{machine_us, now_us};
use forebay_runtime::{StageSpan, prometheus_client::metrics::counter::Counter};
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedMessage};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, Timestamp};

use crate::backoff::resend_delay;
use crate::kafka::auth_failure::AuthFailure;
use crate::kafka::broker_clock::{BROKER_CLOCK, StampedRecord};
use crate::kafka::broker_contact::BrokerContact;
use crate::kafka::client;
use crate::messaging::{set_offset, set_partition};
use crate::{Ack, EdgeEvents};

/// What to do with a record that can never be delivered, or not before its deadline.
pub(crate) type Undeliverable = Arc<dyn Fn(Vec<u8>, &str, bool, Ack) + Send + Sync>;

/// What librdkafka carries beside a record and returns with its delivery report.
pub(crate) struct Sent {
    pub(crate) ack: Ack,
    pub(crate) items: u64,
    pub(crate) counter: Counter,
    pub(crate) deadline_us: u64,
    pub(crate) spans: Vec<StageSpan>,
    pub(crate) attempts: u32,
    /// When it was last handed to the client, by this machine's clock; set by the producer.
    pub(crate) handed_us: u64,
    /// Called when the deadline has passed or the broker will never take the record; without it the send continues.
    pub(crate) undeliverable: Option<Undeliverable>,
}

impl Sent {
    /// A single item that is tried until the broker takes it or refuses it for good.
    pub(crate) fn once(ack: Ack, counter: Counter, give_up: Undeliverable) -> Self {
        let undeliverable = Some(give_up);
        Self {
            ack,
            items: 1,
            counter,
            deadline_us: u64::MAX,
            spans: Vec::new(),
            attempts: 0,
            handed_us: 0,
            undeliverable,
        }
    }

    fn done(mut self, partition: i32, offset: i64) {
        self.counter.inc_by(self.items);
        for mut span in self.spans.drain(..) {
            set_partition(&mut span, partition);
            set_offset(&mut span, offset);
        }
        self.ack.ack();
    }
}

/// A record that waits for its next attempt.
pub(super) struct Retry {
    pub(super) due: Instant,
    pub(super) record: OwnedMessage,
    pub(super) sent: Box<Sent>,
}

/// Takes the delivery reports and the errors of one producer.
pub(super) struct Context {
    pub(super) retries: Mutex<Sender<Retry>>,
    pub(super) events: Arc<dyn EdgeEvents>,
    pub(super) auth_failure: AuthFailure,
    pub(super) contact: BrokerContact,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.auth_failure.record_log(facility, text);
        client::log(level, facility, text);
    }

    fn stats(&self, statistics: Statistics) {
        self.contact.record(&statistics);
        self.events.throttled("producer", client::throttled(&statistics));
        if let Some(time) = client::round_trip(&statistics) {
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

    fn delivery(&self, report: &DeliveryResult<'_>, mut sent: Box<Sent>) {
        match report {
            Ok(record) => {
                self.compare_clocks(record.timestamp(), sent.handed_us);
                sent.done(record.partition(), record.offset());
            }
            Err((error, record)) => {
                let permanent = is_permanent(error);
                if (permanent || now_us() >= sent.deadline_us)
                    && let Some(give_up) = sent.undeliverable.take()
                {
                    let payload = record.payload().unwrap_or_default().to_vec();
                    return give_up(payload, &error.to_string(), permanent, sent.ack);
                }
                let topic = record.topic();
                tracing::warn!(topic, attempts = sent.attempts, %error, "send failed, trying again");
                self.retry(record.detach(), sent);
            }
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

    pub(super) fn new(retries: Sender<Retry>, events: Arc<dyn EdgeEvents>) -> Self {
        let (auth_failure, contact) = (AuthFailure::default(), BrokerContact::default());
        Self { retries: Mutex::new(retries), events, auth_failure, contact }
    }

    /// The context of the client that replaces this one.
    pub(super) fn successor(&self) -> Self {
        Self::new(self.retries.lock().clone(), Arc::clone(&self.events))
    }

    pub(super) fn retry(&self, record: OwnedMessage, mut sent: Box<Sent>) {
        let due = Instant::now() + resend_delay(sent.attempts);
        sent.attempts += 1;
        // a closed channel means the process is ending: the dropped ack is a nack, nothing is lost
        let _ = self.retries.lock().send(Retry { due, record, sent });
    }
}

/// Whether the broker will refuse the record at every attempt.
pub(super) fn is_permanent(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessage, InvalidMessageSize, InvalidRecord, MessageSizeTooLarge, UnknownPartition};
    let code = error.rdkafka_error_code();
    matches!(code, Some(MessageSizeTooLarge | InvalidMessageSize | InvalidMessage | InvalidRecord | UnknownPartition))
}
