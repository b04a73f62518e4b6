//! The queue of requests, which is declared here or exists already.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use crate::RabbitMqSettings;
use crate::settings::QueueType;

/// How often a quorum queue delivers a message before it goes to the dead-letter exchange.
const DELIVERY_LIMIT: i32 = 20;

/// A channel on which the queue is known to exist. A refusal closes the channel, so the caller starts again.
pub(super) async fn declare(connection: &Connection, settings: &RabbitMqSettings) -> Result<Channel, String> {
    let failed = |error: lapin::Error| format!("RabbitMQ: {error}");
    let channel = connection.create_channel().await.map_err(failed)?;
    let queue = settings.queue.as_str();
    if !settings.declare {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        found.map_err(|error| format!("RabbitMQ: queue {queue:?} (rabbitmq.declare is off): {error}"))?;
        return Ok(channel);
    }
    let dead = settings.dead_letter_exchange.as_str();
    let durable = QueueDeclareOptions::durable();
    if !dead.is_empty() {
        let exists = |error: lapin::Error| format!("RabbitMQ: rabbitmq.dead_letter_exchange {dead:?}: {error}");
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let made = channel.exchange_declare(dead.into(), ExchangeKind::Fanout, options, FieldTable::default()).await;
        made.map_err(exists)?;
        channel.queue_declare(dead.into(), durable, FieldTable::default()).await.map_err(exists)?;
        let bound =
            channel.queue_bind(dead.into(), dead.into(), "".into(), QueueBindOptions::default(), FieldTable::default());
        bound.await.map_err(exists)?;
    }
    let made = channel.queue_declare(queue.into(), durable, arguments(settings)).await;
    made.map_err(|error| {
        if !has_other_arguments(&error) {
            return format!("RabbitMQ: queue {queue:?} cannot be declared: {error}");
        }
        format!(
            "RabbitMQ: queue {queue:?} exists with other arguments than rabbitmq.queue_type, max_priority, \
             message_ttl and dead_letter_exchange say; set them as the queue has them, or rabbitmq.declare=false: {error}"
        )
    })?;
    if settings.queue_type == QueueType::Quorum && settings.max_priority > 0 {
        tracing::warn!(
            queue,
            max_priority = settings.max_priority,
            "a quorum queue has two levels of priority at most, rabbitmq.max_priority is not used"
        );
    }
    Ok(channel)
}

/// Whether the server has refused a declaration because the queue is there and another one: PRECONDITION_FAILED.
fn has_other_arguments(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 406)
}

/// The arguments of a declared queue. The library writes integers with their size; the server compares values alone.
fn arguments(settings: &RabbitMqSettings) -> FieldTable {
    let mut arguments = FieldTable::default();
    let quorum = settings.queue_type == QueueType::Quorum;
    if quorum {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    }
    if settings.max_priority > 0 && !quorum {
        arguments.insert("x-max-priority".into(), AMQPValue::LongInt(settings.max_priority.into()));
    }
    if settings.message_ttl > Duration::ZERO {
        let millis = i64::try_from(settings.message_ttl.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
    }
    if !settings.dead_letter_exchange.is_empty() {
        let name = AMQPValue::LongString(settings.dead_letter_exchange.as_str().into());
        arguments.insert("x-dead-letter-exchange".into(), name);
    }
    arguments
}
