//! Consumes requests from a queue, on its own thread. Permits are taken before messages; connections are made again
//! when they end.

use std::time::Duration;

use forebay_runtime::{Host, StartError, memory_budget};
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::watch;

use super::connection::{Address, Thread, log_once};
use super::connection_status::ConnectionStatus;
use super::declare::declare;
use super::message::AmqpMessages;
use super::session::{CLOSE, Counters, Session, next};
use crate::backoff::Backoff;
use crate::{Permit, Permits, RabbitMqSettings};

/// Interval between checks for permits when there are none.
const PERMIT_CHECK: Duration = Duration::from_millis(5);
/// Interval between checks for messages to retry.
const TICK: Duration = Duration::from_millis(50);

/// The phase of shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Taking,
    Finishing,
    Closing,
}

/// The running source. Dropping it stops intake; [`AmqpSource::drain`] waits for the messages in flight.
#[derive(Debug)]
pub struct AmqpSource {
    phase: watch::Sender<Phase>,
    thread: Thread,
}

impl AmqpSource {
    /// Takes messages from `rabbitmq.queue` and hands those that have arrived, at most 256, to `take`. The server need
    /// not be reachable yet.
    ///
    /// # Errors
    /// When `rabbitmq.url` is not an address, or the thread cannot start.
    pub fn start(
        host: &Host,
        settings: &RabbitMqSettings,
        permits: Permits,
        take: impl Fn(AmqpMessages) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let settings = settings.clone();
        let address = Address::read(&settings, "forebay-ingestion")?;
        let name = format!("rabbitmq source {}", settings.queue);
        let connection_status =
            ConnectionStatus::register(host, "ingestion", name, "forebay_rabbitmq_source_connected");
        let (phase, phases) = watch::channel(Phase::Taking);
        let counters = Counters::register(host.metrics());
        let heartbeat = connection_status.heartbeat();
        let running = Running {
            address,
            settings,
            permits,
            connection_status,
            counters,
            phases,
            take,
            pause: Backoff::new(),
            first: true,
        };
        let thread = Thread::start("rabbitmq-source", heartbeat, running.run())?;
        Ok(Self { phase, thread })
    }

    /// Stops intake, waits up to `limit` until the messages in flight are settled, and disconnects. The server
    /// redelivers what is not settled by then.
    pub async fn drain(self, limit: Duration) {
        self.phase.send_replace(Phase::Finishing);
        if !self.thread.ended_within(limit).await {
            tracing::warn!("not all requests from rabbitmq are settled, the server redelivers the rest");
            self.phase.send_replace(Phase::Closing);
            self.thread.ended_within(CLOSE).await;
        }
    }
}

struct Running<F> {
    address: Address,
    settings: RabbitMqSettings,
    permits: Permits,
    connection_status: ConnectionStatus,
    counters: Counters,
    phases: watch::Receiver<Phase>,
    take: F,
    pause: Backoff,
    /// Whether there was no connection yet.
    first: bool,
}

impl<F: Fn(AmqpMessages) + Send + Sync + 'static> Running<F> {
    async fn run(mut self) {
        let mut logged = String::new();
        while *self.phases.borrow() == Phase::Taking {
            let mut phases = self.phases.clone();
            let opened = tokio::select! {
                opened = self.open() => opened,
                _ = phases.wait_for(|phase| *phase > Phase::Taking) => return,
            };
            let ended = match opened {
                Ok(session) => {
                    logged.clear();
                    self.serve(session).await
                }
                Err(why) => Err(why),
            };
            let Err(why) = ended else { return };
            self.connection_status.lost(&why);
            log_once(&mut logged, &why);
            tokio::select! {
                () = tokio::time::sleep(self.pause.next()) => {}
                _ = phases.wait_for(|phase| *phase > Phase::Taking) => return,
            }
        }
    }

    async fn open(&mut self) -> Result<Session, String> {
        let connection = self.address.connect().await?;
        let failed = |error: lapin::Error| format!("RabbitMQ at {}: {error}", self.address.shown());
        let channel = declare(&connection, &self.settings).await?;
        let prefetch = self.settings.prefetch_within(memory_budget() / 2);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failed)?;
        let queue = self.settings.queue.as_str();
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await;
        let consumer = consumer.map_err(failed)?;
        tracing::info!(queue, server = self.address.shown(), "taking requests from rabbitmq");
        let first = std::mem::take(&mut self.first);
        Ok(Session::new(connection, channel, consumer, first, self.settings.max_message))
    }

    /// `Ok` when the process stops and everything in flight is settled, or has to be abandoned.
    async fn serve(&mut self, mut session: Session) -> Result<(), String> {
        self.connection_status.ready();
        self.pause.reset();
        let queue = self.settings.queue.clone();
        let lost = |error: lapin::Error| format!("the connection to RabbitMQ ended: {error}");
        let mut phases = self.phases.clone();
        let mut permit: Option<Permit> = None;
        loop {
            let phase = *phases.borrow_and_update();
            // those that were gathered in the last round as well
            session.reject_oversized(&self.counters).await.map_err(lost)?;
            if phase > Phase::Taking {
                session.stop_intake().await;
                session.give_back().await.map_err(lost)?;
            } else {
                session.due(&self.counters).for_each(|messages| (self.take)(messages));
                session.redelivered(&self.counters).into_iter().for_each(|messages| (self.take)(messages));
            }
            if phase == Phase::Closing || (phase == Phase::Finishing && session.unsettled.is_empty()) {
                return session.close().await;
            }
            if permit.is_none() && phase == Phase::Taking {
                permit = self.permits.try_take(1);
            }
            let takes_more = permit.is_some() && session.takes_more();
            let rest = if permit.is_none() && phase == Phase::Taking { PERMIT_CHECK } else { TICK };
            tokio::select! {
                biased;
                Some(first) = session.endings.recv() => {
                    session.settle(first, &self.connection_status, &self.counters).await.map_err(lost)?;
                }
                arrived = next(&mut session.consumer), if takes_more => match arrived {
                    Some(Ok(delivery)) => {
                        if let Some(permit) = permit.take() {
                            let messages = session.gather(delivery, permit, &self.permits, &self.counters);
                            if !messages.is_empty() {
                                (self.take)(messages);
                            }
                        }
                    }
                    Some(Err(error)) => return Err(lost(error)),
                    None => return Err(format!("queue {queue:?} of RabbitMQ was deleted, or its node went")),
                },
                changed = phases.changed() => if changed.is_err() {
                    return session.close().await;
                },
                () = tokio::time::sleep(rest) => {}
            }
            if !session.channel.status().connected() {
                return Err("the connection to RabbitMQ ended".to_owned());
            }
        }
    }
}
