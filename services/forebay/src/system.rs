//! The wiring of the stages that run here, from the last to the first. An edge is memory where both its ends run here,
//! and Kafka where one does not; the stages cannot tell.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::amqp::{AmqpSink, AmqpSource};
use forebay_bus::kafka::{Assigned, DeadLetters, Edges, Follow, RawSource, Route};
use forebay_bus::{Inlet, ModelDirectory, NoEvents, Outlet, Permits, stage_name};
use forebay_contract::{Features, Outcome, Prediction, Request, Stage};
use forebay_ingestion::system::{self as ingestion, HttpDoor, Ingestion, Place};
use forebay_publishing::{answers as publishing_answers, system as publishing};
use forebay_runtime::{Drain, Host, StartError};

use crate::settings::Settings;
use crate::stages::Stages;

/// The stages at work.
pub(crate) struct Running {
    http: Option<HttpDoor>,
    edges: Vec<Edges>,
    source: Option<AmqpSource>,
    sink: Option<AmqpSink>,
    limit: Duration,
}

impl Running {
    /// The HTTP door, if it is here.
    pub(crate) fn http(&self) -> Option<&HttpDoor> {
        self.http.as_ref()
    }
}

impl Drain for Running {
    /// Intake stops everywhere; the doors stay open for answers until nobody waits, and only then are the edges closed.
    async fn drain(self) {
        let holds: Vec<_> = self.edges.iter().filter_map(|edges| edges.permits().try_take(1)).collect();
        let limit = self.limit.mul_f64(0.6);
        let callers = async move {
            let http = async {
                if let Some(http) = self.http {
                    http.close(limit).await;
                }
            };
            tokio::join!(http, ingestion::finish(self.source, limit));
            drop(holds);
        };
        let edges = async move {
            let drains = self.edges.into_iter().map(Drain::drain);
            futures_util::future::join_all(drains).await;
        };
        tokio::join!(callers, edges);
        // the last: what drained before was answered over it
        publishing::leave(self.sink).await;
    }
}

/// Starts the stages.
pub(crate) async fn start(
    settings: Settings,
    host: &Host,
    stages: &Stages,
    kafka: bool,
) -> Result<Running, StartError> {
    let arbiter = Arbiter::new();
    let arbiter = arbiter.handle();
    let (edges, directory) = (Vec::new(), ModelDirectory::of(host));
    let mut wiring = Wiring { settings, host, stages, kafka, arbiter, edges, directory, source: None, sink: None };
    wiring.follow_directory()?;
    let (replies, answer) = late();
    let publishing = wiring.publishing(replies)?;
    let (predictions, landed) = late();
    let prediction = wiring.prediction(publishing.as_ref(), predictions)?;
    let caching = wiring.caching(publishing.as_ref(), prediction, landed)?;
    let preprocessing = wiring.preprocessing(publishing.as_ref(), caching)?;
    let http = wiring.ingestion(publishing, preprocessing, answer)?;
    let Wiring { edges, source, sink, .. } = wiring;
    let edges = edges.into_iter().map(|(_, edges)| edges).collect();
    Ok(Running { http, edges, source, sink, limit: host.settings().delivery.drain })
}

/// An outlet to a stage that is not built yet: the path has two loops, replies and predictions. Nothing is sent before
/// the loop is closed, because sources start last.
fn late<P: 'static>() -> (Outlet<P>, impl FnOnce(Inlet<P>)) {
    let inlet: Arc<OnceLock<Inlet<P>>> = Arc::default();
    let closed = Arc::clone(&inlet);
    let outlet = Outlet::new(move |payload, ack| {
        // an ack dropped here is a nack: nothing is lost, even if something were sent too early
        if let Some(inlet) = closed.get() {
            inlet.deliver(forebay_bus::Delivery { payload, ack });
        }
    });
    (outlet, move |built| drop(inlet.set(built)))
}

struct Wiring<'a> {
    settings: Settings,
    host: &'a Host,
    stages: &'a Stages,
    kafka: bool,
    arbiter: ArbiterHandle,
    edges: Vec<(Stage, Edges)>,
    directory: ModelDirectory,
    source: Option<AmqpSource>,
    sink: Option<AmqpSink>,
}

