//! Messages from and to RabbitMQ, without the library's types.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use forebay_contract::RequestId;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::Ack;
use crate::kafka::RawRecord;

/// A request. Its ack is answered when its work is safe elsewhere; then the message is acknowledged to the server.
#[derive(Debug)]
pub struct AmqpMessage {
    /// The body.
    pub payload: Bytes,
    /// Where the client waits for its answer.
    pub reply_to: Option<String>,
    /// The client's label for the answer.
    pub correlation_id: Option<String>,
    /// The client's identity of the message.
    pub message_id: Option<String>,
    /// The login of the sender, which the broker has checked; absent if the sender does not give it.
    pub user_id: Option<String>,
    /// 0 to 9 and above, higher first.
    pub priority: Option<u8>,
    /// How long the message is valid.
    pub expiration: Option<Duration>,
    /// Seconds since 1970, as the client wrote it.
    pub timestamp: Option<u64>,
    /// Text and binary headers.
    pub headers: Vec<(String, Bytes)>,
    /// The delivery tag, a number on its connection.
    pub tag: u64,
    /// Tells it apart if it has no id; kept when it is tried again.
    pub identity: Arc<MessageIdentity>,
    /// Answered when its work is safe.
    pub ack: Ack,
    pub(super) reject: Arc<AtomicBool>,
}

/// What a message without an id is known by in the mesh.
#[derive(Debug)]
pub struct MessageIdentity {
    /// The identity of its request.
    pub request_id: RequestId,
    result_partition: OnceLock<u32>,
}

impl MessageIdentity {
    pub(super) fn random() -> Arc<Self> {
        Arc::new(Self { request_id: RequestId::random(), result_partition: OnceLock::new() })
    }

    /// The results partition of its request: `first` when it is tried for the first time, and then always the same.
    pub fn result_partition(&self, first: impl FnOnce() -> u32) -> u32 {
        *self.result_partition.get_or_init(first)
    }
}

/// Messages that have arrived, each with its own ack.
pub type AmqpMessages = Vec<AmqpMessage>;

impl AmqpMessage {
    /// A message without properties: what tests begin with.
    pub fn new(payload: Bytes, ack: Ack) -> Self {
        Self::read(&BasicProperties::default(), payload, 0, MessageIdentity::random(), ack, Arc::default())
    }

    /// When the ack is answered, the message goes to the queue's dead-letter exchange instead of being forgotten.
    pub fn reject(&self) {
        self.reject.store(true, Ordering::Release);
    }

