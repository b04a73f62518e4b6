//! Sends batches to topics between stages. A record that is too large is divided; what a topic does not take at all is
//! answered with an error, or kept as a dead letter.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use forebay_contract::edges::Partitioning;
use forebay_contract::{Batch, Item, MAX_BATCH_ITEMS, Outcome, Problem, decode, encode, now_us};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{SpanKind, StageMetrics, StageSpan, StageTracer};
use prost::Message;
use rdkafka::message::Message as _;
use rustc_hash::FxHashMap;

use super::dead_letters::DeadLetters;
use super::producer::{OnUndelivered, Reason, RecordSink, Sent, Undelivered};
use crate::messaging::{self, MessagingOperation, set_messaging};
use crate::scope::trace_of;
use crate::{Ack, AckOutcome, Outlet, Permits};

/// An outlet's parts, shared by every send.
pub(crate) struct KafkaOutlet {
    pub(crate) sink: RecordSink,
    pub(crate) topic: Arc<str>,
    pub(crate) partitioning: Partitioning,
    pub(crate) tracer: StageTracer,
    pub(crate) span_name: Arc<str>,
    pub(crate) counter: Counter,
    pub(crate) fallback: Fallback,
    pub(crate) dead_letters: DeadLetters,
}

/// What becomes of items that the topic does not take.
pub(crate) enum Fallback {
    /// Each is answered with an error over another outlet, at its deadline at the latest.
    Answer(Outlet<Outcome>),
    /// The items are outcomes themselves. One that is too large becomes an error; if that is refused too, or if the
    /// topic refuses the record for another reason, the original record becomes a dead letter. There is no deadline: a
    /// result that was computed is worth sending late.
    Replace,
    /// They are advice: dropped and counted at the first failure, and beyond the permits.
    Drop { permits: Permits, dropped: Counter },
}

impl Fallback {
    /// At most `in_flight` items of advice are on their way at a time.
    pub(crate) fn dropping(in_flight: usize, metrics: &StageMetrics) -> Self {
        Self::Drop { permits: Permits::new(in_flight), dropped: metrics.advice_dropped.clone() }
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The record of `batch`, in this thread's buffer, which goes back with `BUFFER.set`. Taken out, because a send that
/// fails at once may encode others on its way.
fn encoded<P: Message>(batch: &Batch<P>) -> Vec<u8> {
    let mut buffer = BUFFER.take();
    buffer.clear();
    encode(batch, &mut buffer);
    buffer
}

impl KafkaOutlet {
    pub(crate) fn into_outlet<P: Message + Default + 'static>(self) -> Outlet<P> {
        let outlet = Arc::new(self);
        let on_undelivered = outlet.on_undelivered::<P>();
        Outlet::new(move |batch, ack| outlet.send(batch, ack, &on_undelivered))
    }

    fn on_undelivered<P: Message + Default + 'static>(self: &Arc<Self>) -> OnUndelivered {
        let outlet = Arc::clone(self);
        Arc::new(move |undelivered| outlet.undelivered::<P>(undelivered))
    }

