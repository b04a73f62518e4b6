//! Answers over RabbitMQ: to the queue that a client named, and to the exchange of the settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_bus::Ack;
use forebay_bus::amqp::{AmqpSink, Answer, GiveUp, Target};
use forebay_bus::kafka::{DeadLetter, DeadLetters, RawRecord};
use forebay_contract::{Context, Origin, now_us};
use forebay_runtime::{Host, StageSpan, StartError, TraceContext};

/// After its deadline an answer is tried for so long; a server that stays away must not keep the other doors waiting.
const PATIENCE: Duration = Duration::from_secs(60);

type Send = dyn Fn(Answer, Ack, Vec<StageSpan>) + std::marker::Send + Sync;

/// The way to RabbitMQ.
#[derive(Clone)]
pub struct Answers {
    exchange: Option<Arc<str>>,
    send: Arc<Send>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

/// Opens the way to RabbitMQ where settings name one. An answer that cannot be sent until its time is over goes to
/// `letters`; without them it counts as not sent, and its request is given again.
///
/// # Errors
/// When `rabbitmq.url` is no address.
pub fn open(host: &Host, letters: Option<DeadLetters>) -> Result<Option<(Answers, AmqpSink)>, StartError> {
    if !host.settings().rabbitmq.enabled() {
        return Ok(None);
    }
    let give_up: GiveUp = Arc::new(move |answer, why, ack| match &letters {
        Some(letters) => letters.send(letter(answer, why), ack),
        None => {
            tracing::warn!(message = answer.message_id, why, "answer cannot be sent, its request is given again");
            ack.nack();
        }
    });
    let sink = AmqpSink::start(host, give_up)?;
    let sender = sink.clone();
    let answers = Answers::new(sink.exchange(), move |answer, ack, spans| sender.send(answer, ack, spans));
    Ok(Some((answers, sink)))
}

fn letter(answer: Answer, why: &str) -> DeadLetter {
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
    let message = format!("the answer could not be sent in time: {why}");
    DeadLetter { code: "unavailable", message, topic: "rabbitmq".into(), record }
}

impl Answers {
    /// Answers leave through `send`, which ends the spans and answers the ack with the server's confirm.
    pub fn new(
        exchange: Option<&str>,
        send: impl Fn(Answer, Ack, Vec<StageSpan>) + std::marker::Send + Sync + 'static,
    ) -> Self {
        Self { exchange: exchange.map(Into::into), send: Arc::new(send) }
    }

    /// Where the answer of an item goes: nowhere unless it came over RabbitMQ. The exchange takes errors only if `all`.
    pub(crate) fn targets(&self, context: &Context, all: bool) -> Vec<Target> {
        let Some(Origin::Amqp(origin)) = context.origin() else { return Vec::new() };
        let reply = Some(&origin.reply_to).filter(|queue| !queue.is_empty());
        let exchange = self.exchange.as_ref().filter(|_| all).map(|_| Target::Exchange);
        reply.map(|queue| Target::ReplyTo(queue.clone())).into_iter().chain(exchange).collect()
    }

    /// Name of the destination, for spans.
    pub(crate) fn destination<'a>(&'a self, target: &'a Target) -> (&'a str, bool) {
        match target {
            Target::ReplyTo(queue) => (queue, true),
            Target::Exchange => (self.exchange.as_deref().unwrap_or_default(), false),
        }
    }

    /// Sends one.
    pub(crate) fn send(&self, context: &Context, target: Target, payload: Vec<u8>, ack: Ack, span: Option<StageSpan>) {
        let correlation_id = match context.origin() {
            Some(Origin::Amqp(origin)) => Some(origin.correlation_id.clone()).filter(|id| !id.is_empty()),
            _ => None,
        };
        let patience = u64::try_from(PATIENCE.as_micros()).unwrap_or(u64::MAX);
        let answer = Answer {
            target,
            correlation_id,
            // every copy of an answer has the same
            message_id: format!("{}-{}", context.request_id(), context.row()),
            payload,
            traceparent: span
                .as_ref()
                .map(StageSpan::context)
                .filter(|it| it.is_valid())
                .map(TraceContext::to_traceparent),
            give_up_us: context.deadline_us().max(now_us()).saturating_add(patience),
        };
        (self.send)(answer, ack, span.into_iter().collect());
    }
}
