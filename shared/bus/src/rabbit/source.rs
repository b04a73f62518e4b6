//! Takes requests from a queue, on a thread of its own. Permits are taken before messages; a message is acknowledged
//! when its work is safe elsewhere, given again when it is not, and given again by the server when the connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay_contract::MAX_BATCH_ITEMS;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Host, Metrics, RabbitSettings, StartError};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::connection::{Address, Thread, say_once};
use super::declare::declare;
use super::hand::{Hand, Word};
use super::message::{RabbitMessage, RabbitMessages};
use super::pause::Pause;
use super::standing::Standing;
use crate::{Ack, AckOutcome, Permit, Permits};

/// Between two looks at permits when there are none.
const PATIENCE: Duration = Duration::from_millis(5);
/// Between two looks at what is to be given again.
const TICK: Duration = Duration::from_millis(50);
/// Longest time for the last words on a connection.
const CLOSE: Duration = Duration::from_secs(3);

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Taking,
    Finishing,
    Closing,
}

/// The running source. Dropped, it takes nothing more; [`RabbitSource::drain`] waits for what is in hand.
#[derive(Debug)]
pub struct RabbitSource {
    phase: watch::Sender<Phase>,
    thread: Thread,
}

impl RabbitSource {
    /// Takes messages from `rabbitmq.queue` and hands those at hand, at most 256, to `take`. The server need not be
    /// there yet.
    ///
    /// # Errors
    /// When `rabbitmq.url` is no address, or there is no thread.
    pub fn start(
        host: &Host,
        permits: Permits,
        take: impl Fn(RabbitMessages) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let settings = host.shared().rabbitmq.clone();
        let address = Address::read(&settings, "forebay-ingestion")?;
        let name = format!("rabbitmq source {}", settings.queue);
        let standing = Standing::register(host, "ingestion", name, "forebay_rabbitmq_source_connected");
        let (phase, phases) = watch::channel(Phase::Taking);
        let counters = Counters::register(host.metrics());
        let running = Running { address, settings, permits, standing, counters, phases, take, pause: Pause::new() };
        let thread = Thread::start("rabbitmq-source", running.run())?;
        Ok(Self { phase, thread })
    }

    /// Takes no more messages, waits up to `limit` until those in hand are settled, and leaves. What is not settled
    /// then is given again by the server.
    pub async fn drain(self, limit: Duration) {
        self.phase.send_replace(Phase::Finishing);
        if !self.thread.ended_within(limit).await {
            tracing::warn!("requests from rabbitmq are not all settled, the server gives them again");
            self.phase.send_replace(Phase::Closing);
            self.thread.ended_within(CLOSE).await;
        }
    }
}

#[derive(Debug)]
struct Counters {
    consumed: Counter,
    rejected: Counter,
    requeued: Counter,
}

impl Counters {
    fn register(metrics: &Metrics) -> Self {
        let counters =
            Self { consumed: Counter::default(), rejected: Counter::default(), requeued: Counter::default() };
        let add = |name: &str, help: &str, counter: &Counter| metrics.register(name, help, counter.clone());
        add("forebay_rabbitmq_consumed", "Messages taken from the queue of requests", &counters.consumed);
        add("forebay_rabbitmq_rejected", "Messages given to the dead-letter exchange", &counters.rejected);
        add("forebay_rabbitmq_requeued", "Messages given back because they could not be passed on", &counters.requeued);
        counters
    }
}

/// How a message ended.
struct Settled {
    tag: u64,
    outcome: AckOutcome,
    reject: bool,
}

struct Running<F> {
    address: Address,
    settings: RabbitSettings,
    permits: Permits,
    standing: Standing,
    counters: Counters,
    phases: watch::Receiver<Phase>,
    take: F,
    pause: Pause,
}

/// One connection's worth of work.
struct Session {
    connection: Connection,
    channel: Channel,
    consumer: Option<Consumer>,
    hand: Hand,
    settled: UnboundedSender<Settled>,
    endings: UnboundedReceiver<Settled>,
    /// Failed messages, and when they are given again.
    again: Vec<(Instant, u64)>,
    failures: Pause,
    failing: bool,
}