impl Wiring<'_> {
    /// The Kafka edges of a stage, opened when the first is needed.
    fn edges(&mut self, stage: Stage) -> Result<&mut Edges, StartError> {
        if !self.edges.iter().any(|(known, _)| *known == stage) {
            self.edges.push((stage, Edges::open(self.host, stage_name(stage))?));
        }
        let found = self.edges.iter_mut().find(|(known, _)| *known == stage);
        found.map(|(_, edges)| edges).ok_or_else(|| StartError::failed("an edge that was opened is gone"))
    }

    /// The stages here share one model directory. It is on the topic as well where others may read it or have to write it.
    fn follow_directory(&mut self) -> Result<(), StartError> {
        let concerned = [Stage::Prediction, Stage::Preprocessing, Stage::Ingestion];
        let Some(stage) = concerned.into_iter().find(|stage| self.stages.has(*stage)) else { return Ok(()) };
        if !self.kafka && self.stages.whole() {
            return Ok(());
        }
        let directory = self.directory.clone();
        self.edges(stage)?.follow_directory(&directory, stage == Stage::Prediction)
    }

    /// Where `stage` sends outcomes.
    fn results(&mut self, stage: Stage, publishing: Option<&Inlet<Outcome>>) -> Result<Outlet<Outcome>, StartError> {
        match publishing.filter(|_| self.stages.outcomes_stay()) {
            Some(inlet) => Ok(Outlet::memory(inlet.clone())),
            None => {
                let topic = self.host.settings().topics.results.clone();
                Ok(self.edges(stage)?.outlet(&topic, Route::ResultPartition))
            }
        }
    }

    fn publishing(&mut self, replies: Outlet<Outcome>) -> Result<Option<Inlet<Outcome>>, StartError> {
        if !self.stages.has(Stage::Publishing) {
            return Ok(None);
        }
        let (stay, topics) = (self.stages.outcomes_stay(), &self.host.settings().topics);
        let replies =
            if stay { replies } else { self.edges(Stage::Publishing)?.outlet(&topics.replies, Route::ReplyPartition) };
        let outside = match self.kafka {
            true => Some(publishing::outside(self.edges(Stage::Publishing)?, &topics.results_out)),
            false => None,
        };
        let letters = if self.kafka { Some(self.edges(Stage::Publishing)?.dead_letters()) } else { None };
        let (answers, sink) = publishing_answers::open(self.host, letters)?.unzip();
        self.sink = sink;
        let outlets = publishing::Outlets { outside, answers, replies };
        let stage = publishing::stage(&self.settings.publishing, self.host, &self.arbiter, outlets)?;
        let host = self.host;
        if !stay {
            let edges = self.edges(Stage::Publishing)?;
            let take_over = publishing::take_over(edges, host, stage.rebuild.clone());
            edges.on_first(take_over);
            edges.consume(&topics.results, "forebay-publishing", stage.inlet.clone())?;
        } else if self.kafka {
            // here a partition of the source topic stands for a take-over: its requests may have been answered before
            let edges = self.edges(Stage::Ingestion)?;
            let take_over = publishing::take_over_of_source(edges, host, stage.rebuild.clone());
            edges.on_first(take_over);
        }
        Ok(Some(stage.inlet))
    }

    fn prediction(
        &mut self,
        publishing: Option<&Inlet<Outcome>>,
        predictions: Outlet<Prediction>,
    ) -> Result<Option<Inlet<Features>>, StartError> {
        if !self.stages.has(Stage::Prediction) {
            return Ok(None);
        }
        let joined = self.stages.joined(Stage::Caching, Stage::Prediction);
        let topics = &self.host.settings().topics;
        let results = self.results(Stage::Prediction, publishing)?;
        let predictions = if joined {
            predictions
        } else {
            self.edges(Stage::Prediction)?.outlet(&topics.predictions, Route::BatchPartition)
        };
        let outlets = forebay_prediction::system::Outlets { results, predictions };
        let (settings, directory) = (&self.settings.prediction, &self.directory);
        let inlet = forebay_prediction::system::stage(settings, self.host, &self.arbiter, outlets, directory)?;
        if !joined {
            self.edges(Stage::Prediction)?.consume(&topics.predict, "forebay-prediction", inlet.clone())?;
        }
        Ok(Some(inlet))
    }

    fn caching(
        &mut self,
        publishing: Option<&Inlet<Outcome>>,
        prediction: Option<Inlet<Features>>,
        landed: impl FnOnce(Inlet<Prediction>),
    ) -> Result<Option<Inlet<Features>>, StartError> {
        if !self.stages.has(Stage::Caching) {
            return Ok(None);
        }
        let topics = &self.host.settings().topics;
        let results = self.results(Stage::Caching, publishing)?;
        let joined = prediction.is_some();
        let predict = match prediction {
            Some(inlet) => Outlet::memory(inlet),
            None => self.edges(Stage::Caching)?.outlet(&topics.predict, Route::BatchPartition),
        };
        let outlets = forebay_caching::system::Outlets { predict, results };
        let inlets = forebay_caching::system::stage(&self.settings.caching, self.host, &self.arbiter, outlets)?;
        let assigned = Assigned::default();
        if joined {
            landed(inlets.predictions);
        } else {
            let follow = Follow::Assigned(assigned.clone());
            self.edges(Stage::Caching)?.follow(&topics.predictions, follow, inlets.predictions)?;
        }
        if !self.stages.has(Stage::Preprocessing) {
            let features = inlets.features.clone();
            self.edges(Stage::Caching)?.consume_with(&topics.features, "forebay-caching", features, &assigned)?;
        }
        Ok(Some(inlets.features))
    }

    fn preprocessing(
        &mut self,
        publishing: Option<&Inlet<Outcome>>,
        caching: Option<Inlet<Features>>,
    ) -> Result<Option<Inlet<Request>>, StartError> {
        if !self.stages.has(Stage::Preprocessing) {
            return Ok(None);
        }
        let topics = &self.host.settings().topics;
        let results = self.results(Stage::Preprocessing, publishing)?;
        let features = match caching {
            Some(inlet) => Outlet::memory(inlet),
            None => self.edges(Stage::Preprocessing)?.outlet(&topics.features, Route::BatchPartition),
        };
        let outlets = forebay_preprocessing::system::Outlets { features, results };
        let (settings, directory) = (&self.settings.preprocessing, &self.directory);
        let inlet = forebay_preprocessing::system::stage(settings, self.host, &self.arbiter, outlets, directory)?;
        if !self.stages.has(Stage::Ingestion) {
            self.edges(Stage::Preprocessing)?.consume(&topics.requests, "forebay-preprocessing", inlet.clone())?;
        }
        Ok(Some(inlet))
    }

    fn ingestion(
        &mut self,
        publishing: Option<Inlet<Outcome>>,
        preprocessing: Option<Inlet<Request>>,
        answer: impl FnOnce(Inlet<Outcome>),
    ) -> Result<Option<HttpDoor>, StartError> {
        if !self.stages.has(Stage::Ingestion) {
            return Ok(None);
        }
        let shared = self.host.settings();
        let topics = &shared.topics;
        let results = self.results(Stage::Ingestion, publishing.as_ref())?;
        let joined = preprocessing.is_some();
        let requests = match preprocessing {
            Some(inlet) => Outlet::memory(inlet),
            None => self.edges(Stage::Ingestion)?.outlet(&topics.requests, Route::BatchPartition),
        };
        let dead_letters = match self.kafka {
            true => self.edges(Stage::Ingestion)?.dead_letters(),
            false => DeadLetters::logged("ingestion", Arc::new(NoEvents)),
        };
        let partitions = u32::try_from(shared.kafka.partitions).unwrap_or(1);
        let gather = if joined { Duration::ZERO } else { self.settings.ingestion.ingestion.gather };
        let place = if self.kafka { Place::replica(partitions, gather) } else { Place::memory() };
        let outlets = ingestion::Outlets { requests, results, dead_letters };
        let (settings, directory) = (&self.settings.ingestion, &self.directory);
        let stage = ingestion::stage(settings, self.host, &self.arbiter, outlets, place, directory)?;
        if self.stages.outcomes_stay() {
            answer(stage.replies.clone());
        } else {
            let mine = Follow::Partitions(vec![place.origin.reply_partition]);
            self.edges(Stage::Ingestion)?.follow(&topics.replies, mine, stage.replies.clone())?;
        }
        self.doors(&stage)
    }

    fn doors(&mut self, stage: &Ingestion) -> Result<Option<HttpDoor>, StartError> {
        let shared = self.host.settings();
        if self.kafka && self.settings.ingestion.ingestion.kafka_door {
            let (topic, group) = (shared.topics.requests_in.clone(), shared.kafka.consumer_group.clone());
            let take = Arc::clone(&stage.kafka_door);
            let source = RawSource { topic, group, from_latest: true };
            self.edges(Stage::Ingestion)?.consume_raw(&source, move |delivery| take(delivery))?;
        }
        let permits = match self.edges.iter().find(|(stage, _)| *stage == Stage::Ingestion) {
            Some((_, edges)) => edges.permits().clone(),
            None => Permits::new(shared.delivery.in_flight),
        };
        self.source = stage.serve_amqp(self.host, permits)?;
        stage.serve_http(self.host).map(Some)
    }
}
