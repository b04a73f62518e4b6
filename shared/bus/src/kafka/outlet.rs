//! Sends batches to topics between stages.

use std::cell::RefCell;
use std::sync::Arc;

use forebay_contract::edges::Partitioning;
use forebay_contract::{Batch, ErrorCode, Item, MAX_BATCH_ITEMS, Outcome, Problem, decode, encode, now_us};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{SpanKind, StageSpan, StageTracer};
use prost::Message;

use super::producer::{RecordSink, Sent, Undeliverable};
use crate::messaging::{self, MessagingOperation, set_messaging};
use crate::scope::trace_of;
use crate::{Ack, Outlet};

/// An outlet's parts, shared by every send.
pub(crate) struct KafkaOutlet {
    pub(crate) sink: RecordSink,
    pub(crate) topic: Arc<str>,
    pub(crate) partitioning: Partitioning,
    pub(crate) tracer: StageTracer,
    pub(crate) span_name: Arc<str>,
    pub(crate) counter: Counter,
    pub(crate) undeliverable: Option<Undeliverable>,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl KafkaOutlet {
    pub(crate) fn into_outlet<P: Message + Default + 'static>(self) -> Outlet<P> {
        Outlet::new(move |batch, ack| self.send(batch, ack))
    }

    fn send<P: Message + Default>(&self, mut batch: Batch<P>, ack: Ack) {
        if self.partitioning == Partitioning::Batch && batch.items.len() <= MAX_BATCH_ITEMS {
            let partition = batch.batch_partition;
            return self.produce(partition, &batch, ack);
        }
        let items = std::mem::take(&mut batch.items);
        for (partition, items) in self.split(items, batch.batch_partition) {
            batch.items = items;
            self.produce(partition, &batch, ack.share());
        }
        ack.ack();
    }

    /// Groups items by partition, in records of at most [`MAX_BATCH_ITEMS`].
    fn split<P>(&self, mut items: Vec<Item<P>>, batch_partition: u32) -> Vec<(u32, Vec<Item<P>>)> {
        // while it is unknown: ingestion used the number of partitions that all these topics share
        let count = self.sink.partitions(&self.topic).unwrap_or(u32::MAX).max(1);
        let partition = |item: &Item<P>| match self.partitioning {
            Partitioning::Result => Some(item.context.result_partition() % count),
            // items without a waiting caller are done
            Partitioning::Reply => item.context.reply_partition().map(|p| p % count),
            // between stages there is no other
            _ => Some(batch_partition),
        };
        let first = items.first().and_then(partition);
        if items.len() <= MAX_BATCH_ITEMS && items.iter().all(|item| partition(item) == first) {
            return first.map(|p| (p, items)).into_iter().collect();
        }
        items.sort_by_key(partition);
        let mut groups: Vec<(u32, Vec<Item<P>>)> = Vec::new();
        for item in items {
            let Some(p) = partition(&item) else { continue };
            match groups.last_mut() {
                Some((last, group)) if *last == p && group.len() < MAX_BATCH_ITEMS => group.push(item),
                _ => groups.push((p, vec![item])),
            }
        }
        groups
    }

    fn produce<P: Message>(&self, partition: u32, batch: &Batch<P>, ack: Ack) {
        let count = self.sink.partitions(&self.topic).unwrap_or(u32::MAX).max(1);
        let deadline_us = batch.items.iter().map(|item| item.context.deadline_us()).max().unwrap_or(u64::MAX);
        let sent = Sent {
            ack,
            items: batch.items.len() as u64,
            counter: self.counter.clone(),
            deadline_us,
            spans: self.spans(batch),
            attempts: 0,
            handed_us: 0,
            undeliverable: self.undeliverable.clone(),
        };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            encode(batch, buffer);
            self.sink.produce(&self.topic, Some(partition % count), None, Some(buffer), None, sent);
        });
    }

    fn spans<P>(&self, batch: &Batch<P>) -> Vec<StageSpan> {
        let sampled = |item: &&Item<P>| item.context.sampled();
        let start = |item: &Item<P>| {
            let name = self.span_name.to_string();
            let mut span = self.tracer.start(name, SpanKind::Producer, trace_of(item), now_us());
            set_messaging(&mut span, messaging::KAFKA, MessagingOperation::Send, &self.topic);
            span.set("messaging.batch.message_count", batch.items.len() as i64);
            span
        };
        batch.items.iter().filter(sampled).map(start).collect()
    }
}

/// Turns a record that cannot be delivered into error outcomes for the callers that wait for it.
pub(crate) fn answer_undeliverable<P: Message + Default + 'static>(
    topic: &str,
    results: Outlet<Outcome>,
) -> Undeliverable {
    let topic = topic.to_owned();
    Arc::new(move |payload, error, permanent, ack| {
        let batch = match decode::<P>(payload) {
            Ok(batch) => batch,
            Err(_) => return ack.nack(),
        };
        let problem = if permanent {
            Problem::new(
                ErrorCode::PayloadTooLarge,
                format!("the broker does not take this for topic {topic}: {error}"),
            )
        } else {
            Problem::new(ErrorCode::DeadlineExceeded, format!("topic {topic} could not be written in time: {error}"))
        };
        tracing::warn!(topic, items = batch.items.len(), error, "answering items that cannot be sent on");
        let mut outcomes = batch.onward();
        outcomes.items = batch.items.into_iter().map(|item| item.with(problem.clone().into())).collect();
        results.send(outcomes, ack);
    })
}
