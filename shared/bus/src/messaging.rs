//! The attributes of OpenTelemetry's messaging conventions, written the same way on every span.

use std::fmt::Display;

use forebay_runtime::StageSpan;

/// Value of `messaging.system` for Kafka.
pub const KAFKA: &str = "kafka";
/// Value of `messaging.system` for RabbitMQ.
pub const RABBITMQ: &str = "rabbitmq";

/// What a span does with messages: `messaging.operation.name` and `.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessagingOperation {
    /// Publishes them.
    Send,
    /// Works on those that were received.
    Process,
}

/// Sets what every messaging span has: the system, the operation, and the topic, queue or exchange.
pub fn set_messaging(span: &mut StageSpan, system: &'static str, operation: MessagingOperation, destination: &str) {
    let operation = match operation {
        MessagingOperation::Send => "send",
        MessagingOperation::Process => "process",
    };
    span.set("messaging.system", system);
    span.set("messaging.operation.name", operation);
    span.set("messaging.operation.type", operation);
    span.set("messaging.destination.name", destination.to_owned());
}

/// Sets the consumer group that received the messages.
pub fn set_consumer_group(span: &mut StageSpan, group: &str) {
    span.set("messaging.consumer.group.name", group.to_owned());
}

/// Sets the partition of the destination.
pub fn set_partition(span: &mut StageSpan, partition: impl Display) {
    span.set("messaging.destination.partition.id", partition.to_string());
}

/// Sets the offset of a Kafka record in its partition.
pub fn set_offset(span: &mut StageSpan, offset: i64) {
    span.set("messaging.kafka.offset", offset);
}

/// Sets the client's label of its request.
pub fn set_conversation(span: &mut StageSpan, client_request_id: Option<&str>) {
    if let Some(id) = client_request_id {
        span.set("messaging.message.conversation_id", id.to_owned());
    }
}
