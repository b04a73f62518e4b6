//! The loop of a sink: it connects, publishes, and waits for the server's confirms.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use forebay_contract::now_us;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, Connection, ExchangeKind};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::replied_exchange::Replicas;
use super::{Counters, GiveUp, Job, RepliedItems};
use crate::RabbitMqSettings;
use crate::amqp::connection::{Address, log_once};
use crate::amqp::connection_status::ConnectionStatus;
use crate::amqp::message::Target;
use crate::backoff::Backoff;

/// Most answers that are sent and not confirmed; the rest waits here.
const WINDOW: usize = 2048;
/// Interval between checks of the connection and the clock.
const TICK: Duration = Duration::from_millis(100);
/// The connection is closed when the server takes nothing for this long: it blocks publishers while it is short of
/// memory or disk.
const STUCK: Duration = Duration::from_secs(15);
/// Pause before an answer that the server refused is sent again, for example because its queue was full.
const REFUSED: Duration = Duration::from_millis(500);
/// How often the server may refuse an answer: a client that leaves its queue full must not use up what answers of all others
/// need to be in flight.
const REFUSALS: u32 = 20;
/// Most messages of other replicas that are taken before confirms are looked at again.
const AT_ONCE: usize = 64;
/// Longest time for closing a connection.
const CLOSE: Duration = Duration::from_secs(3);

/// The thread of a sink: what waits, and the settings of the connection.
pub(super) struct Sender {
    pub(super) address: Address,
    pub(super) settings: RabbitMqSettings,
    pub(super) connection_status: ConnectionStatus,
    pub(super) counters: Counters,
    pub(super) incoming: UnboundedReceiver<Job>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) waiting: VecDeque<Job>,
    pub(super) give_up: GiveUp,
    pub(super) replies: RepliedItems,
}

type Confirm = BoxFuture<'static, (u64, lapin::Result<Confirmation>)>;

/// One connection's worth of work.
struct Session {
    connection: Connection,
    replies: Channel,
    results: Channel,
    replicas: Replicas,
    next: u64,
    open: BTreeMap<u64, Job>,
    confirms: FuturesUnordered<Confirm>,
}

impl Sender {
    pub(super) async fn run(mut self) {
        let (mut logged, mut pause) = (String::new(), Backoff::new());
        loop {
            let ended = match self.open().await {
                Ok(mut session) => {
                    self.connection_status.ready();
                    pause.reset();
                    logged.clear();
                    let ended = self.serve(&mut session).await;
                    // sent and not confirmed: it may have arrived or not, so it is sent again under the same message id
                    for job in std::mem::take(&mut session.open).into_values().rev() {
                        self.waiting.push_front(job);
                    }
                    ended
                }
                Err(why) => Err(why),
            };
            let Err(why) = ended else { return };
            self.connection_status.lost(&why);
            log_once(&mut logged, &why);
            let rest = Instant::now() + pause.next();
            while Instant::now() < rest {
                if self.gone() {
                    return;
                }
                self.collect();
                self.give_up_late(&why);
                tokio::time::sleep(TICK).await;
            }
        }
    }

    fn collect(&mut self) {
        while let Ok(job) = self.incoming.try_recv() {
            self.waiting.push_back(job);
        }
        self.replies.collect();
    }

    /// Whether the sink was closed or every handle to it dropped.
    fn gone(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    async fn open(&self) -> Result<Session, String> {
        let connection = self.address.connect().await?;
        let failed = |error: lapin::Error| format!("RabbitMQ at {}: {error}", self.address.shown());
        let replies = connection.create_channel().await.map_err(failed)?;
        // a separate channel: deleting the exchange closes the channel
        let results = connection.create_channel().await.map_err(failed)?;
        let exchange = self.settings.results_exchange.as_str();
        if !exchange.is_empty() {
            let (passive, durable) = (!self.settings.declare, self.settings.declare);
            let options = ExchangeDeclareOptions { passive, durable, ..ExchangeDeclareOptions::default() };
            let made = results.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default());
            made.await.map_err(|error| format!("RabbitMQ: rabbitmq.results_exchange {exchange:?}: {error}"))?;
        }
        for channel in [&replies, &results] {
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
        }
        let replicas = Replicas::open(&connection, &self.settings, &self.replies.mesh).await;
        tracing::info!(server = self.address.shown(), "sending answers over rabbitmq");
        let (open, confirms) = (BTreeMap::new(), FuturesUnordered::new());
        Ok(Session { connection, replies, results, replicas, next: 0, open, confirms })
    }

