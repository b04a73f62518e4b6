//! What becomes of one RabbitMQ message: an item, an error outcome or a dead letter. A body may hold what a Kafka record
//! may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use forebay_bus::amqp::AmqpMessage;
use forebay_bus::kafka::DeadLetter;
use forebay_bus::messaging::{self, MessagingOperation};
use forebay_contract::{AmqpOrigin, Origin, RequestId};
use forebay_runtime::{SpanKind, StageSpan, StageTracer, TraceContext};

use crate::admission::{RequestAdmission, Timeouts};
use crate::auth::CacheScopes;
use crate::inbound::Inbound;
use crate::model_rows::ModelRows;
use crate::parse::parse_record;
use crate::request::{DEFAULT_PRIORITY, ParsedRequest};

/// Reads messages of one queue.
#[derive(Clone, Debug)]
pub struct AmqpIngress {
    /// The queue.
    pub queue: Arc<str>,
    /// Number of partitions of the inner topics.
    pub partitions: u32,
    /// Partition of the batch that is being filled, shared with the batcher. It is the results partition of messages
    /// without an id, so that a batch stays whole on its way back.
    pub batch_partition: Arc<AtomicU32>,
    /// Timeouts of requests.
    pub timeouts: Timeouts,
    /// What rows models take.
    pub model_rows: ModelRows,
    /// Which senders share cached answers.
    pub cache_scopes: CacheScopes,
    /// Makes the spans of this stage.
    pub tracer: StageTracer,
}

impl AmqpIngress {
    /// Reads one message, accepted at `accepted_us`.
    pub fn accept(&self, message: &AmqpMessage, accepted_us: u64) -> Inbound {
        let caller = message.header("traceparent").and_then(TraceContext::from_traceparent);
        let root = self.tracer.sample_root(caller);
        let parsed = parse_record(&message.payload);
        let span = root.sampled().then(|| self.span(root, message, accepted_us));
        let trace = span.as_ref().map_or(root, StageSpan::context);
        let requested = parsed.as_ref().ok().and_then(|request| request.timeout);
        let timeout = self.timeouts.effective(shorter(requested, message.expiration));
        let (id, result_partition) = self.identity(message);
        let origin = Origin::Amqp(AmqpOrigin {
            reply_to: message.reply_to.clone().unwrap_or_default(),
            correlation_id: message.correlation_id.clone().unwrap_or_default(),
        });
        let admission =
            RequestAdmission { id, result_partition, origin, accepted_us, timeout, trace, idempotent: None, caller: 0 };
        let sender = message.user_id.as_ref().map(|user| format!("amqp-user:{user}")).unwrap_or_default();
        let parsed = parsed.map(|it| ParsedRequest {
            priority: priority(message.priority, it.priority),
            cache_scope: self.cache_scopes.of(&sender),
            ..it
        });
        let topic = Arc::clone(&self.queue);
        // a reply queue can be answered even if no request id could be read
        let answerable = message.reply_to.is_some();
        Inbound::from_parsed(parsed, &self.model_rows, &admission, span, answerable, |code, text| DeadLetter {
            code,
            message: text,
            topic,
            record: message.to_record(),
        })
    }

    /// A message id identifies a request together with the reply queue, because ids such as `1` are common, and with the
    /// sender that the broker vouches for, so that no other sender can use an id before it. Without an id every delivery is a
    /// new request, redeliveries included; one that this process tries again is not.
    fn identity(&self, message: &AmqpMessage) -> (RequestId, u32) {
        match &message.message_id {
            Some(message_id) => {
                let reply_to = message.reply_to.as_deref().unwrap_or_default();
                let caller = match &message.user_id {
                    Some(user) => format!("amqp-user:{}:{user}:{reply_to}", user.len()),
                    None => format!("amqp:{reply_to}"),
                };
                let id = RequestId::of_key(&caller, message_id);
                (id, id.result_partition(self.partitions))
            }
            None => {
                let next = || self.batch_partition.load(Ordering::Relaxed);
                (message.identity.request_id, message.identity.result_partition(next))
            }
        }
    }

    fn span(&self, root: TraceContext, message: &AmqpMessage, start_us: u64) -> StageSpan {
        let mut span = self.tracer.start(format!("process {}", self.queue), SpanKind::Consumer, root, start_us);
        messaging::set_messaging(&mut span, messaging::RABBITMQ, MessagingOperation::Process, &self.queue);
        span.set("messaging.rabbitmq.message.delivery_tag", i64::try_from(message.tag).unwrap_or(i64::MAX));
        if let Some(id) = &message.message_id {
            span.set("messaging.message.id", id.clone());
        }
        span
    }
}

