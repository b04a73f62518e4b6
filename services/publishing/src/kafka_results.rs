//! Records on the result topic: one result each, with headers that identify its request.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use forebay_bus::Ack;
use forebay_bus::kafka::{OutRecord, SendPass, TransactionAcks};
use forebay_contract::{Context, ItemId, Origin, RecordHeader, RequestId};
use forebay_runtime::{StageSpan, TraceContext};

use crate::result_schema::ResultEncoding;

/// Header with the request id (16 bytes) and the row (4 bytes, big endian) that a record answers.
pub const REQUEST_ID_HEADER: &str = "forebay-request-id";
/// Header with the origin of the request: `kafka:<partition>:<offset>`, `http` or `amqp`.
pub const ORIGIN_HEADER: &str = "forebay-origin";
/// Header with the W3C trace context of the span that sent the record, if the request is sampled.
pub const TRACE_HEADER: &str = "traceparent";

type Send = dyn Fn(OutRecord, Ack, Vec<StageSpan>) + std::marker::Send + Sync;
type SendInTransaction = dyn Fn(OutRecord, TransactionAcks, Vec<StageSpan>) + std::marker::Send + Sync;
type Partitions = dyn Fn(&str) -> Option<u32> + std::marker::Send + Sync;

/// Sends results to the topic `topics.results_out`. Cheap to clone.
#[derive(Clone)]
pub struct ResultTopic {
    topic: Arc<str>,
    span_name: Arc<str>,
    partitions: Arc<Partitions>,
    sender: Sender,
    encoding: ResultEncoding,
    pass: Option<Arc<dyn Fn() -> SendPass + std::marker::Send + Sync>>,
}

#[derive(Clone)]
enum Sender {
    Direct(Arc<Send>),
    Transactional(Arc<SendInTransaction>),
}

impl fmt::Debug for ResultTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultTopic").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl ResultTopic {
    /// Records go to `topic` through `send`, which ends the spans and acknowledges with the delivery report.
    /// `partitions` returns the number of partitions of a topic once that is known.
    pub fn new(
        topic: &str,
        partitions: impl Fn(&str) -> Option<u32> + std::marker::Send + Sync + 'static,
        send: impl Fn(OutRecord, Ack, Vec<StageSpan>) + std::marker::Send + Sync + 'static,
    ) -> Self {
        Self::through(topic, partitions, Sender::Direct(Arc::new(send)))
    }

    /// As [`ResultTopic::new`], through transactions.
    pub fn transactional(
        topic: &str,
        partitions: impl Fn(&str) -> Option<u32> + std::marker::Send + Sync + 'static,
        send: impl Fn(OutRecord, TransactionAcks, Vec<StageSpan>) + std::marker::Send + Sync + 'static,
    ) -> Self {
        Self::through(topic, partitions, Sender::Transactional(Arc::new(send)))
    }

    fn through(
        topic: &str,
        partitions: impl Fn(&str) -> Option<u32> + std::marker::Send + Sync + 'static,
        sender: Sender,
    ) -> Self {
        let span_name = format!("send {topic}").into();
        let encoding = ResultEncoding::Json;
        Self { topic: topic.into(), span_name, partitions: Arc::new(partitions), sender, encoding, pass: None }
    }

    /// The same topic, whose records are made under a pass.
    #[must_use]
    pub fn passing(self, pass: impl Fn() -> SendPass + std::marker::Send + Sync + 'static) -> Self {
        Self { pass: Some(Arc::new(pass)), ..self }
    }

    /// A pass for records that are about to be made.
    pub(crate) fn pass(&self) -> Option<SendPass> {
        self.pass.as_ref().map(|pass| pass())
    }

    /// The same topic, with records in this encoding.
    #[must_use]
    pub fn encoded(self, encoding: ResultEncoding) -> Self {
        Self { encoding, ..self }
    }

    /// How records are written.
    pub(crate) fn encoding(&self) -> ResultEncoding {
        self.encoding
    }

    /// Whether results are written in transactions.
    pub(crate) fn is_transactional(&self) -> bool {
        matches!(self.sender, Sender::Transactional(_))
    }

    /// The topic's name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Number of partitions, once that is known.
    pub(crate) fn partitions(&self) -> Option<u32> {
        self.partitions_of(&self.topic)
    }

    /// Number of partitions of any topic that the stage writes or reads, once that is known.
    pub(crate) fn partitions_of(&self, topic: &str) -> Option<u32> {
        (self.partitions)(topic)
    }

    /// The partition of the item's results, once their number is known.
    pub(crate) fn partition_of(&self, context: &Context) -> Option<u32> {
        self.partitions().map(|count| context.result_partition() % count.max(1))
    }

    /// The name of spans that send to the topic.
    pub(crate) fn span_name(&self) -> &str {
        &self.span_name
    }

    /// Sends the result `document`, JSON, of the item with `context`. Records have no key, as those of the replaced
    /// service had none, unless ingestion propagates the request's.
    /// The partition follows from the request, so that all copies of a result are on one partition. `committed` is
    /// acknowledged when the result is there to be read; `written`, which only transactions use, just before.
    pub(crate) fn send(
        &self,
        context: &Context,
        document: Vec<u8>,
        (written, committed): (Option<Ack>, Ack),
        span: Option<StageSpan>,
    ) {
        let (key, propagated) = propagated(context);
        let mut headers = Vec::with_capacity(3 + propagated.len());
        headers.push((REQUEST_ID_HEADER.into(), request_id_header(context.item()).to_vec()));
        headers.push((ORIGIN_HEADER.into(), origin_header(context)));
        let own = |name: &str| [REQUEST_ID_HEADER, ORIGIN_HEADER, TRACE_HEADER].contains(&name);
        for RecordHeader { name, value } in propagated.iter().filter(|header| !own(&header.name)) {
            headers.push((name.clone().into(), value.to_vec()));
        }
        if let Some(trace) = span.as_ref().map(StageSpan::context).filter(|trace| is_complete(*trace)) {
            headers.push((TRACE_HEADER.into(), trace.to_traceparent().into_bytes()));
        }
        let (partition, payload) = (self.partition_of(context), self.encoding.encode(document));
        let record = OutRecord { topic: Arc::clone(&self.topic), partition, key, payload, headers };
        let spans = span.into_iter().collect();
        match &self.sender {
            Sender::Direct(send) => send(record, committed, spans),
            Sender::Transactional(send) => {
                send(record, TransactionAcks { written: written.unwrap_or_else(Ack::none), committed }, spans);
            }
        }
    }
}

