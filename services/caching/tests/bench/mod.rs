//! The stage between probes, with a second level that says what a test wants.
#![allow(dead_code, unreachable_pub, missing_debug_implementations, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_rt::Arbiter;
use bytes::Bytes;
use forebay_bus::{Ack, AckOutcome, Delivery};
use forebay_caching::{CacheError, CacheFuture, CacheWrite, DEFAULTS, Inlets, Outlets, RemoteCache, Settings, system};
use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{Batch, CacheKey, Failure, Features, Item, ItemId, Outcome, Prediction, Score};
use forebay_runtime::{CommonSettings, Host, Lifecycle, Metrics, Process, Telemetry};
use forebay_testkit::{ContextBuilder, context, probe, settings};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// No wait of a test is longer.
pub const LONG: Duration = Duration::from_secs(10);

pub fn features(n: u8) -> Features {
    Features {
        model: "m".into(),
        version: 3,
        label: "v3".into(),
        raw: vec![f64::from(n)],
        key: Bytes::copy_from_slice(&[n; 32]),
        ..Features::default()
    }
}

pub fn item(payload: Features) -> Item<Features> {
    item_within(payload, Duration::from_secs(60))
}

pub fn item_within(payload: Features, deadline: Duration) -> Item<Features> {
    item_of(payload, context().timeout(deadline))
}

pub fn sampled_item(payload: Features) -> Item<Features> {
    item_of(payload, context().sampled())
}

fn item_of(payload: Features, context: ContextBuilder) -> Item<Features> {
    Item { parent_span: 0x0102_0304_0506_0708, ..context.client_request_id("r").item(payload) }
}

pub fn value(value: f64) -> Score {
    Score { value, label: None, probabilities: Vec::new(), ..Score::default() }
}

pub type Said = Result<Score, Failure>;

pub fn score(value: f64) -> Said {
    Ok(self::value(value))
}

pub fn failure(code: &str) -> Said {
    Err(Failure { code: code.into(), message: "broken".into() })
}

pub fn outcome(item: &Item<Outcome>) -> (f64, bool) {
    match item.payload.result.as_ref().unwrap() {
        Answered::Answer(answer) => (answer.score.as_ref().unwrap().value, answer.cached),
        Answered::Failure(failure) => panic!("{failure:?}"),
    }
}

/// A batch that left the stage.
pub struct Left<P> {
    pub batch: Batch<P>,
    pub ack: Ack,
}

impl<P> From<(Batch<P>, Ack)> for Left<P> {
    fn from((batch, ack): (Batch<P>, Ack)) -> Self {
        Self { batch, ack }
    }
}

impl<P> Left<P> {
    /// Acks it; how many items it had.
    pub fn done(self) -> usize {
        self.ack.ack();
        self.batch.items.len()
    }
}

/// The end of a delivery that a test made.
pub struct Ended(oneshot::Receiver<AckOutcome>);

impl Ended {
    pub fn new() -> (Ack, Self) {
        let (ack, outcome) = probe::async_ack();
        (ack, Self(outcome))
    }

    pub async fn expect(self, outcome: AckOutcome) {
        assert_eq!(tokio::time::timeout(LONG, self.0).await.expect("no end").unwrap(), outcome);
    }

    /// Panics when the delivery has ended.
    #[track_caller]
    pub fn pending(&self) {
        assert!(self.0.is_empty(), "ended too early");
    }
}

pub struct Bench {
    pub inlets: Inlets,
    pub host: Host,
    predicted: UnboundedReceiver<(Batch<Features>, Ack)>,
    answered: UnboundedReceiver<(Batch<Outcome>, Ack)>,
}

impl Bench {
    pub fn memory(flags: &[&str]) -> Self {
        Self::build(flags, |settings, host, arbiter, outlets| {
            system::stage(settings, host, &arbiter.handle(), outlets).unwrap()
        })
    }

    pub fn with(level: &Level, flags: &[&str]) -> Self {
        let level: Arc<dyn RemoteCache> = Arc::new(level.clone());
        Self::build(flags, move |settings, host, arbiter, outlets| {
            system::stage_with(settings, host, &arbiter.handle(), outlets, move || Some(level))
        })
    }

    /// Over a real Redis.
    pub fn redis(url: &str, flags: &[&str]) -> Self {
        let set = format!("redis.url={url}");
        let flags: Vec<&str> = flags.iter().copied().chain([set.as_str()]).collect();
        Self::memory(&flags)
    }

    /// With spans that go to `telemetry`.
    pub fn traced(level: &Level, telemetry: Telemetry) -> Self {
        let level: Arc<dyn RemoteCache> = Arc::new(level.clone());
        let host = |shared| Host::new(Process::all_in_one("test"), shared, Lifecycle::new(), Metrics::new(), telemetry);
        Self::build_on(&[], host, move |settings, host, arbiter, outlets| {
            system::stage_with(settings, host, &arbiter.handle(), outlets, move || Some(level))
        })
    }

    pub fn build(flags: &[&str], start: impl FnOnce(&Settings, &Host, &Arbiter, Outlets) -> Inlets) -> Self {
        Self::build_on(flags, Host::detached, start)
    }