    /// `Ok` when the process stops.
    async fn serve(&mut self, session: &mut Session) -> Result<(), String> {
        let mut moved = Instant::now();
        let mut stopped = self.stopped.clone();
        loop {
            self.publish(session).await?;
            self.announce(session).await?;
            let left = session.open.len() + self.waiting.len();
            self.counters.unconfirmed.set(i64::try_from(left).unwrap_or(i64::MAX));
            if left == 0 && self.incoming.is_empty() && self.gone() {
                let closed = session.connection.close(200, "the service stops".into());
                let _ = tokio::time::timeout(CLOSE, closed).await;
                return Ok(());
            }
            if session.open.is_empty() {
                moved = Instant::now();
            } else if moved.elapsed() > STUCK {
                return Err(format!("RabbitMQ has confirmed nothing for {STUCK:?}; it may be short of memory or disk"));
            }
            tokio::select! {
                biased;
                Some((id, confirmation)) = session.confirms.next(), if !session.confirms.is_empty() => {
                    moved = Instant::now();
                    self.confirmed(session, id, confirmation)?;
                }
                Some(job) = self.incoming.recv() => self.waiting.push_back(job),
                Some(item) = self.replies.settled.recv() => self.replies.unsent.push(item),
                message = session.replicas.next() => {
                    let items = session.replicas.accept(message).await;
                    self.replies.on_announced(&items);
                }
                _ = stopped.changed(), if !self.gone() => {}
                () = tokio::time::sleep(TICK) => self.give_up_late("RabbitMQ does not take it"),
            }
            self.take_arrived(session).await?;
            if !session.replies.status().connected() || !session.results.status().connected() {
                return Err("the connection to RabbitMQ ended, or it refused an answer".to_owned());
            }
        }
    }

    /// Announces to the other replicas what was replied to by now.
    async fn announce(&mut self, session: &mut Session) -> Result<(), String> {
        self.collect();
        if self.settings.replied_exchange.is_empty() {
            self.replies.unsent.clear();
            return Ok(());
        }
        session.replicas.reopen(&session.connection, &self.settings, &self.replies.mesh).await;
        let announced = tokio::time::timeout(STUCK, session.replicas.announce(&mut self.replies.unsent)).await;
        announced.map_err(|_| "RabbitMQ takes nothing; it may be short of memory or disk".to_owned())
    }

    /// Takes what has arrived by now, so that no end waits for the others.
    async fn take_arrived(&mut self, session: &mut Session) -> Result<(), String> {
        while let Some(Some((id, confirmation))) = session.confirms.next().now_or_never() {
            self.confirmed(session, id, confirmation)?;
        }
        self.collect();
        for _ in 0..AT_ONCE {
            let Some(message) = session.replicas.next().now_or_never() else { break };
            let items = session.replicas.accept(message).await;
            self.replies.on_announced(&items);
        }
        Ok(())
    }

    async fn publish(&mut self, session: &mut Session) -> Result<(), String> {
        let now = Instant::now();
        let mut rested = 0;
        while session.open.len() < WINDOW
            && rested < self.waiting.len()
            && let Some(job) = self.waiting.pop_front()
        {
            if job.not_before.is_some_and(|due| now < due) {
                self.waiting.push_back(job);
                rested += 1;
                continue;
            }
            let (channel, exchange, key) = match &job.answer.target {
                Target::ReplyTo(queue) => (&session.replies, "", queue.as_str()),
                Target::Exchange => {
                    let settings = &self.settings;
                    (&session.results, settings.results_exchange.as_str(), settings.results_routing.as_str())
                }
            };
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let properties = job.answer.properties();
            let sent = channel.basic_publish(exchange.into(), key.into(), options, &job.answer.payload, properties);
            let sent = tokio::time::timeout(STUCK, sent).await;
            let id = session.next;
            session.next += 1;
            // recorded before anything can fail
            session.open.insert(id, job);
            let confirm = sent.map_err(|_| "RabbitMQ takes nothing; it may be short of memory or disk".to_owned())?;
            let confirm = confirm.map_err(|error| format!("the connection to RabbitMQ ended: {error}"))?;
            session.confirms.push(Box::pin(async move { (id, confirm.await) }));
        }
        Ok(())
    }

    fn confirmed(
        &mut self,
        session: &mut Session,
        id: u64,
        confirmation: lapin::Result<Confirmation>,
    ) -> Result<(), String> {
        let confirmation = confirmation.map_err(|error| format!("the connection to RabbitMQ ended: {error}"))?;
        if matches!(confirmation, Confirmation::NotRequested) {
            return Err("RabbitMQ confirms nothing on this channel".to_owned());
        }
        let Some(mut job) = session.open.remove(&id) else { return Ok(()) };
        if confirmation.is_nack() {
            job.refusals += 1;
            if job.refusals >= REFUSALS {
                (self.give_up)(job.answer, "RabbitMQ refuses it, as it does for a queue that is full", job.ack);
                return Ok(());
            }
            job.not_before = Some(Instant::now() + REFUSED);
            self.waiting.push_back(job);
            return Ok(());
        }
        match confirmation.take_message() {
            // the library hands the next returned message to the next confirm: it names itself
            Some(returned) => {
                self.counters.returned.inc();
                let (queue, reason) = (returned.routing_key.as_str(), returned.reply_text.as_str());
                let message = returned.properties.message_id().as_ref().map(|id| id.as_str().to_owned());
                tracing::warn!(queue, message, reason, "answer has no queue to go to any more");
                job.spans.iter_mut().for_each(|span| span.error("unroutable", "there is no such queue"));
            }
            None => {
                self.counters.replied.inc();
            }
        }
        drop(job.spans);
        job.ack.ack();
        Ok(())
    }

    /// Gives up the answers whose time is over, so that the edges do not wait for a server that does not come back.
    fn give_up_late(&mut self, why: &str) {
        let now = now_us();
        if self.waiting.iter().all(|job| now < job.answer.give_up_us) {
            return;
        }
        let jobs = std::mem::take(&mut self.waiting);
        for job in jobs {
            if now < job.answer.give_up_us {
                self.waiting.push_back(job);
            } else {
                (self.give_up)(job.answer, why, job.ack);
            }
        }
    }
}
