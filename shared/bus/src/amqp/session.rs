//! The messages of one connection: handed on, settled, retried. A message is acknowledged when its work is safe
//! elsewhere, and retried here when it is not; the server redelivers it when the connection ends. It is not returned to
//! the queue for a retry: a quorum queue counts that, and from RabbitMQ 4 on drops a message that was returned twenty
//! times.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_contract::MAX_BATCH_ITEMS;
use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicNackOptions, BasicRejectOptions};
use lapin::{BasicProperties, Channel, Connection, Consumer};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection_status::ConnectionStatus;
use super::message::{AmqpMessage, AmqpMessages, MessageIdentity};
use super::unsettled::{Settlement, UnsettledTags};
use crate::backoff::Backoff;
use crate::work_size::bytes_of_json;
use crate::{Ack, AckOutcome, Permit, Permits};

/// Longest time for closing a connection.
pub(super) const CLOSE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Counters {
    consumed: Counter,
    rejected: Counter,
    retried: Counter,
}

impl Counters {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let group = metrics.group("forebay_rabbitmq_");
        Self {
            consumed: group.add("consumed", "Messages taken from the queue of requests"),
            rejected: group.add("rejected", "Messages given to the dead-letter exchange"),
            retried: group.add("retried", "Messages tried again because they could not be passed on"),
        }
    }
}

/// How a message ended.
pub(super) struct Settled {
    tag: u64,
    ending: Ending,
}

enum Ending {
    Safe,
    Rejected,
    Failed(Box<Original>),
}

/// The parts that a message is built from again when it failed, with its permit.
struct Original {
    properties: BasicProperties,
    data: Bytes,
    identity: Arc<MessageIdentity>,
    _permit: Permit,
}

/// The work of one connection.
pub(super) struct Session {
    connection: Connection,
    pub(super) channel: Channel,
    pub(super) consumer: Option<Consumer>,
    pub(super) unsettled: UnsettledTags,
    settled: UnboundedSender<Settled>,
    pub(super) endings: UnboundedReceiver<Settled>,
    /// Failed messages, and when they are tried again.
    again: Vec<(Instant, u64, Box<Original>)>,
    failures: Backoff,
    failing: bool,
    redelivered: Redelivered,
    /// Bytes of the largest message that is read, and the tags of larger ones.
    max_message: usize,
    oversized: Vec<u64>,
}

/// Messages that were in the hands of a process which has ended, perhaps because of one of them. They are taken one at a
/// time, each when nothing else is in work.
struct Redelivered {
    /// Whether they are: not after a connection of this process was lost, as those it had taken have ended nothing.
    careful: bool,
    /// The next one, which waits.
    waiting: Option<(Delivery, Permit)>,
    /// Whether one is in work.
    in_work: bool,
}

impl Session {
    /// `first` says whether this is the first connection of the process.
    pub(super) fn new(
        connection: Connection,
        channel: Channel,
        consumer: Consumer,
        first: bool,
        max_message: usize,
    ) -> Self {
        let (settled, endings) = unbounded_channel();
        Self {
            connection,
            channel,
            consumer: Some(consumer),
            unsettled: UnsettledTags::default(),
            settled,
            endings,
            again: Vec::new(),
            failures: Backoff::new(),
            failing: false,
            redelivered: Redelivered { careful: first, waiting: None, in_work: false },
            max_message,
            oversized: Vec::new(),
        }
    }

    /// Whether more messages may be taken: not while one that was delivered again waits or is in work.
    pub(super) fn takes_more(&mut self) -> bool {
        self.redelivered.in_work &= !self.unsettled.is_empty();
        !self.redelivered.in_work && self.redelivered.waiting.is_none()
    }

    /// The message that was delivered again, alone, when nothing else is in work.
    pub(super) fn redelivered(&mut self, counters: &Counters) -> Option<AmqpMessages> {
        self.unsettled.is_empty().then_some(())?;
        let (delivery, permit) = self.redelivered.waiting.take()?;
        self.redelivered.in_work = true;
        counters.consumed.inc();
        tracing::debug!(tag = delivery.delivery_tag, "message that was delivered again is taken alone");
        Some(vec![self.take(delivery, permit)])
    }

    /// `first` and the deliveries that have arrived behind it, up to one that was delivered again, which waits.
    pub(super) fn gather(
        &mut self,
        first: Delivery,
        permit: Permit,
        permits: &Permits,
        counters: &Counters,
    ) -> AmqpMessages {
        let mut messages = Vec::with_capacity(1);
        let mut arrived = Some((first, permit));
        while let Some((delivery, permit)) = arrived {
            let bytes = delivery.data.len();
            if bytes > self.max_message {
                tracing::warn!(bytes, "message is larger than rabbitmq.max_message, rejected unread");
                // until it is rejected, an acknowledgement of a run must not cover it
                self.unsettled.begin(delivery.delivery_tag);
                self.oversized.push(delivery.delivery_tag);
                drop(permit);
            } else if delivery.redelivered && self.redelivered.careful {
                self.redelivered.waiting = Some((delivery, permit));
                break;
            } else {
                messages.push(self.take(delivery, permit));
            }
            arrived = match permits.try_take(1).filter(|_| messages.len() < MAX_BATCH_ITEMS) {
                Some(permit) => match next(&mut self.consumer).now_or_never() {
                    Some(Some(Ok(delivery))) => Some((delivery, permit)),
                    _ => None,
                },
                None => None,
            };
        }
        counters.consumed.inc_by(messages.len() as u64);
        messages
    }

