//! Receives batches of requests, sends features to caching and failures to publishing.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use forebay_bus::{Ack, Delivery, Entered, ModelDirectory, StageScope};
use forebay_contract::{Batch, ErrorCode, Features, Outcome, Problem, Request, now_us};
use forebay_runtime::{Component, Heartbeat};

use crate::catalog::ModelCatalog;
use crate::outlets::Outlets;
use crate::prepare::prepare;

/// A delivery for the stage.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Incoming(pub Delivery<Batch<Request>>);

/// Checks whether the registry has been read, for the batches that wait for it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Retry;

/// Time between two such checks.
const RETRY: Duration = Duration::from_millis(20);

/// The stage's one actor.
pub(crate) struct Preparer {
    scope: StageScope,
    catalog: ModelCatalog,
    directory: ModelDirectory,
    outlets: Outlets,
    /// Batches that arrived before the registry was read. The permits of the edges bound their number.
    held: Vec<(Entered<Request>, Ack)>,
    heartbeat: Heartbeat,
    /// Dropped with the actor, which ends the process.
    _component: Component,
}

impl Preparer {
    pub(crate) fn new(
        scope: StageScope,
        (catalog, directory): (ModelCatalog, ModelDirectory),
        outlets: Outlets,
        component: Component,
    ) -> Self {
        component.ready();
        let heartbeat = component.heartbeat();
        Self { scope, catalog, directory, outlets, held: Vec::new(), heartbeat, _component: component }
    }

    fn work(&mut self, mut entered: Entered<Request>, ack: Ack) {
        let snapshot = self.catalog.snapshot();
        let Some(snapshot) = snapshot.as_ref() else {
            return self.held.push((entered, ack));
        };
        let mut features = entered.batch.onward::<Features>();
        let mut results = entered.batch.onward::<Outcome>();
        results.items = std::mem::take(&mut entered.expired);
        let items = std::mem::take(&mut entered.batch.items);
        let (scope, spans) = (&self.scope, &mut entered.spans);
        let unloaded = |model: &str| self.directory.is_unloaded(model);
        prepare(snapshot, &unloaded, items, &mut features.items, |item, problem| {
            results.items.push(scope.fail(item, problem, spans))
        });
        features.leave();
        results.leave();
        self.scope.leave(entered.entered_us);
        self.outlets.results.send(results, ack.share());
        self.outlets.features.send(features, ack);
    }

    /// Answers the requests whose deadline has passed while they waited.
    fn expire(&mut self) {
        let now = now_us();
        for (entered, ack) in &mut self.held {
            let mut results = entered.batch.onward::<Outcome>();
            results.items = std::mem::take(&mut entered.expired);
            for item in entered.batch.items.extract_if(.., |item| item.context.expired(now)) {
                let problem = Problem::new(
                    ErrorCode::DeadlineExceeded,
                    "deadline passed before preprocessing had a model registry",
                );
                results.items.push(self.scope.fail(item, problem, &mut entered.spans));
            }
            results.leave();
            self.outlets.results.send(results, ack.share());
        }
        // a batch without items is done: its own share is all that is left
        for (_, ack) in self.held.extract_if(.., |(entered, _)| entered.batch.items.is_empty()) {
            ack.ack();
        }
    }
}

impl Actor for Preparer {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        actix::spawn(self.heartbeat.clone().beat_from_task());
    }
}

impl Handler<Incoming> for Preparer {
    type Result = ();

    fn handle(&mut self, Incoming(delivery): Incoming, context: &mut Self::Context) {
        // here as well: no timer runs while the mailbox is never empty
        self.heartbeat.beat();
        let idle = self.held.is_empty();
        let entered = self.scope.enter(delivery.payload);
        self.work(entered, delivery.ack);
        if idle && !self.held.is_empty() {
            context.notify_later(Retry, RETRY);
        }
    }
}

impl Handler<Retry> for Preparer {
    type Result = ();

    fn handle(&mut self, _: Retry, context: &mut Self::Context) {
        if self.catalog.snapshot().is_none() {
            self.expire();
            if !self.held.is_empty() {
                context.notify_later(Retry, RETRY);
            }
            return;
        }
        for (entered, ack) in std::mem::take(&mut self.held) {
            self.work(entered, ack);
        }
    }
}
