//! The wiring: who talks to whom, and nothing else.

use std::sync::Arc;
use std::sync::mpsc::channel;

use actix::Actor;
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::kafka::{Edges, Route};
use forebay_bus::{Inlet, StageScope};
use forebay_contract::{Features, Stage};
use forebay_runtime::{Drain, Host, StartError};

use crate::actors::{Incoming, Predictor};
pub use crate::deliveries::Outlets;
use crate::load::Loader;
use crate::metrics::ModelMetrics;
use crate::settings::Settings;
use crate::shadow::Shadow;
use crate::versions::Versions;
use crate::work::Work;

/// The stage on whatever edges it is given.
///
/// # Errors
/// When one of its threads cannot start.
pub fn stage(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
) -> Result<Inlet<Features>, StartError> {
    let section = &settings.prediction;
    let metrics = ModelMetrics::register(host.metrics());
    let (loader, wanted) = channel();
    let versions = Arc::new(Versions::new(loader));
    let loader = Loader {
        versions: Arc::downgrade(&versions),
        wanted,
        models: host.shared().models.clone(),
        warm: section.warm,
        every: host.shared().models.refresh,
        policy: section.breaker(),
        metrics: metrics.clone(),
        component: host.lifecycle().register("prediction models"),
    };
    loader.spawn().map_err(StartError::failed)?;
    let shadow = Shadow::spawn(&settings.shadows, &versions, metrics).map_err(StartError::failed)?;
    let scope = StageScope::new(host, Stage::Prediction, &host.shared().topics.predict);
    let component = host.lifecycle().register("prediction predictor");
    let (work, threads) = (Work::new(scope, versions, outlets, shadow, section), section.threads);
    let predictor = Predictor::start_in_arbiter(arbiter, move |_| Predictor::new(work, threads, component));
    #[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
    let inlet = Inlet::new(move |delivery| predictor.do_send(Incoming(delivery)));
    Ok(inlet)
}

/// The stage over Kafka: the separate form.
///
/// # Errors
/// When an edge or the stage cannot start.
pub async fn start(settings: Settings, host: Host) -> Result<impl Drain, StartError> {
    let mut edges = Edges::open(&host, "prediction")?;
    let topics = &host.shared().topics;
    let outlets = Outlets {
        results: edges.outlet(&topics.results, Route::Home),
        predictions: edges.outlet(&topics.predictions, Route::Travel),
    };
    let arbiter = Arbiter::new();
    let inlet = stage(&settings, &host, &arbiter.handle(), outlets)?;
    edges.consume(&topics.predict, "forebay-prediction", inlet)?;
    Ok(edges)
}
