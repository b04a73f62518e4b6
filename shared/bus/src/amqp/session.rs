//! The messages of one connection: handed on, settled, tried again. One is acknowledged when its work is safe elsewhere and
//! tried again here when it is not; the server gives it again when the connection ends. It is not sent back for another
//! try: a quorum queue counts that, and from RabbitMQ 4 on drops a message that came back twenty times.

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
use super::hand::{Hand, Word};
use super::message::{AmqpMessage, AmqpMessages};
use crate::backoff::Backoff;
use crate::{Ack, AckOutcome, Permit, Permits};

/// Longest time for the last words on a connection.
pub(super) const CLOSE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Counters {
    consumed: Counter,
    rejected: Counter,
    retried: Counter,
}

impl Counters {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let counters = Self { consumed: Counter::default(), rejected: Counter::default(), retried: Counter::default() };
        let add = |name: &str, help: &str, counter: &Counter| metrics.register(name, help, counter.clone());
        add("forebay_rabbitmq_consumed", "Messages taken from the queue of requests", &counters.consumed);
        add("forebay_rabbitmq_rejected", "Messages given to the dead-letter exchange", &counters.rejected);
        add("forebay_rabbitmq_retried", "Messages tried again because they could not be passed on", &counters.retried);
        counters
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
    Failed(Box<Kept>),
}

/// What a message is made of once more when it failed, with its place among the permits.
struct Kept {
    properties: BasicProperties,
    data: Bytes,
    _permit: Permit,
}

/// One connection's worth of work.
pub(super) struct Session {
    connection: Connection,
    pub(super) channel: Channel,
    pub(super) consumer: Option<Consumer>,
    pub(super) hand: Hand,
    settled: UnboundedSender<Settled>,
    pub(super) endings: UnboundedReceiver<Settled>,
    /// Failed messages, and when they are tried again.
    again: Vec<(Instant, u64, Box<Kept>)>,
    failures: Backoff,
    failing: bool,
}

impl Session {
    pub(super) fn new(connection: Connection, channel: Channel, consumer: Consumer) -> Self {
        let (settled, endings) = unbounded_channel();
        Self {
            connection,
            channel,
            consumer: Some(consumer),
            hand: Hand::default(),
            settled,
            endings,
            again: Vec::new(),
            failures: Backoff::new(),
            failing: false,
        }
    }

    /// `first` and what is at hand behind it.
    pub(super) fn gather(
        &mut self,
        first: Delivery,
        permit: Permit,
        permits: &Permits,
        counters: &Counters,
    ) -> AmqpMessages {
        let mut messages = Vec::with_capacity(1);
        messages.push(self.take(first, permit));
        while messages.len() < MAX_BATCH_ITEMS
            && let Some(permit) = permits.try_take(1)
            && let Some(Some(Ok(delivery))) = next(&mut self.consumer).now_or_never()
        {
            messages.push(self.take(delivery, permit));
        }
        counters.consumed.inc_by(messages.len() as u64);
        messages
    }

    /// What failed and is to be handed on once more, after a pause: what failed a moment ago will most likely fail again
    /// at once.
    pub(super) fn due(&mut self, counters: &Counters) -> impl Iterator<Item = AmqpMessages> {
        let mut due = Vec::new();
        if !self.again.is_empty() {
            let now = Instant::now();
            due.extend(self.again.extract_if(.., |(due, ..)| *due <= now));
            counters.retried.inc_by(due.len() as u64);
        }
        let mut due = due.into_iter().map(|(_, tag, kept)| self.hand_on(tag, *kept)).peekable();
        std::iter::from_fn(move || due.peek().is_some().then(|| due.by_ref().take(MAX_BATCH_ITEMS).collect()))
    }

    fn take(&mut self, delivery: Delivery, permit: Permit) -> AmqpMessage {
        self.hand.begin(delivery.delivery_tag);
        let kept = Kept { properties: delivery.properties, data: delivery.data.into(), _permit: permit };
        self.hand_on(delivery.delivery_tag, kept)
    }

    fn hand_on(&self, tag: u64, kept: Kept) -> AmqpMessage {
        let (settled, reject) = (self.settled.clone(), Arc::new(AtomicBool::new(false)));
        let mut message = AmqpMessage::read(&kept.properties, kept.data.clone(), tag, Ack::none(), Arc::clone(&reject));
        message.ack = Ack::new(move |outcome| {
            let ending = match outcome {
                AckOutcome::Done if reject.load(Ordering::Acquire) => Ending::Rejected,
                AckOutcome::Done => Ending::Safe,
                AckOutcome::Failed => Ending::Failed(Box::new(kept)),
            };
            // a connection that has ended is not told: its server gives the message again
            let _ = settled.send(Settled { tag, ending });
        });
        message
    }

    /// Tells the server about `first` and everything else that has ended by now.
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
                    self.say(Word::Reject(tag)).await?;
                    self.hand.leave(tag);
                }
                Ending::Safe => self.hand.done(tag),
                Ending::Failed(kept) => {
                    if !self.failing {
                        connection_status.stuck("requests from RabbitMQ could not be passed on, they are tried again");
                    }
                    self.failing = true;
                    self.again.push((Instant::now() + self.failures.next(), tag, kept));
                }
            }
            next = self.endings.try_recv().ok();
        }
        let words = self.hand.words();
        if !words.is_empty() && std::mem::take(&mut self.failing) {
            self.failures.reset();
            connection_status.ready();
        }
        for word in words {
            self.say(word).await?;
        }
        Ok(())
    }

    /// At the end others may try what failed here.
    pub(super) async fn give_back(&mut self) -> lapin::Result<()> {
        for (_, tag, _) in std::mem::take(&mut self.again) {
            self.say(Word::Requeue(tag)).await?;
            // only now: an acknowledgement of a run must not cover it
            self.hand.leave(tag);
        }
        Ok(())
    }

    async fn say(&self, word: Word) -> lapin::Result<()> {
        match word {
            Word::Ack(tag, multiple) => self.channel.basic_ack(tag, BasicAckOptions { multiple }).await,
            Word::Reject(tag) => self.channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await,
            Word::Requeue(tag) => {
                self.channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true }).await
            }
        }
    }

    /// What was sent here and not handed on goes back when the connection closes.
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