impl<F: Fn(RabbitMessages) + Send + Sync + 'static> Running<F> {
    async fn run(mut self) {
        let mut said = String::new();
        while *self.phases.borrow() == Phase::Taking {
            let mut phases = self.phases.clone();
            let opened = tokio::select! {
                opened = self.open() => opened,
                _ = phases.wait_for(|phase| *phase > Phase::Taking) => return,
            };
            let ended = match opened {
                Ok(session) => {
                    said.clear();
                    self.serve(session).await
                }
                Err(why) => Err(why),
            };
            let Err(why) = ended else { return };
            self.standing.lost(&why);
            say_once(&mut said, &why);
            tokio::select! {
                () = tokio::time::sleep(self.pause.next()) => {}
                _ = phases.wait_for(|phase| *phase > Phase::Taking) => return,
            }
        }
    }

    async fn open(&self) -> Result<Session, String> {
        let connection = self.address.connect().await?;
        let failed = |error: lapin::Error| format!("RabbitMQ at {}: {error}", self.address.shown());
        let channel = declare(&connection, &self.settings).await?;
        channel.basic_qos(self.settings.prefetch, BasicQosOptions::default()).await.map_err(failed)?;
        let queue = self.settings.queue.as_str();
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await;
        let consumer = Some(consumer.map_err(failed)?);
        let (settled, endings) = unbounded_channel();
        tracing::info!(queue, server = self.address.shown(), "taking requests from rabbitmq");
        let (hand, again, failures) = (Hand::default(), Vec::new(), Pause::new());
        Ok(Session { connection, channel, consumer, hand, settled, endings, again, failures, failing: false })
    }

    /// `Ok` when the process stops and everything in hand is settled, or has to be left.
    async fn serve(&mut self, mut session: Session) -> Result<(), String> {
        self.standing.ready();
        self.pause.reset();
        let queue = self.settings.queue.clone();
        let lost = |error: lapin::Error| format!("the connection to RabbitMQ ended: {error}");
        let mut phases = self.phases.clone();
        let mut permit: Option<Permit> = None;
        loop {
            let phase = *phases.borrow_and_update();
            if phase > Phase::Taking {
                session.stop_intake().await;
            }
            if phase == Phase::Closing || (phase == Phase::Finishing && session.hand.is_empty()) {
                return session.close().await;
            }
            if permit.is_none() && phase == Phase::Taking {
                permit = self.permits.try_take(1);
            }
            let rest = if permit.is_none() && phase == Phase::Taking { PATIENCE } else { TICK };
            tokio::select! {
                biased;
                Some(first) = session.endings.recv() => session.settle(first, self).await.map_err(lost)?,
                arrived = next(&mut session.consumer), if permit.is_some() => match arrived {
                    Some(Ok(delivery)) => {
                        if let Some(permit) = permit.take() {
                            let messages = self.gather(&mut session, delivery, permit)?;
                            (self.take)(messages);
                        }
                    }
                    Some(Err(error)) => return Err(lost(error)),
                    None => return Err(format!("queue {queue:?} of RabbitMQ was deleted, or its node went")),
                },
                changed = phases.changed() => if changed.is_err() {
                    return session.close().await;
                },
                () = tokio::time::sleep(rest) => session.give_again(self).await.map_err(lost)?,
            }
            if !session.channel.status().connected() {
                return Err("the connection to RabbitMQ ended".to_owned());
            }
        }
    }

    /// `first` and what is at hand behind it.
    fn gather(&self, session: &mut Session, first: Delivery, permit: Permit) -> Result<RabbitMessages, String> {
        let mut messages = Vec::with_capacity(1);
        messages.push(session.take(first, permit));
        while messages.len() < MAX_BATCH_ITEMS
            && let Some(permit) = self.permits.try_take(1)
            && let Some(Some(Ok(delivery))) = next(&mut session.consumer).now_or_never()
        {
            messages.push(session.take(delivery, permit));
        }
        self.counters.consumed.inc_by(messages.len() as u64);
        Ok(messages)
    }
}

async fn next(consumer: &mut Option<Consumer>) -> Option<lapin::Result<Delivery>> {
    match consumer {
        Some(consumer) => consumer.next().await,
        None => std::future::pending().await,
    }
}

impl Session {
    fn take(&mut self, delivery: Delivery, permit: Permit) -> RabbitMessage {
        let tag = delivery.delivery_tag;
        self.hand.begin(tag);
        let (settled, reject) = (self.settled.clone(), Arc::new(AtomicBool::new(false)));
        let rejected = Arc::clone(&reject);
        let ack = Ack::new(move |outcome| {
            // a connection that has ended is not told: its server gives the message again
            let _ = settled.send(Settled { tag, outcome, reject: rejected.load(Ordering::Acquire) });
            drop(permit);
        });
        RabbitMessage::read(&delivery.properties, delivery.data, tag, ack, reject)
    }

    /// Tells the server about `first` and everything else that has ended by now.
    async fn settle<F>(&mut self, first: Settled, running: &Running<F>) -> lapin::Result<()> {
        let mut next = Some(first);
        while let Some(Settled { tag, outcome, reject }) = next {
            match outcome {
                AckOutcome::Done if reject => {
                    running.counters.rejected.inc();
                    self.say(Word::Reject(tag)).await?;
                    self.hand.leave(tag);
                }
                AckOutcome::Done => self.hand.done(tag),
                AckOutcome::Failed => {
                    if !self.failing {
                        running.standing.stuck("requests from RabbitMQ could not be passed on, they are given back");
                    }
                    self.failing = true;
                    self.again.push((Instant::now() + self.failures.next(), tag));
                }
            }
            next = self.endings.try_recv().ok();
        }
        let words = self.hand.words();
        if !words.is_empty() && std::mem::take(&mut self.failing) {
            self.failures.reset();
            running.standing.ready();
        }
        for word in words {
            self.say(word).await?;
        }
        Ok(())
    }

    /// Failed messages go back to their queue after a pause: what failed a moment ago will most likely fail again at once.
    async fn give_again<F>(&mut self, running: &Running<F>) -> lapin::Result<()> {
        let now = Instant::now();
        let due: Vec<u64> = self.again.extract_if(.., |(due, _)| *due <= now).map(|(_, tag)| tag).collect();
        for tag in due {
            running.counters.requeued.inc();
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
    async fn stop_intake(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            let cancelled = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
            let _ = tokio::time::timeout(CLOSE, cancelled).await;
        }
    }

    async fn close(self) -> Result<(), String> {
        let closed = self.connection.close(200, "the service stops".into());
        let _ = tokio::time::timeout(CLOSE, closed).await;
        Ok(())
    }
}
