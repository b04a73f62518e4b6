//! Sends answers, on its own connection and thread. An answer is done when the server confirms it; what was not
//! confirmed when a connection ended is sent again on the next one.

mod replied_exchange;
mod sender;

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use forebay_contract::{ItemId, RequestId};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use forebay_runtime::{Host, Metrics, StageSpan, StartError};
use parking_lot::Mutex;
use sender::Sender;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::connection::{Address, Thread};
use super::connection_status::ConnectionStatus;
use super::message::Answer;
use crate::{Ack, RabbitMqSettings};

/// Takes an answer that could not be sent in time, and the reason.
pub type GiveUp = Arc<dyn Fn(Answer, &str, Ack) + Send + Sync>;

/// Takes the items that another replica has replied to.
type RepliedElsewhere = Box<dyn Fn(&[ItemId]) + Send + Sync>;

struct Job {
    answer: Answer,
    ack: Ack,
    spans: Vec<StageSpan>,
    not_before: Option<Instant>,
    /// How often the server has refused it.
    refusals: u32,
}

/// Sends answers to RabbitMQ. Cheap to clone.
#[derive(Clone)]
pub struct AmqpSink(Arc<Inner>);

struct Inner {
    jobs: UnboundedSender<Job>,
    replied: UnboundedSender<ItemId>,
    replied_elsewhere: Arc<OnceLock<RepliedElsewhere>>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<Thread>>,
    exchange: Option<String>,
}

impl std::fmt::Debug for AmqpSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AmqpSink").field("exchange", &self.0.exchange).finish_non_exhaustive()
    }
}

impl AmqpSink {
    /// Starts the thread that connects and sends. The server need not be reachable yet.
    ///
    /// # Errors
    /// When `rabbitmq.url` is not an address, or the thread cannot start.
    pub fn start(host: &Host, settings: &RabbitMqSettings, give_up: GiveUp) -> Result<Self, StartError> {
        let settings = settings.clone();
        let address = Address::read(&settings, "forebay-publishing")?;
        let name = "rabbitmq answers".to_owned();
        let connection_status =
            ConnectionStatus::register(host, "publishing", name, "forebay_rabbitmq_answers_connected");
        let exchange = Some(settings.results_exchange.clone()).filter(|name| !name.is_empty());
        let (jobs, incoming) = unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let counters = Counters::register(host.metrics());
        let waiting = VecDeque::new();
        let heartbeat = connection_status.heartbeat();
        let (replied, settled) = unbounded_channel();
        let replied_elsewhere = Arc::new(OnceLock::new());
        // what tells the meshes of a virtual host apart
        let mesh = RequestId::of_key(&host.settings().topics.results, &settings.queue).to_string();
        let replies = RepliedItems { settled, unsent: Vec::new(), elsewhere: Arc::clone(&replied_elsewhere), mesh };
        let sender =
            Sender { address, settings, connection_status, counters, incoming, stopped, waiting, give_up, replies };
        let thread = Mutex::new(Some(Thread::start("rabbitmq-sink", heartbeat, sender.run())?));
        Ok(Self(Arc::new(Inner { jobs, replied, replied_elsewhere, stop, thread, exchange })))
    }

    /// The exchange that results go to besides `reply-to`.
    pub fn exchange(&self) -> Option<&str> {
        self.0.exchange.as_deref()
    }

    /// Sends an answer; `ack` is answered, and `spans` end, when the server has confirmed it, or has said that there is
    /// no such queue any more: then the client no longer waits.
    pub fn send(&self, answer: Answer, ack: Ack, spans: Vec<StageSpan>) {
        // a closed channel means the process is ending: the dropped ack is a nack, nothing is lost
        let _ = self.0.jobs.send(Job { answer, ack, spans, not_before: None, refusals: 0 });
    }

    /// Announces to the other replicas that `item` was replied to, so that none of them does so again.
    pub fn replied(&self, item: ItemId) {
        let _ = self.0.replied.send(item);
    }

    /// From now on `take` is given the items that other replicas have replied to. The first call counts.
    pub fn on_replied_elsewhere(&self, take: impl Fn(&[ItemId]) + Send + Sync + 'static) {
        let _ = self.0.replied_elsewhere.set(Box::new(take));
    }

    /// Disconnects when every answer is confirmed, or after `limit`.
    pub async fn close(self, limit: Duration) {
        let thread = self.0.thread.lock().take();
        self.0.stop.send_replace(true);
        let Some(thread) = thread else { return };
        if !thread.ended_within(limit).await {
            tracing::warn!("not every answer over rabbitmq was confirmed, the rest is made again");
        }
    }
}

/// What this replica has replied to, and what others have.
struct RepliedItems {
    settled: UnboundedReceiver<ItemId>,
    /// Items that are announced next.
    unsent: Vec<ItemId>,
    elsewhere: Arc<OnceLock<RepliedElsewhere>>,
    /// Names the mesh among those of a virtual host.
    mesh: String,
}

/// Items that are left when twice as many wait to be announced; the oldest are dropped.
const MOST_UNSENT: usize = 100_000;

impl RepliedItems {
    /// Collects what has been replied to by now.
    fn collect(&mut self) {
        while let Ok(item) = self.settled.try_recv() {
            self.unsent.push(item);
        }
        if self.unsent.len() > 2 * MOST_UNSENT {
            self.unsent.drain(..self.unsent.len() - MOST_UNSENT);
        }
    }

    fn on_announced(&self, items: &[ItemId]) {
        self.elsewhere.get().into_iter().for_each(|take| take(items));
    }
}

struct Counters {
    replied: Counter,
    returned: Counter,
    unconfirmed: Gauge,
}

impl Counters {
    fn register(metrics: &Metrics) -> Self {
        let group = metrics.group("forebay_rabbitmq_");
        Self {
            replied: group.add("replied", "Answers confirmed by the server"),
            returned: group.add("returned", "Answers whose queue was gone"),
            unconfirmed: group.add("unconfirmed", "Answers that wait to be sent or confirmed"),
        }
    }
}
