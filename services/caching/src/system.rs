//! The wiring: one actor, two ways in, two ways out.

use std::sync::Arc;

use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::{Inlet, Mesh, Permits, StageScope};
use forebay_contract::edges::{FEATURES, PREDICT, PREDICTIONS, RESULTS};
use forebay_contract::{Features, Prediction, Stage};
use forebay_runtime::{Drain, Host, StartError};

use crate::actors::{Cacher, Landed, Lookup, Release};
use crate::keeper::Keeper;
use crate::metrics::CacheMetrics;
pub use crate::outlets::Outlets;
use crate::redis_level::RedisLevel;
use crate::second_level::SecondLevel;
use crate::settings::Settings;

/// Where the stage receives.
#[derive(Clone, Debug)]
pub struct Inlets {
    /// Questions.
    pub features: Inlet<Features>,
    /// What prediction said, for the store and for those who wait. Advisory: acked at hand-over, dropped and counted when
    /// too many wait.
    pub predictions: Inlet<Prediction>,
    cacher: Addr<Cacher>,
}

impl Inlets {
    /// Sends every waiter on as a miss: the partitions go to another replica, and the answers with them.
    #[expect(clippy::disallowed_methods, reason = "one message per rebalance")]
    pub fn release_all(&self) {
        self.cacher.do_send(Release);
    }
}

/// The stage on whatever edges it is given.
///
/// # Errors
/// When one of the `redis` settings cannot be used.
pub fn stage(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
) -> Result<Inlets, StartError> {
    if settings.redis.url.is_empty() {
        return Ok(stage_with(settings, host, arbiter, outlets, || None));
    }
    let client = settings.redis.client().map_err(|refused| StartError::setting(refused.key, refused.text))?;
    let prefix = settings.redis.prefix.clone();
    // The connection lives on the runtime that opens it, so it is opened on the arbiter.
    let open = move || match RedisLevel::with_client(client, prefix) {
        Ok(level) => Some(Arc::new(level) as Arc<dyn SecondLevel>),
        Err(error) => {
            tracing::error!(%error, "redis cannot be used, answers are kept in memory only");
            None
        }
    };
    Ok(stage_with(settings, host, arbiter, outlets, open))
}

/// The stage with a second level of the caller's choice, which is opened on the arbiter.
pub fn stage_with(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
    open: impl FnOnce() -> Option<Arc<dyn SecondLevel>> + Send + 'static,
) -> Inlets {
    let scope = StageScope::new(host, Stage::Caching, &host.settings().topics.features);
    let metrics = CacheMetrics::register(host.metrics());
    let dropped = metrics.dropped_predictions.clone();
    let component = host.lifecycle().register("cacher");
    let timeout = settings.redis.timeout;
    let owned = settings.clone();
    let cacher = Cacher::start_in_arbiter(arbiter, move |_| {
        let second = open();
        let keeper = Keeper::new(&owned, second.is_some(), scope, metrics.clone(), outlets);
        Cacher { keeper, second, timeout, metrics, component, storing: 0, armed: None }
    });
    let features = Inlet::new({
        let cacher = cacher.clone();
        #[expect(clippy::disallowed_methods, reason = "the permits of unfinished work bound the mailbox")]
        move |delivery| cacher.do_send(Lookup(delivery))
    });
    let pending = Permits::new(settings.cache.pending_stores);
    let predictions = Inlet::new({
        let cacher = cacher.clone();
        #[expect(clippy::disallowed_methods, reason = "a pool of permits of their own bounds them in the mailbox")]
        move |delivery: forebay_bus::Delivery<forebay_contract::Batch<Prediction>>| {
            let items = delivery.payload.items;
            delivery.ack.ack();
            match pending.try_take(items.len()) {
                Some(permit) => cacher.do_send(Landed(items, permit)),
                None => _ = dropped.inc_by(items.len() as u64),
            }
        }
    });
    Inlets { features, predictions, cacher }
}

/// The stage on the edges of its process.
///
/// # Errors
/// When Redis or the Kafka client refuses its settings.
pub fn start(settings: &Settings, mesh: &mut Mesh, arbiter: &ArbiterHandle) -> Result<(), StartError> {
    let host = mesh.host().clone();
    let outlets =
        Outlets { predict: mesh.outlet(Stage::Caching, &PREDICT)?, results: mesh.outlet(Stage::Caching, &RESULTS)? };
    let inlets = stage(settings, &host, arbiter, outlets)?;
    if !mesh.is_in_memory(PREDICTIONS.spec()) {
        // the partitions go to another replica, and their predictions with them
        let waiting = inlets.clone();
        mesh.on_revoke(Stage::Caching, move || waiting.release_all())?;
    }
    mesh.serve(&PREDICTIONS, inlets.predictions)?;
    mesh.serve(&FEATURES, inlets.features)
}

/// The stage as the only one of its process.
///
/// # Errors
/// As [`start`].
pub async fn run(settings: Settings, host: Host) -> Result<impl Drain, StartError> {
    let mut mesh = Mesh::of_stage(&host, Stage::Caching);
    start(&settings, &mut mesh, &Arbiter::new().handle())?;
    mesh.run()
}