    fn build_on(
        flags: &[&str],
        host: impl FnOnce(CommonSettings) -> Host,
        start: impl FnOnce(&Settings, &Host, &Arbiter, Outlets) -> Inlets,
    ) -> Self {
        // what waits is answered when a test says so, however busy the machine
        let flags = [&["cache.max_wait=10s"], flags].concat();
        let sources = settings(&[forebay_redis::DEFAULTS, DEFAULTS]).flags(&flags);
        let settings = sources.read(Settings::read).unwrap();
        let host = host(sources.common());
        let (predict, predicted) = probe::async_outlet();
        let (results, answered) = probe::async_outlet();
        let arbiter = Arbiter::new();
        let inlets = start(&settings, &host, &arbiter, Outlets { predict, results });
        Self { inlets, host, predicted, answered }
    }

    pub fn submit(&self, items: Vec<Item<Features>>) -> Ended {
        let (ack, ended) = Ended::new();
        let payload = Batch { batch_partition: 2, stages: Vec::new(), items };
        self.inlets.features.deliver(Delivery { payload, ack });
        ended
    }

    pub fn land(&self, n: u8, said: Said) -> Ended {
        self.land_version(n, 3, said)
    }

    pub fn land_version(&self, n: u8, version: u32, said: Said) -> Ended {
        let (score, failure) = match said {
            Ok(score) => (Some(score), None),
            Err(failure) => (None, Some(failure)),
        };
        let key = Bytes::copy_from_slice(&[n; 32]);
        let prediction = Prediction { key, version, score, failure, model: "m".into() };
        let items = vec![item(Features::default()).with(prediction)];
        let (ack, ended) = Ended::new();
        self.inlets
            .predictions
            .deliver(Delivery { payload: Batch { batch_partition: 2, stages: Vec::new(), items }, ack });
        ended
    }

    pub async fn predicted(&mut self) -> Left<Features> {
        tokio::time::timeout(LONG, self.predicted.recv()).await.expect("nothing to predict").unwrap().into()
    }

    pub async fn answered(&mut self) -> Left<Outcome> {
        tokio::time::timeout(LONG, self.answered.recv()).await.expect("no answer").unwrap().into()
    }

    /// The items of the next batch on either way, acked.
    pub async fn anything(&mut self) -> Vec<ItemId> {
        fn ids<P>((batch, ack): (Batch<P>, Ack)) -> Vec<ItemId> {
            ack.ack();
            batch.items.iter().map(|item| item.context.item()).collect()
        }
        let next = async {
            tokio::select! {
                left = self.predicted.recv() => ids(left.unwrap()),
                left = self.answered.recv() => ids(left.unwrap()),
            }
        };
        tokio::time::timeout(LONG, next).await.expect("nothing leaves")
    }

    #[track_caller]
    pub fn nothing_more(&mut self) {
        assert!(self.predicted.try_recv().is_err() && self.answered.try_recv().is_err());
    }

    /// The value of a metric's line.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.host.metrics().encode().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or("0");
        line.trim().parse().unwrap()
    }
}

/// What a second level does.
pub enum Says {
    Values(Vec<(CacheKey, Vec<u8>)>),
    Nothing,
    Error,
    TooFew,
}

#[derive(Clone)]
pub struct Level(Arc<Inner>);

struct Inner {
    says: parking_lot::Mutex<Says>,
    looks: parking_lot::Mutex<Vec<usize>>,
    renewals: AtomicUsize,
    writes: UnboundedSender<Vec<CacheWrite>>,
    written: tokio::sync::Mutex<UnboundedReceiver<Vec<CacheWrite>>>,
}

impl Level {
    pub fn new(says: Says) -> Self {
        let (writes, written) = unbounded_channel();
        Self(Arc::new(Inner {
            says: says.into(),
            looks: parking_lot::Mutex::default(),
            renewals: AtomicUsize::new(0),
            writes,
            written: written.into(),
        }))
    }

    pub fn says(&self, says: Says) {
        *self.0.says.lock() = says;
    }

    /// How many keys each lookup had.
    pub fn looks(&self) -> Vec<usize> {
        self.0.looks.lock().clone()
    }

    pub fn renewals(&self) -> usize {
        self.0.renewals.load(Ordering::Relaxed)
    }

    /// What was stored next.
    pub async fn written(&self) -> Vec<CacheWrite> {
        tokio::time::timeout(LONG, async { self.0.written.lock().await.recv().await }).await.expect("no write").unwrap()
    }
}

impl RemoteCache for Level {
    fn get(&self, keys: Vec<CacheKey>) -> CacheFuture<Vec<Option<Vec<u8>>>> {
        self.0.looks.lock().push(keys.len());
        match &*self.0.says.lock() {
            Says::Nothing => Box::pin(std::future::pending()),
            Says::Error => Box::pin(async { Err(CacheError::Failed("connection refused".into())) }),
            Says::TooFew => Box::pin(async { Ok(Vec::new()) }),
            Says::Values(values) => {
                let find = |key| values.iter().find(|(known, _)| known == key).map(|(_, bytes)| bytes.clone());
                let found = keys.iter().map(find).collect();
                Box::pin(async { Ok(found) })
            }
        }
    }

    fn put(&self, writes: Vec<CacheWrite>) -> CacheFuture<()> {
        _ = self.0.writes.send(writes);
        Box::pin(async { Ok(()) })
    }

    fn reconnect(&self) {
        self.0.renewals.fetch_add(1, Ordering::Relaxed);
    }
}