    /// The last header of that name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok()
    }

    /// As a record, for the dead letters: the body as it came, properties as headers with the prefix `amqp-`.
    pub fn to_record(&self) -> RawRecord {
        let mut headers = self.headers.clone();
        let named = [
            ("amqp-reply-to", &self.reply_to),
            ("amqp-correlation-id", &self.correlation_id),
            ("amqp-message-id", &self.message_id),
        ];
        for (name, value) in named {
            headers.extend(value.iter().map(|value| (name.to_owned(), Bytes::from(value.clone()))));
        }
        let timestamp_ms = self.timestamp.and_then(|it| i64::try_from(it.saturating_mul(1000)).ok()).unwrap_or(-1);
        RawRecord { payload: self.payload.clone(), key: None, partition: 0, offset: self.tag, timestamp_ms, headers }
    }

    /// Reads a delivery's properties; what is malformed is as if it were not there.
    pub(super) fn read(
        properties: &BasicProperties,
        payload: Bytes,
        tag: u64,
        identity: Arc<MessageIdentity>,
        ack: Ack,
        reject: Arc<AtomicBool>,
    ) -> Self {
        let text = |value: &Option<ShortString>| {
            value.as_ref().map(ShortString::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let expiration = properties.expiration().as_ref().and_then(|it| it.as_str().trim().parse().ok());
        Self {
            payload,
            reply_to: text(properties.reply_to()),
            correlation_id: text(properties.correlation_id()),
            message_id: text(properties.message_id()),
            user_id: text(properties.user_id()),
            priority: *properties.priority(),
            expiration: expiration.map(Duration::from_millis),
            timestamp: *properties.timestamp(),
            headers: properties.headers().as_ref().map(read_headers).unwrap_or_default(),
            tag,
            identity,
            ack,
            reject,
        }
    }
}

fn read_headers(table: &FieldTable) -> Vec<(String, Bytes)> {
    let read = |(key, value): (&ShortString, &AMQPValue)| {
        let value = match value {
            AMQPValue::LongString(text) => Bytes::copy_from_slice(text.as_bytes()),
            AMQPValue::ShortString(text) => Bytes::copy_from_slice(text.as_str().as_bytes()),
            AMQPValue::ByteArray(bytes) => Bytes::copy_from_slice(bytes.as_slice()),
            _ => return None,
        };
        Some((key.as_str().to_owned(), value))
    };
    table.inner().iter().filter_map(read).collect()
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The queue that the client named.
    ReplyTo(String),
    /// The exchange of the settings.
    Exchange,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Where the answer is sent.
    pub target: Target,
    /// The client's label.
    pub correlation_id: Option<String>,
    /// The same for every copy of an answer.
    pub message_id: String,
    /// JSON.
    pub payload: Vec<u8>,
    /// W3C trace context of the span that sends it.
    pub traceparent: Option<String>,
    /// When to stop trying to send it, in Unix microseconds.
    pub give_up_us: u64,
}

impl Answer {
    pub(super) fn properties(&self) -> BasicProperties {
        // no more than 255 bytes, or the library would not build it: as long as what came in, or our own ids
        let short = |text: &str| ShortString::try_new(text).ok();
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_app_id("forebay".into())
            .with_timestamp(forebay_contract::now_us() / 1_000_000)
            // survives a restart of the server wherever the queue does
            .with_delivery_mode(2);
        if let Some(id) = short(&self.message_id) {
            properties = properties.with_message_id(id);
        }
        if let Some(id) = self.correlation_id.as_deref().and_then(short) {
            properties = properties.with_correlation_id(id);
        }
        if let Some(trace) = &self.traceparent {
            let mut headers = FieldTable::default();
            headers.insert("traceparent".into(), AMQPValue::LongString(trace.as_str().into()));
            properties = properties.with_headers(headers);
        }
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(properties: &BasicProperties) -> AmqpMessage {
        AmqpMessage::read(
            properties,
            Bytes::from_static(b"{}"),
            7,
            MessageIdentity::random(),
            Ack::none(),
            Arc::default(),
        )
    }

    #[test]
    fn properties_are_read_and_what_is_malformed_is_absent() {
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongString("00-a".into()));
        headers.insert("number".into(), AMQPValue::LongInt(3));
        let full = BasicProperties::default()
            .with_reply_to("answers".into())
            .with_correlation_id("c".into())
            .with_message_id("m".into())
            .with_priority(9)
            .with_expiration("1500".into())
            .with_timestamp(12)
            .with_headers(headers);
        let message = read(&full);
        assert_eq!(message.reply_to.as_deref(), Some("answers"));
        assert_eq!((message.priority, message.expiration), (Some(9), Some(Duration::from_millis(1500))));
        assert_eq!((message.header("traceparent"), message.header("number")), (Some("00-a"), None));
        let record = message.to_record();
        assert_eq!((record.offset, record.timestamp_ms), (7, 12_000));
        assert_eq!(record.header("amqp-reply-to").map(|it| &it[..]), Some(&b"answers"[..]));
        let odd = BasicProperties::default().with_expiration("soon".into()).with_reply_to("".into());
        let message = read(&odd);
        assert_eq!((message.expiration, message.reply_to), (None, None));
        assert_eq!(read(&BasicProperties::default().with_timestamp(u64::MAX)).to_record().timestamp_ms, -1);
    }

    #[test]
    fn an_answer_names_itself_and_lasts() {
        let answer = Answer {
            target: Target::ReplyTo("q".into()),
            correlation_id: Some("c".into()),
            message_id: "m-0".into(),
            payload: vec![],
            traceparent: Some("00-b".into()),
            give_up_us: 0,
        };
        let properties = answer.properties();
        assert_eq!(properties.delivery_mode(), &Some(2));
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("m-0"));
        assert!(properties.headers().as_ref().is_some_and(|it| it.contains_key("traceparent")));
        let long = Answer { correlation_id: Some("c".repeat(300)), ..answer };
        assert!(long.properties().correlation_id().is_none());
    }
}