    fn send<P: Message + Default + 'static>(
        self: &Arc<Self>,
        mut batch: Batch<P>,
        mut ack: Ack,
        on_undelivered: &OnUndelivered,
    ) {
        if let Fallback::Drop { permits, dropped } = &self.fallback {
            ack.ack();
            let Some(permit) = permits.try_take(batch.items.len()) else {
                dropped.inc_by(batch.items.len() as u64);
                return;
            };
            ack = Ack::new(move |_| drop(permit));
        }
        if self.partitioning == Partitioning::Batch && batch.items.len() <= MAX_BATCH_ITEMS {
            let partition = batch.batch_partition;
            return self.produce(partition, batch, ack, on_undelivered);
        }
        let items = std::mem::take(&mut batch.items);
        for (partition, items) in self.split(items, batch.batch_partition) {
            self.produce(partition, with_items(&batch, items), ack.share(), on_undelivered);
        }
        ack.ack();
    }

    /// Groups items by partition, in records of at most [`MAX_BATCH_ITEMS`].
    fn split<P>(&self, items: Vec<Item<P>>, batch_partition: u32) -> Vec<(u32, Vec<Item<P>>)> {
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
        let partitions: Vec<Option<u32>> = items.iter().map(partition).collect();
        group(items, &partitions)
    }

    /// Sends a batch, in two halves if its record is larger than the client sends.
    fn produce<P: Message + Default + 'static>(
        self: &Arc<Self>,
        partition: u32,
        batch: Batch<P>,
        ack: Ack,
        on_undelivered: &OnUndelivered,
    ) {
        let record = encoded(&batch);
        if record.len() > self.sink.largest() && batch.items.len() > 1 {
            BUFFER.set(record);
            return self.halve(partition, batch, ack, on_undelivered);
        }
        let sent = self.sent(&batch, ack, on_undelivered);
        self.sink.produce(&self.topic, Some(self.existing(partition)), None, Some(&record), None, sent);
        BUFFER.set(record);
    }

    /// Sends a batch on the thread of the retries, however large it is.
    fn produce_later<P: Message>(&self, partition: u32, batch: &Batch<P>, ack: Ack, on_undelivered: &OnUndelivered) {
        let record = encoded(batch);
        let sent = self.sent(batch, ack, on_undelivered);
        self.sink.produce_later(&self.topic, self.existing(partition), record.clone(), sent);
        BUFFER.set(record);
    }

    fn existing(&self, partition: u32) -> u32 {
        partition % self.sink.partitions(&self.topic).unwrap_or(u32::MAX).max(1)
    }

    fn sent<P>(&self, batch: &Batch<P>, ack: Ack, on_undelivered: &OnUndelivered) -> Sent {
        let (items, deadline_us) = (batch.items.len() as u64, self.deadline_us(batch));
        let once = Sent::once(ack, self.counter.clone(), Arc::clone(on_undelivered));
        Sent { items, deadline_us, spans: self.spans(batch), ..once }
    }

    /// When the first item has to be answered.
    fn deadline_us<P>(&self, batch: &Batch<P>) -> u64 {
        match self.fallback {
            Fallback::Answer(_) => batch.items.iter().map(|item| item.context.deadline_us()).min().unwrap_or(u64::MAX),
            Fallback::Replace => u64::MAX,
            Fallback::Drop { .. } => 0,
        }
    }

    /// Sends a batch in two halves. The second follows when the first has arrived: together they would again be too
    /// large, because the client puts records that wait for one partition into one request. It follows on another
    /// thread: where one part after the other is refused at once, each would be sent from within the one before.
    fn halve<P: Message + Default + 'static>(
        self: &Arc<Self>,
        partition: u32,
        mut batch: Batch<P>,
        ack: Ack,
        on_undelivered: &OnUndelivered,
    ) {
        let second = batch.items.split_off(batch.items.len() / 2);
        let second = with_items(&batch, second);
        let (outlet, on_second) = (Arc::clone(self), Arc::clone(on_undelivered));
        let then = Ack::new(move |outcome| match outcome {
            AckOutcome::Done => outlet.produce_later(partition, &second, ack, &on_second),
            AckOutcome::Failed => ack.nack(),
        });
        self.produce(partition, batch, then, on_undelivered);
    }

    /// Deals with a record that will not be delivered.
    fn undelivered<P: Message + Default + 'static>(self: &Arc<Self>, undelivered: Undelivered) {
        let payload = Bytes::copy_from_slice(undelivered.record.payload().unwrap_or_default());
        let Ok(mut batch) = decode::<P>(payload) else { return self.dead_letters.keep(undelivered) };
        let partition = u32::try_from(undelivered.record.partition()).unwrap_or(batch.batch_partition);
        if undelivered.reason == Reason::TooLarge && batch.items.len() > 1 {
            return self.halve(partition, batch, undelivered.ack, &self.on_undelivered::<P>());
        }
        match &self.fallback {
            Fallback::Answer(results) => {
                if undelivered.reason == Reason::Late {
                    let live = take_live(&mut batch);
                    if !live.items.is_empty() {
                        self.produce(partition, live, undelivered.ack.share(), &self.on_undelivered::<P>());
                    }
                }
                let (topic, error, items) = (&*self.topic, &undelivered.error, batch.items.len());
                tracing::warn!(topic, items, error, "answering items that cannot be sent on");
                results.send(failed(batch, &undelivered.problem()), undelivered.ack);
            }
            Fallback::Replace if undelivered.reason == Reason::TooLarge => self.replace(partition, batch, undelivered),
            Fallback::Replace => self.dead_letters.keep(undelivered),
            Fallback::Drop { dropped, .. } => {
                tracing::debug!(topic = &*self.topic, error = undelivered.error, "advice dropped");
                dropped.inc_by(batch.items.len() as u64);
                undelivered.ack.ack();
            }
        }
    }

    /// Sends an error instead of an outcome that is too large. If that is refused as well, the outcome becomes a dead
    /// letter.
    fn replace<P>(&self, partition: u32, batch: Batch<P>, undelivered: Undelivered) {
        let outcomes = failed(batch, &undelivered.problem());
        let Undelivered { record: original, reason, error, ack, .. } = undelivered;
        tracing::warn!(topic = &*self.topic, error, "outcome is too large, sending an error instead");
        let dead_letters = self.dead_letters.clone();
        let keep: OnUndelivered = Arc::new(move |again| {
            let (record, error) = (original.clone(), error.clone());
            dead_letters.keep(Undelivered { record, reason, error, ..again });
        });
        let sent = Sent::once(ack, self.counter.clone(), keep);
        let record = encoded(&outcomes);
        self.sink.produce(&self.topic, Some(partition), None, Some(&record), None, sent);
        BUFFER.set(record);
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

/// Groups items by their partitions, at most [`MAX_BATCH_ITEMS`] together; those without a partition are left out. They are
/// counted first and each is moved once, because items are large.
fn group<P>(items: Vec<Item<P>>, partitions: &[Option<u32>]) -> Vec<(u32, Vec<Item<P>>)> {
    let mut left = FxHashMap::<u32, usize>::default();
    partitions.iter().flatten().for_each(|partition| *left.entry(*partition).or_default() += 1);
    let mut open = FxHashMap::<u32, Vec<Item<P>>>::default();
    let mut groups = Vec::with_capacity(left.len());
    for (item, partition) in items.into_iter().zip(partitions) {
        let Some(partition) = *partition else { continue };
        let left = left.entry(partition).or_default();
        let group = open.entry(partition).or_insert_with(|| Vec::with_capacity((*left).min(MAX_BATCH_ITEMS)));
        group.push(item);
        *left = left.saturating_sub(1);
        if *left == 0 || group.len() == MAX_BATCH_ITEMS {
            groups.extend(open.remove_entry(&partition));
        }
    }
    groups
}

/// A batch of other items that is sent like `batch`.
fn with_items<P, Q>(batch: &Batch<P>, items: Vec<Item<Q>>) -> Batch<Q> {
    Batch { items, ..batch.onward() }
}

/// Takes the items whose deadline has not passed out of `batch`.
fn take_live<P>(batch: &mut Batch<P>) -> Batch<P> {
    let now = now_us();
    let (late, live) = std::mem::take(&mut batch.items).into_iter().partition(|item| item.context.expired(now));
    batch.items = late;
    with_items(batch, live)
}

/// The items of `batch` with an error each, which is given now.
pub(crate) fn failed<P>(batch: Batch<P>, problem: &Problem) -> Batch<Outcome> {
    let mut head = batch.onward();
    head.leave();
    let items = batch.items.into_iter().map(|item| item.with(problem.clone().into())).collect();
    Batch { items, ..head }
}
