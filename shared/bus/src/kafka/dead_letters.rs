//! Dead letters: records that cannot be processed, with the original bytes and the reason.

mod purge;
mod replay;
mod stored;

pub use purge::{DeadLetterRange, PurgeUpTo, letters_up_to, purge_letters};
pub use replay::{Replayed, replay_letters};
pub use stored::{DeadLetterError, DeadLetterPlace, StoredDeadLetter, read_letters};

use std::sync::Arc;
use std::time::Duration;

use forebay_contract::{Problem, now_us};
use forebay_runtime::TraceContext;
use rdkafka::message::{Header, Message as _, OwnedHeaders};

use super::producer::{OnUndelivered, Reason, RecordSink, Sent, Undelivered};
use super::record::RawRecord;
use crate::{Ack, EdgeEvents};

/// Longest time for writing a dead letter.
const TIMEOUT: Duration = Duration::from_secs(30);
/// So much of a lost letter's value is logged.
const LOGGED: usize = 1_000;

/// A record that cannot be processed.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// An error code of the contract.
    pub code: &'static str,
    /// What is wrong and where.
    pub message: String,
    /// Topic the record came from.
    pub topic: Arc<str>,
    /// The record itself.
    pub record: RawRecord,
}

/// Sends dead letters to their topic. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetters {
    stage: &'static str,
    group: Arc<str>,
    to: Option<(RecordSink, Arc<str>)>,
    /// How long sending is tried: until then the letter holds up the commits of its source.
    timeout: Duration,
    events: Arc<dyn EdgeEvents>,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeadLetters")
    }
}

impl DeadLetters {
    pub(crate) fn to_topic(
        stage: &'static str,
        group: &str,
        sink: RecordSink,
        topic: &str,
        dedupe_window: Duration,
        events: Arc<dyn EdgeEvents>,
    ) -> Self {
        // it ends before the source would hold its partition back
        let timeout = TIMEOUT.min(dedupe_window / 4);
        Self { stage, group: group.into(), to: Some((sink, topic.into())), timeout, events }
    }

    /// Without Kafka there is no topic to keep them: they are logged and counted.
    pub fn logged(stage: &'static str, events: Arc<dyn EdgeEvents>) -> Self {
        Self { stage, group: "".into(), to: None, timeout: Duration::ZERO, events }
    }

    /// Keeps every record that it gets, as [`DeadLetters::keep`].
    pub(crate) fn keeping(self) -> OnUndelivered {
        Arc::new(move |undelivered| self.keep(undelivered))
    }

    /// Keeps a record of this process that its topic will never take.
    pub(crate) fn keep(&self, undelivered: Undelivered) {
        let Problem { code, message } = undelivered.problem();
        let Undelivered { record, ack, .. } = undelivered;
        let (topic, record) = (record.topic().into(), RawRecord::of(&record));
        self.send(DeadLetter { code: code.as_str(), message, topic, record }, ack);
    }

    /// Sends a dead letter; `ack` is answered when the broker has it. A letter that cannot be written in time is logged
    /// and counted instead: one of them must not hold up the commits of everything behind it.
    pub fn send(&self, letter: DeadLetter, ack: Ack) {
        let DeadLetter { code, message, topic, record } = letter;
        self.events.dead_letter();
        let (partition, offset) = (record.partition, record.offset);
        let trace_id = trace_of(&record).map(|trace| trace.trace_id_hex().to_string());
        tracing::warn!(
            topic = &*topic,
            partition,
            offset,
            code,
            reason = message,
            trace_id,
            "record sent to the dead letters"
        );
        let Some((sink, to)) = &self.to else { return ack.ack() };
        // wrapped around the topic's own count: dead letters may have fewer partitions than the source
        let count = sink.partitions(to).unwrap_or(1).max(1);
        let partition = Some(partition % count);
        let headers = headers(self.stage, &self.group, code, &message, &topic, &record);
        let bare = headers.clone().insert(Header { key: "forebay-truncated", value: Some("true") });
        let (again, name, events) = (sink.clone(), Arc::clone(to), Arc::clone(&self.events));
        let deadline_us = now_us().saturating_add(u64::try_from(self.timeout.as_micros()).unwrap_or(u64::MAX));
        let lost = record.clone();
        let give_up = move |error: &str, ack: Ack| {
            let value = String::from_utf8_lossy(lost.payload.get(..LOGGED).unwrap_or(&lost.payload));
            let partition = lost.partition;
            tracing::error!(topic = &*topic, partition, offset, code, error, trace_id, %value, "dead letter lost");
            events.dead_letter_lost();
            ack.ack();
        };
        let on_undelivered: OnUndelivered = Arc::new(move |undelivered| {
            let Undelivered { reason, error, ack, .. } = undelivered;
            let give_up = give_up.clone();
            if reason != Reason::TooLarge {
                return give_up(&error, ack);
            }
            // sent again without its value: the headers name the original record
            tracing::warn!(topic = &*name, error, "dead letter is too large, sending its headers alone");
            let last = Arc::new(move |last: Undelivered| give_up(&last.error, last.ack));
            let sent = Sent { deadline_us, ..Sent::once(ack, again.counter(&name), last) };
            again.produce(&name, partition, None, Some(&[]), Some(bare.clone()), sent);
        });
        let sent = Sent { deadline_us, ..Sent::once(ack, sink.counter(to), on_undelivered) };
        sink.produce(to, partition, record.key.as_deref(), Some(&record.payload), Some(headers), sent);
    }
}

/// The sender's trace.
fn trace_of(record: &RawRecord) -> Option<TraceContext> {
    TraceContext::from_traceparent(std::str::from_utf8(record.header("traceparent")?).ok()?)
}

/// Kafka Connect's names with text values and Spring Kafka's names with its binary ones, so that the tools of both
/// worlds can read them; `forebay-*` for ours.
fn headers(stage: &str, group: &str, code: &str, message: &str, topic: &str, record: &RawRecord) -> OwnedHeaders {
    let text = |value: &dyn ToString| value.to_string().into_bytes();
    let original = record
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value.as_ref()) }));
    let ours = [
        ("forebay-stage", text(&stage)),
        ("forebay-code", text(&code)),
        ("__connect.errors.topic", text(&topic)),
        ("__connect.errors.partition", text(&record.partition)),
        ("__connect.errors.offset", text(&record.offset)),
        ("__connect.errors.stage", text(&stage)),
        ("__connect.errors.exception.message", text(&message)),
        ("kafka_dlt-original-topic", text(&topic)),
        ("kafka_dlt-original-partition", record.partition.to_be_bytes().to_vec()),
        ("kafka_dlt-original-offset", record.offset.to_be_bytes().to_vec()),
        ("kafka_dlt-original-timestamp", record.timestamp_ms.to_be_bytes().to_vec()),
        ("kafka_dlt-original-consumer-group", text(&group)),
        ("kafka_dlt-exception-message", text(&message)),
    ];
    ours.iter().fold(original, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}