    /// Rejects the messages that are too large to be read.
    pub(super) async fn reject_oversized(&mut self, counters: &Counters) -> lapin::Result<()> {
        for tag in std::mem::take(&mut self.oversized) {
            counters.rejected.inc();
            self.send(Settlement::Reject(tag)).await?;
            self.unsettled.remove(tag);
        }
        Ok(())
    }

    /// Failed messages whose pause is over. There is a pause because what failed a moment ago would most likely fail
    /// again at once.
    pub(super) fn due(&mut self, counters: &Counters) -> impl Iterator<Item = AmqpMessages> {
        let mut due = Vec::new();
        if !self.again.is_empty() {
            let now = Instant::now();
            due.extend(self.again.extract_if(.., |(due, ..)| *due <= now));
            counters.retried.inc_by(due.len() as u64);
        }
        let mut due = due.into_iter().map(|(_, tag, original)| self.hand_on(tag, *original)).peekable();
        std::iter::from_fn(move || due.peek().is_some().then(|| due.by_ref().take(MAX_BATCH_ITEMS).collect()))
    }

    fn take(&mut self, delivery: Delivery, mut permit: Permit) -> AmqpMessage {
        permit.keep_with_bytes(1, bytes_of_json(delivery.data.len(), 1));
        self.unsettled.begin(delivery.delivery_tag);
        let (properties, data, identity) = (delivery.properties, delivery.data.into(), MessageIdentity::random());
        let original = Original { properties, data, identity, _permit: permit };
        self.hand_on(delivery.delivery_tag, original)
    }

    fn hand_on(&self, tag: u64, original: Original) -> AmqpMessage {
        let (settled, reject) = (self.settled.clone(), Arc::new(AtomicBool::new(false)));
        let (data, identity, rejected) = (original.data.clone(), Arc::clone(&original.identity), Arc::clone(&reject));
        let mut message = AmqpMessage::read(&original.properties, data, tag, identity, Ack::none(), rejected);
        message.ack = Ack::new(move |outcome| {
            let ending = match outcome {
                AckOutcome::Done if reject.load(Ordering::Acquire) => Ending::Rejected,
                AckOutcome::Done => Ending::Safe,
                AckOutcome::Failed => Ending::Failed(Box::new(original)),
            };
            // after the end of a connection there is no receiver: the server redelivers the message
            let _ = settled.send(Settled { tag, ending });
        });
        message
    }

    /// Settles `first` and everything else that has ended by now.
    pub(super) async fn settle(
        &mut self,
        first: Settled,
        connection_status: &ConnectionStatus,
        counters: &Counters,
    ) -> lapin::Result<()> {
        let mut next = Some(first);
        while let Some(Settled { tag, ending }) = next {
            match ending {
                Ending::Rejected => {
                    counters.rejected.inc();
                    self.send(Settlement::Reject(tag)).await?;
                    self.unsettled.remove(tag);
                }
                Ending::Safe => self.unsettled.done(tag),
                Ending::Failed(original) => {
                    if !self.failing {
                        connection_status.stuck("requests from RabbitMQ could not be passed on, they are tried again");
                    }
                    self.failing = true;
                    self.again.push((Instant::now() + self.failures.next(), tag, original));
                }
            }
            next = self.endings.try_recv().ok();
        }
        let settlements = self.unsettled.settlements();
        if !settlements.is_empty() && std::mem::take(&mut self.failing) {
            self.failures.reset();
            connection_status.ready();
        }
        for settlement in settlements {
            self.send(settlement).await?;
        }
        Ok(())
    }

    /// Returns the failed messages to the queue, so that another consumer may try them.
    pub(super) async fn give_back(&mut self) -> lapin::Result<()> {
        for (_, tag, _) in std::mem::take(&mut self.again) {
            self.send(Settlement::Requeue(tag)).await?;
            // only now: an acknowledgement of a run must not cover it
            self.unsettled.remove(tag);
        }
        Ok(())
    }

    async fn send(&self, settlement: Settlement) -> lapin::Result<()> {
        match settlement {
            Settlement::Ack(tag, multiple) => self.channel.basic_ack(tag, BasicAckOptions { multiple }).await,
            Settlement::Reject(tag) => self.channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await,
            Settlement::Requeue(tag) => {
                self.channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true }).await
            }
        }
    }

    /// Stops consuming. Messages that arrived and were not handed on are redelivered when the connection closes.
    pub(super) async fn stop_intake(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            let cancelled = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
            let _ = tokio::time::timeout(CLOSE, cancelled).await;
        }
    }

    pub(super) async fn close(self) -> Result<(), String> {
        let closed = self.connection.close(200, "the service stops".into());
        let _ = tokio::time::timeout(CLOSE, closed).await;
        Ok(())
    }
}

pub(super) async fn next(consumer: &mut Option<Consumer>) -> Option<lapin::Result<Delivery>> {
    match consumer {
        Some(consumer) => consumer.next().await,
        None => std::future::pending().await,
    }
}
