//! Takes batches of features, lets the work answer them, and runs slow calls on separate threads.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use actix_rt::task::JoinError;
use forebay_bus::Delivery;
use forebay_contract::{Batch, ErrorCode, Features, Problem, now_us};
use forebay_runtime::{Component, Heartbeat};
use tokio::time::error::Elapsed;

use crate::infer::RowResult;
use crate::loader_commands::VersionName;
use crate::queue::RowGroup;
use crate::work::Work;

/// A delivery for the stage has arrived.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FeaturesReceived(pub Delivery<Batch<Features>>);

/// Answers queued rows. The actor sends it to itself, behind the deliveries that have arrived, so their rows are queued
/// first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct AnswerQueued;

/// Queues the rows again whose version is being loaded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct RetryParked;

/// Time between two tries of those rows.
const RETRY: Duration = Duration::from_millis(20);

/// The one actor of the stage.
pub(crate) struct Predictor {
    work: Work,
    /// Whether an [`AnswerQueued`] is in the mailbox.
    turning: bool,
    /// Whether a [`RetryParked`] is scheduled.
    watching: bool,
    /// Calls on the threads that versions share.
    running: usize,
    threads: usize,
    /// Versions whose own thread is in a call.
    alone: Vec<VersionName>,
    heartbeat: Heartbeat,
    /// Dropping it, with the actor, ends the process.
    _component: Component,
}

impl Predictor {
    pub(crate) fn new(work: Work, threads: usize, component: Component) -> Self {
        component.ready();
        let heartbeat = component.heartbeat();
        Self {
            work,
            turning: false,
            watching: false,
            running: 0,
            threads,
            alone: Vec::new(),
            heartbeat,
            _component: component,
        }
    }

    fn turn_soon(&mut self, context: &mut Context<Self>) {
        if !std::mem::replace(&mut self.turning, true) {
            context.notify(AnswerQueued);
        }
    }

    fn start_slow(&mut self, context: &mut Context<Self>) {
        while self.running < self.threads {
            let Some(group) = self.work.next_slow() else { break };
            self.running += 1;
            self.call(group, None, context);
        }
        while let Some(group) = self.work.next_alone(&self.alone) {
            let own = (group.pinned.model.clone(), group.pinned.number);
            self.alone.push(own.clone());
            self.call(group, Some(own), context);
        }
    }

    /// Calls the model on another thread, that of the version `own` if there is one, which gets a copy of the rows: when it
    /// takes too long they are answered without it.
    fn call(&self, group: RowGroup, own: Option<VersionName>, context: &mut Context<Self>) {
        let rows: Vec<Features> = group.rows.iter().map(|row| row.item.payload.clone()).collect();
        let (pinned, inference, start_us) = (group.pinned.clone(), self.work.inference().clone(), now_us());
        let limit = inference.timeout();
        let call = actix_rt::task::spawn_blocking(move || inference.answer(&pinned, &rows.iter().collect::<Vec<_>>()));
        let call = tokio::time::timeout(limit, call).into_actor(self);
        let ended = call.map(move |ended, actor, context| actor.ended((group, own), ended, start_us, context));
        context.spawn(ended);
    }

    fn ended(
        &mut self,
        (mut group, own): (RowGroup, Option<VersionName>),
        ended: Result<Result<Vec<RowResult>, JoinError>, Elapsed>,
        start_us: u64,
        context: &mut Context<Self>,
    ) {
        match (ended, &group.pinned.version) {
            (Ok(Ok(results)), _) => self.work.settle(group, results, start_us),
            (Ok(Err(error)), _) => {
                let problem = Problem::new(ErrorCode::Internal, format!("inference ended without an answer: {error}"));
                self.fail(group, &problem, start_us);
            }
            (Err(_), Ok(version)) => {
                version.failed(std::time::Instant::now());
                group.pinned.version = Err(format!("did not answer within {:?}", self.work.inference().timeout()));
                return self.call(group, own, context);
            }
            (Err(_), Err(why)) => {
                let (model, number) = (&group.pinned.model, group.pinned.number);
                let message =
                    format!("no version of model {model:?} can answer: v{number} {why}; nor did its fallback");
                self.fail(group, &Problem::new(ErrorCode::ModelUnavailable, message), start_us);
            }
        }
        self.work.flush();
        match own {
            Some(own) => self.alone.retain(|version| *version != own),
            None => self.running -= 1,
        }
        self.start_slow(context);
    }

    fn fail(&mut self, group: RowGroup, problem: &Problem, start_us: u64) {
        let results = group.rows.iter().map(|_| RowResult::Failed(problem.clone())).collect();
        self.work.settle(group, results, start_us);
    }
}

impl Actor for Predictor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        actix::spawn(self.heartbeat.clone().beat_from_task());
    }
}

impl Handler<FeaturesReceived> for Predictor {
    type Result = ();

    fn handle(&mut self, FeaturesReceived(delivery): FeaturesReceived, context: &mut Self::Context) {
        // here as well: no timer runs while the mailbox is never empty
        self.heartbeat.beat();
        self.work.take(delivery);
        self.turn_soon(context);
    }
}

impl Handler<AnswerQueued> for Predictor {
    type Result = ();

