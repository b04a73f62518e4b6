//! Results over RabbitMQ: to the reply queue that the client named, and to `rabbitmq.results_exchange`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_bus::amqp::{AmqpSink, Answer, GiveUp, Target};
use forebay_bus::kafka::{DeadLetter, DeadLetters, RawRecord};
use forebay_bus::{Ack, RabbitMqSettings};
use forebay_contract::{Context, ItemId, Origin, now_us};
use forebay_runtime::{Host, StageSpan, StartError, TraceContext};

type Send = dyn Fn(Answer, Ack, Vec<StageSpan>) + std::marker::Send + Sync;
type Replied = dyn Fn(ItemId) + std::marker::Send + Sync;

/// Sends results to RabbitMQ. Cheap to clone.
#[derive(Clone)]
pub struct AmqpReplies {
    exchange: Option<Arc<str>>,
    send: Arc<Send>,
    replied: Arc<Replied>,
    /// How long sending is retried. A RabbitMQ server that stays away must not hold up the results of Kafka and HTTP
    /// requests.
    retry: Duration,
}

impl fmt::Debug for AmqpReplies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpReplies").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

/// Connects to RabbitMQ in the background if `rabbitmq.url` is set. A result that cannot be sent in time goes to
/// `dead_letters`.
///
/// # Errors
/// Returns an error if `rabbitmq.url` is not an address.
pub fn open(
    host: &Host,
    settings: &RabbitMqSettings,
    dead_letters: DeadLetters,
) -> Result<Option<(AmqpReplies, AmqpSink)>, StartError> {
    if !settings.enabled() {
        return Ok(None);
    }
    let give_up: GiveUp = Arc::new(move |answer, why, ack| dead_letters.send(dead_letter(answer, why), ack));
    let sink = AmqpSink::start(host, settings, give_up)?;
    let (sender, announcer) = (sink.clone(), sink.clone());
    let mut replies = AmqpReplies::new(sink.exchange(), move |answer, ack, spans| sender.send(answer, ack, spans));
    replies.replied = Arc::new(move |item| announcer.replied(item));
    replies.retry = host.settings().delivery.longest_wait();
    Ok(Some((replies, sink)))
}

fn dead_letter(answer: Answer, why: &str) -> DeadLetter {
    let to = match answer.target {
        Target::ReplyTo(queue) => queue,
        Target::Exchange => "(rabbitmq.results_exchange)".to_owned(),
    };
    let mut headers = vec![("amqp-reply-to".to_owned(), Bytes::from(to))];
    headers.push(("amqp-message-id".to_owned(), answer.message_id.into()));
    headers.extend(answer.correlation_id.map(|id| ("amqp-correlation-id".to_owned(), id.into())));
    headers.extend(answer.traceparent.map(|trace| ("traceparent".to_owned(), trace.into())));
    let payload = answer.payload.into();
    let record = RawRecord { payload, key: None, partition: 0, offset: 0, timestamp_ms: -1, headers };
    let message = format!("the result could not be sent in time: {why}");
    DeadLetter { code: "unavailable", message, topic: "rabbitmq".into(), record }
}

impl AmqpReplies {
    /// Results are sent with `send`, which ends the spans and acknowledges when the server confirms.
    pub fn new(
        exchange: Option<&str>,
        send: impl Fn(Answer, Ack, Vec<StageSpan>) + std::marker::Send + Sync + 'static,
    ) -> Self {
        let (exchange, retry) = (exchange.map(Into::into), Duration::from_secs(45));
        Self { exchange, send: Arc::new(send), replied: Arc::new(|_| {}), retry }
    }

    /// Announces to the other replicas that all answers to `item` are where they belong.
    pub(crate) fn replied(&self, item: ItemId) {
        (self.replied)(item);
    }

    /// The targets of an item's result: none unless the request came over RabbitMQ. The exchange is a target only if
    /// `all`.
    pub(crate) fn targets(&self, context: &Context, all: bool) -> Vec<Target> {
        let Some(Origin::Amqp(origin)) = context.origin() else { return Vec::new() };
        let reply = Some(&origin.reply_to).filter(|queue| !queue.is_empty());
        let exchange = self.exchange.as_ref().filter(|_| all).map(|_| Target::Exchange);
        reply.map(|queue| Target::ReplyTo(queue.clone())).into_iter().chain(exchange).collect()
    }

    /// The destination's name for spans, and whether it is temporary.
    pub(crate) fn destination<'a>(&'a self, target: &'a Target) -> (&'a str, bool) {
        match target {
            Target::ReplyTo(queue) => (queue, true),
            Target::Exchange => (self.exchange.as_deref().unwrap_or_default(), false),
        }
    }

    /// Sends the result `payload` of the item with `context`.
    pub(crate) fn send(&self, context: &Context, target: Target, payload: Vec<u8>, ack: Ack, span: Option<StageSpan>) {
        let correlation_id = match context.origin() {
            Some(Origin::Amqp(origin)) => Some(origin.correlation_id.clone()).filter(|id| !id.is_empty()),
            _ => None,
        };
        let retry_us = u64::try_from(self.retry.as_micros()).unwrap_or(u64::MAX);
        let answer = Answer {
            target,
            correlation_id,
            // the same for every copy of a result
            message_id: format!("{}-{}", context.request_id(), context.row()),
            payload,
            traceparent: span
                .as_ref()
                .map(StageSpan::context)
                .filter(|it| it.is_valid())
                .map(TraceContext::to_traceparent),
            give_up_us: now_us().saturating_add(retry_us),
        };
        (self.send)(answer, ack, span.into_iter().collect());
    }
}
