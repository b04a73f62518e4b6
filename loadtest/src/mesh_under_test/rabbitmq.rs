//! A plain client of RabbitMQ; every call is bounded.

use std::future::Future;
use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::runtime::Runtime;

const BOUND: Duration = Duration::from_secs(10);

/// A connection with one channel in confirm mode.
pub struct RabbitClient {
    runtime: Runtime,
    /// For calls that this client has no method for; they go through [`RabbitClient::run`].
    pub channel: Channel,
    _connection: Connection,
}

impl std::fmt::Debug for RabbitClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitClient").finish_non_exhaustive()
    }
}

/// A request's properties: where the answer goes, under which label and identity.
#[must_use]
pub fn reply_properties(reply_to: &str, id: &str) -> BasicProperties {
    BasicProperties::default().with_reply_to(reply_to.into()).with_correlation_id(id.into()).with_message_id(id.into())
}

impl RabbitClient {
    /// Connects.
    pub fn connect(url: &str) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let open = async {
            let connection = Connection::connect(url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok((connection, channel))
        };
        // made inside, where its timer finds the runtime
        let opened = runtime.block_on(async { tokio::time::timeout(BOUND, open).await });
        let opened = opened.map_err(|_| "connecting took too long".to_owned())?;
        let (connection, channel) = opened.map_err(|error: lapin::Error| error.to_string())?;
        Ok(Self { runtime, channel, _connection: connection })
    }

    /// Waits for a call on the channel.
    pub fn run<T>(&self, work: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
        let bounded = async { tokio::time::timeout(BOUND, work).await };
        self.runtime.block_on(bounded).map_err(|_| "took too long".to_owned())?.map_err(|error| error.to_string())
    }

    /// A durable queue.
    pub fn declare(&self, queue: &str, arguments: FieldTable) -> Result<(), String> {
        self.run(self.channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)).map(|_| ())
    }

    /// How many messages wait in a queue that exists.
    pub fn count(&self, queue: &str) -> Result<u64, String> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.run(self.channel.queue_declare(queue.into(), options, FieldTable::default()))?;
        Ok(u64::from(declared.message_count()))
    }

    /// Publishes to a queue; `Ok` when the server has confirmed it.
    pub fn publish(&self, queue: &str, body: &[u8], properties: BasicProperties) -> Result<(), String> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = properties.with_delivery_mode(2);
        let publish =
            async { self.channel.basic_publish("".into(), queue.into(), options, body, properties).await?.await };
        let confirmation = self.run(publish)?;
        let acked = confirmation.is_ack();
        match confirmation.take_message() {
            Some(returned) => Err(format!("returned: {}", returned.reply_text.as_str())),
            None if acked => Ok(()),
            None => Err("refused".to_owned()),
        }
    }

    /// Takes the next message off a queue, if there is one; `keep` leaves it with the server until it is acknowledged.
    pub fn get(&self, queue: &str, keep: bool) -> Result<Option<BasicGetMessage>, String> {
        self.run(self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: !keep }))
    }
}