/// The mesh's priority for an AMQP `property` and the priority in the `body`. In AMQP higher numbers go first and 0 means
/// none; in the mesh lower numbers go first and 1 is the default. So 0 leaves the body's priority, and 1 to 9 become 0 to
/// -8, ahead of every request without a priority.
fn priority(property: Option<u8>, body: i32) -> i32 {
    match property {
        None | Some(0) => body,
        Some(level) => DEFAULT_PRIORITY - i32::from(level),
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use forebay_bus::Ack;
    use forebay_contract::{Item, Request};

    fn ingress() -> AmqpIngress {
        AmqpIngress {
            queue: "in".into(),
            partitions: 4,
            batch_partition: Arc::new(AtomicU32::new(3)),
            timeouts: Timeouts { default: Duration::from_secs(60), max: Duration::from_secs(300) },
            model_rows: ModelRows::new(forebay_bus::ModelDirectory::new("here"), "m", 0),
            cache_scopes: CacheScopes::new(true),
            tracer: StageTracer::disabled(),
        }
    }

    fn message(text: &str) -> AmqpMessage {
        AmqpMessage::new(Bytes::copy_from_slice(text.as_bytes()), Ack::none())
    }

    fn accepted(taken: Inbound) -> Item<Request> {
        match taken {
            Inbound::Accepted(mut rows, _) if rows.len() == 1 => rows.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_reply_address_is_carried() {
        let mut message = message(r#"{"request_id":"a","features":[1,2]}"#);
        (message.reply_to, message.correlation_id) = (Some("answers".into()), Some("c1".into()));
        let item = accepted(ingress().accept(&message, 1_000));
        let origin = AmqpOrigin { reply_to: "answers".into(), correlation_id: "c1".into() };
        assert_eq!(item.context.origin(), Some(&Origin::Amqp(origin)));
        assert_eq!((item.context.result_partition(), item.context.client_request_id()), (3, Some("a")));
    }

    #[test]
    fn a_message_id_and_the_reply_queue_are_the_identity() {
        let with = |id: &str, queue: &str| {
            let mut message = message(r#"{"features":[1]}"#);
            (message.message_id, message.reply_to) = (Some(id.into()), Some(queue.into()));
            accepted(ingress().accept(&message, 0)).context
        };
        assert_eq!(with("1", "q").request_id(), with("1", "q").request_id());
        assert_eq!(with("1", "q").result_partition(), with("1", "q").result_partition());
        assert_ne!(with("1", "q").request_id(), with("1", "other").request_id());
        assert_ne!(with("1", "q").request_id(), with("2", "q").request_id());
        let nameless = || accepted(ingress().accept(&message(r#"{"features":[1]}"#), 0)).context.request_id();
        assert_ne!(nameless(), nameless());
    }

    #[test]
    fn a_sender_that_the_broker_vouches_for_has_ids_of_its_own() {
        let with = |user: Option<&str>, queue: &str| {
            let mut message = message(r#"{"features":[1]}"#);
            (message.message_id, message.reply_to) = (Some("1".into()), Some(queue.into()));
            message.user_id = user.map(str::to_owned);
            accepted(ingress().accept(&message, 0)).context.request_id()
        };
        assert_eq!(with(Some("a"), "q"), with(Some("a"), "q"));
        assert_ne!(with(Some("a"), "q"), with(Some("b"), "q"));
        assert_ne!(with(Some("a"), "q"), with(None, "q"));
        assert_ne!(with(Some("a"), "b:q"), with(Some("a:b"), "q"));
    }

    #[test]
    fn a_sender_that_the_broker_vouches_for_may_have_cached_answers_of_its_own() {
        let scope = |user: Option<&str>| {
            let mut message = message(r#"{"features":[1]}"#);
            message.user_id = user.map(str::to_owned);
            accepted(ingress().accept(&message, 0)).payload.cache_scope
        };
        assert_eq!((scope(Some("a")), scope(None)), (scope(Some("a")), Bytes::new()));
        assert_ne!(scope(Some("a")), scope(Some("b")));
    }

    #[test]
    fn expiration_shortens_the_deadline_and_never_lengthens_it() {
        let deadline = |text: &str, millis: Option<u64>| {
            let mut message = message(text);
            message.expiration = millis.map(Duration::from_millis);
            accepted(ingress().accept(&message, 0)).context.deadline_us() / 1000
        };
        assert_eq!(deadline(r#"{"features":[1]}"#, None), 60_000);
        assert_eq!(deadline(r#"{"features":[1]}"#, Some(1500)), 1500);
        assert_eq!(deadline(r#"{"features":[1],"timeout_ms":700}"#, Some(1500)), 700);
        assert_eq!(deadline(r#"{"features":[1],"timeout_ms":9000}"#, Some(1500)), 1500);
        assert_eq!(deadline(r#"{"features":[1]}"#, Some(u64::MAX)), 300_000);
        assert_eq!(deadline(r#"{"features":[1]}"#, Some(0)), 0, "an expired message is answered as too late");
    }

    #[test]
    fn priorities_are_inverted() {
        let priority = |text: &str, property| {
            let mut message = message(text);
            message.priority = property;
            accepted(ingress().accept(&message, 0)).context.priority()
        };
        let (plain, own) = (r#"{"features":[1]}"#, r#"{"features":[1],"priority":5}"#);
        assert_eq!([None, Some(0), Some(1), Some(9)].map(|it| priority(plain, it)), [1, 1, 0, -8]);
        assert_eq!([None, Some(0), Some(9)].map(|it| priority(own, it)), [5, 5, -8]);
    }

    #[test]
    fn the_trace_of_the_caller_is_continued() {
        let mut message = message(r#"{"features":[1]}"#);
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        message.headers.push(("traceparent".into(), Bytes::from_static(header.as_bytes())));
        let item = accepted(ingress().accept(&message, 0));
        assert!(item.context.sampled());
        assert_eq!(item.parent_span, 0xb7ad_6b71_6920_3331);
    }

    #[test]
    fn invalid_json_is_a_dead_letter_and_answered_if_there_is_a_reply_queue() {
        let mut broken = message("\u{0}garbage");
        assert!(matches!(ingress().accept(&broken, 0), Inbound::Undecodable(_, None)));
        broken.reply_to = Some("answers".into());
        let Inbound::Undecodable(letter, Some(answer)) = ingress().accept(&broken, 0) else { panic!() };
        assert_eq!((&*letter.topic, &letter.record.payload[..]), ("in", &b"\0garbage"[..]));
        assert!(matches!(answer.context.origin(), Some(Origin::Amqp(_))));
        assert!(matches!(ingress().accept(&message(r#"{"features":[[]]}"#), 0), Inbound::Rejected(_)));
    }
}
