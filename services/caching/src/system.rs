//! The wiring of the stage: its edges and its actor.

use std::sync::Arc;

use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::{BusSettings, Inlet, Mesh, Permits, StageScope};
use forebay_contract::edges::{FEATURES, PREDICT, PREDICTIONS, RESULTS};
use forebay_contract::{Features, Prediction, Stage};
use forebay_runtime::{Drain, Host, StartError};

use crate::actors::{CacheActor, LookUp, ReleaseWaiters, StorePredictions};
use crate::lookup::CacheStage;
use crate::metrics::CacheMetrics;
pub use crate::outlets::Outlets;
use crate::redis_cache::RedisCache;
use crate::remote::RemoteCache;
use crate::settings::Settings;

/// The edges that the stage receives from.
#[derive(Clone, Debug)]
pub struct Inlets {
    /// Rows to answer, from preprocessing.
    pub features: Inlet<Features>,
    /// Predictions to store, which also answer waiting rows. Advisory: acknowledged on receipt, and dropped and counted
    /// if too many are pending.
    pub predictions: Inlet<Prediction>,
    actor: Addr<CacheActor>,
}

impl Inlets {
    /// Sends every waiter on as a miss: the partitions move to another replica, and so do the answers.
    #[expect(clippy::disallowed_methods, reason = "one message per rebalance")]
    pub fn release_all(&self) {
        self.actor.do_send(ReleaseWaiters);
    }
}

/// Starts the stage on the given edges.
///
/// # Errors
/// Returns an error if one of the `redis` settings cannot be used.
pub fn stage(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
) -> Result<Inlets, StartError> {
    if settings.redis.url.is_empty() {
        return Ok(stage_with(settings, host, arbiter, outlets, || None));
    }
    let client = settings.redis.client().map_err(|invalid| StartError::setting(invalid.key, invalid.text))?;
    let prefix = settings.redis.prefix.clone();
    // a connection belongs to the runtime that opens it, so it is opened on the arbiter
    let open = move || match RedisCache::with_client(client, prefix) {
        Ok(cache) => Some(Arc::new(cache) as Arc<dyn RemoteCache>),
        Err(error) => {
            tracing::error!(%error, "redis cannot be used, answers are cached in memory only");
            None
        }
    };
    Ok(stage_with(settings, host, arbiter, outlets, open))
}

/// Starts the stage with the L2 cache that `open` returns; it is called on the arbiter.
pub fn stage_with(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
    open: impl FnOnce() -> Option<Arc<dyn RemoteCache>> + Send + 'static,
) -> Inlets {
    let scope = StageScope::new(host, Stage::Caching, &host.settings().topics.features);
    let metrics = CacheMetrics::register(host.metrics());
    let dropped = metrics.dropped_predictions.clone();
    let component = host.lifecycle().register("cache");
    let heartbeat = component.heartbeat();
    let l2_timeout = settings.redis.timeout;
    let owned = settings.clone();
    let actor = CacheActor::start_in_arbiter(arbiter, move |_| {
        let l2 = open();
        let stage = CacheStage::new(&owned, l2.is_some(), scope, metrics.clone(), outlets);
        CacheActor { stage, l2, l2_timeout, metrics, component, heartbeat, writing: 0, timer: None }
    });
    let features = Inlet::new({
        let actor = actor.clone();
        #[expect(clippy::disallowed_methods, reason = "the permits of unfinished work bound the mailbox")]
        move |delivery| actor.do_send(LookUp(delivery))
    });
    let pending = Permits::new(settings.cache.pending_stores);
    let predictions = Inlet::new({
        let actor = actor.clone();
        #[expect(clippy::disallowed_methods, reason = "separate permits bound them in the mailbox")]
        move |delivery: forebay_bus::Delivery<forebay_contract::Batch<Prediction>>| {
            let items = delivery.payload.items;
            delivery.ack.ack();
            match pending.try_take(items.len()) {
                Some(permit) => actor.do_send(StorePredictions(items, permit)),
                None => _ = dropped.inc_by(items.len() as u64),
            }
        }
    });
    Inlets { features, predictions, actor }
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
pub async fn run((bus, settings): (BusSettings, Settings), host: Host) -> Result<impl Drain, StartError> {
    let mut mesh = Mesh::of_stage(&host, bus, Stage::Caching);
    start(&settings, &mut mesh, &Arbiter::new().handle())?;
    mesh.run()
}
