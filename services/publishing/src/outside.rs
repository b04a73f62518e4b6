//! Records on the outside topic: one result each, with headers that name the request.

use std::fmt;
use std::sync::Arc;

use forebay_bus::Ack;
use forebay_bus::kafka::OutRecord;
use forebay_contract::{Context, ItemId, Origin, RequestId};
use forebay_runtime::{StageSpan, TraceContext};

/// Header with the request id (16 bytes) and the row (4 bytes, big endian) that a record answers.
pub const ASK_HEADER: &str = "forebay-ask";
/// Header that says where the request came from: `kafka:<partition>:<offset>`, `http` or `amqp`.
pub const ORIGIN_HEADER: &str = "forebay-origin";
/// W3C trace context of the span that sent the record, when the request is sampled.
pub const TRACE_HEADER: &str = "traceparent";

type Send = dyn Fn(OutRecord, Ack, Vec<StageSpan>) + std::marker::Send + Sync;
type Partitions = dyn Fn(&str) -> Option<u32> + std::marker::Send + Sync;

/// The way to the outside topic.
#[derive(Clone)]
pub struct Outside {
    topic: Arc<str>,
    span_name: Arc<str>,
    partitions: Arc<Partitions>,
    send: Arc<Send>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Outside {
    /// Records go to `topic` through `send`, which ends the spans and answers the ack with the delivery report.
    /// `partitions` tells how many partitions the topic has, once that is known.
    pub fn new(
        topic: &str,
        partitions: impl Fn(&str) -> Option<u32> + std::marker::Send + Sync + 'static,
        send: impl Fn(OutRecord, Ack, Vec<StageSpan>) + std::marker::Send + Sync + 'static,
    ) -> Self {
        let span_name = format!("send {topic}").into();
        Self { topic: topic.into(), span_name, partitions: Arc::new(partitions), send: Arc::new(send) }
    }

    /// Name of the topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Name of the span of a produce.
    pub(crate) fn span_name(&self) -> &str {
        &self.span_name
    }

    /// Sends the result `payload` of the item `context`. Results have no key, as before: the partition follows from the
    /// ask, so that one of a request's copies is where its others are.
    pub(crate) fn send(&self, context: &Context, payload: Vec<u8>, ack: Ack, span: Option<StageSpan>) {
        let mut headers = Vec::with_capacity(3);
        headers.push((ASK_HEADER, header_of(context.item()).to_vec()));
        headers.push((ORIGIN_HEADER, origin_of(context)));
        if let Some(trace) = span.as_ref().map(StageSpan::context).filter(|trace| is_complete(*trace)) {
            headers.push((TRACE_HEADER, trace.to_traceparent().into_bytes()));
        }
        let partition = (self.partitions)(&self.topic).map(|count| context.result_partition() % count.max(1));
        let record = OutRecord { topic: Arc::clone(&self.topic), partition, key: None, payload, headers };
        (self.send)(record, ack, span.into_iter().collect());
    }
}

fn is_complete(trace: TraceContext) -> bool {
    trace.is_valid() && trace.span_id != [0; 8]
}

fn origin_of(context: &Context) -> Vec<u8> {
    match context.origin() {
        Some(Origin::Kafka(record)) => format!("kafka:{}:{}", record.partition, record.offset).into_bytes(),
        Some(Origin::Http(_)) => b"http".to_vec(),
        Some(Origin::Amqp(_)) => b"amqp".to_vec(),
        None => b"unknown".to_vec(),
    }
}

/// Value of [`ASK_HEADER`].
pub fn header_of(item: ItemId) -> [u8; 20] {
    let mut value = [0; 20];
    let (ask, row) = value.split_at_mut(16);
    ask.copy_from_slice(&item.request_id.0);
    row.copy_from_slice(&item.row.to_be_bytes());
    value
}

/// Reads the value of [`ASK_HEADER`]; `None` when it is not one of ours.
pub fn item_of(header: &[u8]) -> Option<ItemId> {
    let (ask, row) = header.split_at_checked(16)?;
    Some(ItemId { request_id: RequestId::from_slice(ask)?, row: u32::from_be_bytes(row.try_into().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ask_header_reads_back() {
        let item = ItemId { request_id: RequestId::random(), row: 70_000 };
        assert_eq!(item_of(&header_of(item)), Some(item));
        for bad in [&b""[..], &[0; 16], &[0; 19], &[0; 21]] {
            assert_eq!(item_of(bad), None);
        }
    }
}
