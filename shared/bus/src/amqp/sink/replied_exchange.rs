//! The exchange on which replicas of publishing announce which items they have replied to. Only they know: a reply
//! is on no topic, and while Kafka is away nothing is committed. The next owner of a partition drops the copies that it
//! reads again.
//!
//! A message holds [`ItemId`]s, its routing key names the mesh, and its `app_id` the queue on which its sender
//! listens, so that a replica skips its own.

use std::time::{Duration, Instant};

use forebay_contract::{ItemId, RequestId};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, Consumer, ExchangeKind};

use crate::RabbitMqSettings;

/// What these messages are; another layout has another name.
const TYPE: &str = "forebay.replied.1";
/// Bytes of an item: its request, and its row in little-endian order.
const ITEM: usize = 20;
/// Most items of a message.
const MOST: usize = 2048;
/// Most messages that wait for a replica that takes none; the oldest are dropped.
const WAITING: i32 = 10_000;
/// Pause before the exchange is opened again.
const REOPEN: Duration = Duration::from_secs(30);
/// Most messages that a replica is sent ahead, and how many it acknowledges at once.
const AHEAD: u16 = 256;
const ACKNOWLEDGED: u16 = 64;

/// The other replicas, as one connection reaches them.
pub(super) struct Replicas {
    /// `None` where the settings name no exchange, or it cannot be used now.
    exchange: Option<RepliedExchange>,
    /// When it was opened last.
    opened: Instant,
}

impl Replicas {
    /// Opens the exchange if the settings name one. `mesh` tells the meshes of a virtual host apart.
    pub(super) async fn open(connection: &Connection, settings: &RabbitMqSettings, mesh: &str) -> Self {
        Self { exchange: RepliedExchange::open(connection, settings, mesh).await, opened: Instant::now() }
    }

    /// Opens the exchange again, if it could not be used a while ago.
    pub(super) async fn reopen(&mut self, connection: &Connection, settings: &RabbitMqSettings, mesh: &str) {
        if self.exchange.is_none() && self.opened.elapsed() > REOPEN {
            *self = Self::open(connection, settings, mesh).await;
        }
    }

    /// Announces `items`, and removes those that were sent.
    pub(super) async fn announce(&mut self, items: &mut Vec<ItemId>) {
        let Some(exchange) = &self.exchange else { return };
        if let Err(error) = exchange.announce(items).await {
            tracing::warn!(%error, "replies are not announced to other replicas, trying again later");
            self.exchange = None;
        }
    }

    /// The next message of a replica, perhaps of this one; `None` if there will be no more. Waits for ever where replicas do
    /// not announce anything.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        match &mut self.exchange {
            Some(exchange) => exchange.consumer.next().await?.ok(),
            None => std::future::pending().await,
        }
    }

    /// The items of what [`Replicas::next`] gave, if another replica of this mesh has sent it.
    pub(super) async fn accept(&mut self, message: Option<Delivery>) -> Vec<ItemId> {
        if let (Some(exchange), Some(message)) = (&mut self.exchange, message)
            && let Ok(items) = exchange.accept(message).await
        {
            return items;
        }
        tracing::warn!("replies of other replicas are not read, trying again later");
        self.exchange = None;
        Vec::new()
    }
}

/// One connection's end of the exchange.
struct RepliedExchange {
    channel: Channel,
    consumer: Consumer,
    /// Messages since the last acknowledgement.
    taken: u16,
    exchange: String,
    /// Names the mesh among those of the virtual host.
    mesh: String,
    /// The queue on which this replica listens.
    queue: ShortString,
}

impl RepliedExchange {
    /// Opens the exchange that the settings name, if they do. Without it replies may be repeated, so a refusal is a warning.
    async fn open(connection: &Connection, settings: &RabbitMqSettings, mesh: &str) -> Option<Self> {
        let exchange = settings.replied_exchange.as_str();
        if exchange.is_empty() {
            return None;
        }
        let opened = Self::declare(connection, settings, mesh).await;
        if let Err(error) = &opened {
            tracing::warn!(
                exchange,
                %error,
                "rabbitmq.replied_exchange cannot be used, a reply may be repeated when a partition moves to another replica"
            );
        }
        opened.ok()
    }

    async fn declare(connection: &Connection, settings: &RabbitMqSettings, mesh: &str) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        let exchange = settings.replied_exchange.as_str();
        let (passive, durable) = (!settings.declare, settings.declare);
        let options = ExchangeDeclareOptions { passive, durable, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, options, FieldTable::default()).await?;
        // named by the server, and gone with the connection
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(WAITING));
        let queue = channel.queue_declare("".into(), options, arguments).await?.name().clone();
        let bound = channel.queue_bind(
            queue.clone(),
            exchange.into(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await?;
        channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await?;
        let (exchange, mesh) = (exchange.to_owned(), mesh.to_owned());
        Ok(Self { channel, consumer, taken: 0, exchange, mesh, queue })
    }

    /// Announces `items` to the other replicas, and removes those that were sent.
    async fn announce(&self, items: &mut Vec<ItemId>) -> lapin::Result<()> {
        while !items.is_empty() {
            let part = items.len().min(MOST);
            let properties = BasicProperties::default().with_type(TYPE.into()).with_app_id(self.queue.clone());
            let (exchange, key) = (self.exchange.as_str().into(), self.mesh.as_str().into());
            let (options, message) = (BasicPublishOptions::default(), encode(&items[..part]));
            self.channel.basic_publish(exchange, key, options, &message, properties).await?;
            items.drain(..part);
        }
        Ok(())
    }

    /// The items of a message, if another replica of this mesh has sent it.
    async fn accept(&mut self, delivery: Delivery) -> lapin::Result<Vec<ItemId>> {
        self.taken += 1;
        if self.taken >= ACKNOWLEDGED {
            self.taken = 0;
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
        Ok(if self.concerns(&delivery) { decode(&delivery.data) } else { Vec::new() })
    }

    /// Whether another replica of this mesh has sent it.
    fn concerns(&self, delivery: &Delivery) -> bool {
        let is =
            |value: &Option<ShortString>, wanted: &str| value.as_ref().is_some_and(|value| value.as_str() == wanted);
        let properties = &delivery.properties;
        delivery.routing_key.as_str() == self.mesh
            && is(properties.kind(), TYPE)
            && !is(properties.app_id(), self.queue.as_str())
    }
}

fn encode(items: &[ItemId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.len() * ITEM);
    for item in items {
        bytes.extend_from_slice(&item.request_id.0);
        bytes.extend_from_slice(&item.row.to_le_bytes());
    }
    bytes
}

/// The items of a message; what is left of one that was cut is not read.
fn decode(bytes: &[u8]) -> Vec<ItemId> {
    let (items, _) = bytes.as_chunks::<ITEM>();
    let item = |bytes: &[u8; ITEM]| {
        let (request, row) = bytes.split_first_chunk::<16>()?;
        Some(ItemId { request_id: RequestId(*request), row: u32::from_le_bytes(row.try_into().ok()?) })
    };
    items.iter().filter_map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_as_they_were_written() {
        let items: Vec<ItemId> = (0..3).map(|row| ItemId { request_id: RequestId::random(), row: row << 20 }).collect();
        let bytes = encode(&items);
        assert_eq!(decode(&bytes), items);
        assert_eq!(decode(&bytes[..ITEM + 7]), items[..1]);
        assert_eq!(decode(b""), []);
    }
}