    fn handle(&mut self, _: AnswerQueued, context: &mut Self::Context) {
        self.turning = false;
        if self.work.turn() {
            self.turn_soon(context);
        }
        self.start_slow(context);
        if self.work.is_parked() && !std::mem::replace(&mut self.watching, true) {
            context.notify_later(RetryParked, RETRY);
        }
    }
}

impl Handler<RetryParked> for Predictor {
    type Result = ();

    fn handle(&mut self, _: RetryParked, context: &mut Self::Context) {
        self.watching = false;
        if self.work.unpark() {
            self.turn_soon(context);
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_rt::System;
    use forebay_bus::{Ack, StageScope};
    use forebay_contract::Stage;
    use forebay_contract::wire::outcome::Result as Wire;
    use forebay_testkit::{probe, settings};

    use super::*;
    use crate::deliveries::Outlets;
    use crate::fakes::{Behavior, costly_versions, fake_versions, item};
    use crate::settings::Settings;

    /// The answer to one row that is pinned to version 1, whose model behaves so; production is version 3.
    fn answered(behavior: Behavior, flags: &[&str]) -> (u32, String) {
        let sources = settings(&[crate::DEFAULTS]).flags(flags);
        let section = sources.read(Settings::read).unwrap().prediction;
        let host = sources.host();
        let (results, rx) = probe::acking_outlet();
        let outlets = Outlets { results, predictions: probe::acking_outlet().0, later: None };
        let fake_versions = fake_versions(&[(1, 1), (3, 1)], 3);
        fake_versions.set_behavior(1, behavior);
        let scope = StageScope::new(&host, Stage::Prediction, "forebay.predict");
        let work = Work::new(scope, fake_versions.versions.clone(), outlets, None, &section, 512);
        let component = host.lifecycle().register("predictor");
        System::new().block_on(async move {
            let predictor = Predictor::new(work, section.threads, component).start();
            let payload = Batch { batch_partition: 0, stages: Vec::new(), items: vec![item(1, "m", 1, &[0.5])] };
            predictor.send(FeaturesReceived(Delivery { payload, ack: Ack::none() })).await.unwrap();
            let received = actix_rt::task::spawn_blocking(move || rx.recv_timeout(Duration::from_secs(20)).unwrap());
            match received.await.unwrap().items.remove(0).payload.result {
                Some(Wire::Answer(answer)) => (answer.version, answer.label),
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn a_slow_version_answers_from_a_thread() {
        assert_eq!(answered(Behavior::Correct, &["prediction.inline_row=0s"]), (1, "v1".to_owned()));
        assert_eq!(answered(Behavior::Panics, &["prediction.inline_row=0s"]), (3, "v3".to_owned()));
    }

    /// The versions that answered a row of version 1, which takes `heavy` for one and sleeps in the call, and one of version 3, in
    /// order. Both are too slow for the arbiter, and versions share one thread.
    fn order_beside_a_heavy_version(heavy: Duration) -> Vec<u32> {
        let sources = settings(&[crate::DEFAULTS]);
        let section = sources.read(Settings::read).unwrap().prediction;
        let host = sources.host();
        let (results, rx) = probe::acking_outlet();
        let outlets = Outlets { results, predictions: probe::acking_outlet().0, later: None };
        let cost = |version| Some(if version == 1 { heavy } else { Duration::from_millis(1) });
        let fake_versions = costly_versions(&[(1, 1), (3, 1)], 3, cost);
        fake_versions.set_behavior(1, Behavior::Sleeps(Duration::from_millis(400)));
        let scope = StageScope::new(&host, Stage::Prediction, "forebay.predict");
        let work = Work::new(scope, fake_versions.versions.clone(), outlets, None, &section, 512);
        let component = host.lifecycle().register("predictor");
        System::new().block_on(async move {
            let predictor = Predictor::new(work, section.threads, component).start();
            for version in [1, 3] {
                let items = vec![item(1, "m", version, &[0.5])];
                let payload = Batch { batch_partition: 0, stages: Vec::new(), items };
                predictor.send(FeaturesReceived(Delivery { payload, ack: Ack::none() })).await.unwrap();
                // the call has begun
                actix_rt::time::sleep(Duration::from_millis(50)).await;
            }
            let received = actix_rt::task::spawn_blocking(move || {
                let one = || rx.recv_timeout(Duration::from_secs(20)).unwrap().items.remove(0).payload.result;
                [one(), one()].map(|result| match result {
                    Some(Wire::Answer(answer)) => answer.version,
                    other => panic!("{other:?}"),
                })
            });
            received.await.unwrap().to_vec()
        })
    }

    #[test]
    fn a_heavy_version_has_a_thread_of_its_own() {
        assert_eq!(order_beside_a_heavy_version(Duration::from_millis(21)), [3, 1]);
        assert_eq!(order_beside_a_heavy_version(Duration::from_millis(19)), [1, 3]);
    }

    #[test]
    fn a_version_that_does_not_come_back_is_replaced() {
        let flags = ["prediction.inline_row=0s", "prediction.infer_timeout=50ms"];
        assert_eq!(answered(Behavior::Sleeps(Duration::from_secs(1)), &flags), (3, "v3".to_owned()));
    }
}