/// What a result carries again of the record of its request.
fn propagated(context: &Context) -> (Option<Bytes>, &[RecordHeader]) {
    match context.origin() {
        Some(Origin::Kafka(record)) => (record.key.clone(), &record.headers),
        _ => (None, &[]),
    }
}

fn is_complete(trace: TraceContext) -> bool {
    trace.is_valid() && trace.span_id != [0; 8]
}

/// The value of [`ORIGIN_HEADER`] for the request with `context`.
pub(crate) fn origin_header(context: &Context) -> Vec<u8> {
    match context.origin() {
        Some(Origin::Kafka(record)) => format!("kafka:{}:{}", record.partition, record.offset).into_bytes(),
        Some(Origin::Http(_)) => b"http".to_vec(),
        Some(Origin::Amqp(_)) => b"amqp".to_vec(),
        None => b"unknown".to_vec(),
    }
}

/// The value of [`REQUEST_ID_HEADER`] for `item`.
pub fn request_id_header(item: ItemId) -> [u8; 20] {
    let mut value = [0; 20];
    let (id, row) = value.split_at_mut(16);
    id.copy_from_slice(&item.request_id.0);
    row.copy_from_slice(&item.row.to_be_bytes());
    value
}

/// Parses the value of [`REQUEST_ID_HEADER`]; `None` if it is malformed.
pub fn parse_request_id_header(header: &[u8]) -> Option<ItemId> {
    let (id, row) = header.split_at_checked(16)?;
    Some(ItemId { request_id: RequestId::from_slice(id)?, row: u32::from_be_bytes(row.try_into().ok()?) })
}

/// Parses the value of [`ORIGIN_HEADER`]; `None` unless the request came from Kafka.
pub fn parse_origin_header(header: &[u8]) -> Option<(u32, u64)> {
    let (partition, offset) = std::str::from_utf8(header).ok()?.strip_prefix("kafka:")?.split_once(':')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_id_header_reads_back() {
        let item = ItemId { request_id: RequestId::random(), row: 70_000 };
        assert_eq!(parse_request_id_header(&request_id_header(item)), Some(item));
        for bad in [&b""[..], &[0; 16], &[0; 19], &[0; 21]] {
            assert_eq!(parse_request_id_header(bad), None);
        }
    }

    #[test]
    fn the_origin_header_reads_back() {
        let context = forebay_testkit::kafka(RequestId::random()).build();
        assert_eq!(parse_origin_header(&origin_header(&context)), Some((3, 77)));
        for other in [&b"http"[..], b"amqp", b"kafka:1", b"kafka:1:x", b"\xff"] {
            assert_eq!(parse_origin_header(other), None);
        }
    }
}
