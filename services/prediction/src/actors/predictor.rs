//! Takes batches of features, gives turns to the work, and puts costly calls on threads of their own.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use actix_rt::task::JoinError;
use forebay_bus::Delivery;
use forebay_contract::{Batch, ErrorCode, Features, Problem, now_us};
use forebay_runtime::Component;
use tokio::time::error::Elapsed;

use crate::infer::Verdict;
use crate::work::{Group, Work};

/// A delivery for the stage.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Incoming(pub Delivery<Batch<Features>>);

/// Answers what is queued. Sent by the actor to itself, so that everything that has arrived is in the queue first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Turn;

/// Looks again at rows whose version is being loaded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Unpark;

/// Time between two looks.
const UNPARK: Duration = Duration::from_millis(20);

/// The stage's one actor.
pub(crate) struct Predictor {
    work: Work,
    /// A turn is on its way.
    turning: bool,
    /// A look at the parked rows is on its way.
    watching: bool,
    running: usize,
    threads: usize,
    /// Dropped with the actor: then the process goes down.
    _component: Component,
}

impl Predictor {
    pub(crate) fn new(work: Work, threads: usize, component: Component) -> Self {
        component.ready();
        Self { work, turning: false, watching: false, running: 0, threads, _component: component }
    }

    fn turn_soon(&mut self, context: &mut Context<Self>) {
        if !std::mem::replace(&mut self.turning, true) {
            context.notify(Turn);
        }
    }

    fn start_costly(&mut self, context: &mut Context<Self>) {
        while self.running < self.threads {
            let Some(group) = self.work.next_costly() else { break };
            self.running += 1;
            self.call(group, context);
        }
    }

    /// The thread gets a copy of the rows: when it takes too long they are answered without it.
    fn call(&self, group: Group, context: &mut Context<Self>) {
        let rows: Vec<Features> = group.jobs.iter().map(|job| job.item.payload.clone()).collect();
        let (pinned, inference, start_us) = (group.pinned.clone(), self.work.inference().clone(), now_us());
        let limit = inference.timeout();
        let call = actix_rt::task::spawn_blocking(move || inference.answer(&pinned, &rows.iter().collect::<Vec<_>>()));
        let call = tokio::time::timeout(limit, call).into_actor(self);
        let ended = call.map(move |ended, actor, context| actor.ended(group, ended, start_us, context));
        context.spawn(ended);
    }

    fn ended(
        &mut self,
        mut group: Group,
        ended: Result<Result<Vec<Verdict>, JoinError>, Elapsed>,
        start_us: u64,
        context: &mut Context<Self>,
    ) {
        match (ended, &group.pinned.version) {
            (Ok(Ok(verdicts)), _) => self.work.settle(group, verdicts, start_us),
            (Ok(Err(error)), _) => {
                let problem = Problem::new(ErrorCode::Internal, format!("inference ended without an answer: {error}"));
                self.fail(group, &problem, start_us);
            }
            (Err(_), Ok(version)) => {
                version.failed(std::time::Instant::now());
                group.pinned.version = Err(format!("did not answer within {:?}", self.work.inference().timeout()));
                return self.call(group, context);
            }
            (Err(_), Err(why)) => {
                let (model, number) = (&group.pinned.model, group.pinned.number);
                let message =
                    format!("no version of model {model:?} can answer: v{number} {why}; nor did its fallback");
                self.fail(group, &Problem::new(ErrorCode::ModelUnavailable, message), start_us);
            }
        }
        self.work.flush();
        self.running -= 1;
        self.start_costly(context);
    }

    fn fail(&mut self, group: Group, problem: &Problem, start_us: u64) {
        let verdicts = group.jobs.iter().map(|_| Verdict::Failed(problem.clone())).collect();
        self.work.settle(group, verdicts, start_us);
    }
}

impl Actor for Predictor {
    type Context = Context<Self>;
}

impl Handler<Incoming> for Predictor {
    type Result = ();

    fn handle(&mut self, Incoming(delivery): Incoming, context: &mut Self::Context) {
        self.work.take(delivery);
        self.turn_soon(context);
    }
}

impl Handler<Turn> for Predictor {
    type Result = ();

    fn handle(&mut self, _: Turn, context: &mut Self::Context) {
        self.turning = false;
        if self.work.turn() {
            self.turn_soon(context);
        }
        self.start_costly(context);
        if self.work.is_parked() && !std::mem::replace(&mut self.watching, true) {
            context.notify_later(Unpark, UNPARK);
        }
    }
}

impl Handler<Unpark> for Predictor {
    type Result = ();

    fn handle(&mut self, _: Unpark, context: &mut Self::Context) {
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
    use crate::fakes::{Mood, item, stable};
    use crate::settings::Settings;

    /// One row pinned to version 1, whose model is in this mood; Production is 3.
    fn answered(mood: Mood, flags: &[&str]) -> (u32, String) {
        let sources = settings(&[crate::DEFAULTS]).flags(flags);
        let section = sources.read(Settings::read).unwrap().prediction;
        let host = sources.host();
        let (results, rx) = probe::acking_outlet();
        let outlets = Outlets { results, predictions: probe::acking_outlet().0 };
        let stable = stable(&[(1, 1), (3, 1)], 3);
        stable.mood(1, mood);
        let scope = StageScope::new(&host, Stage::Prediction, "forebay.predict");
        let work = Work::new(scope, stable.versions.clone(), outlets, None, &section);
        let component = host.lifecycle().register("predictor");
        System::new().block_on(async move {
            let predictor = Predictor::new(work, section.threads, component).start();
            let payload = Batch { batch_partition: 0, stages: Vec::new(), items: vec![item(1, "m", 1, &[0.5])] };
            predictor.send(Incoming(Delivery { payload, ack: Ack::none() })).await.unwrap();
            let received = actix_rt::task::spawn_blocking(move || rx.recv_timeout(Duration::from_secs(20)).unwrap());
            match received.await.unwrap().items.remove(0).payload.result {
                Some(Wire::Answer(answer)) => (answer.version, answer.label),
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn a_costly_version_answers_from_a_thread() {
        assert_eq!(answered(Mood::Well, &["prediction.inline_row=0s"]), (1, "v1".to_owned()));
        assert_eq!(answered(Mood::Panics, &["prediction.inline_row=0s"]), (3, "v3".to_owned()));
    }

    #[test]
    fn a_version_that_does_not_come_back_is_replaced() {
        let flags = ["prediction.inline_row=0s", "prediction.infer_timeout=50ms"];
        assert_eq!(answered(Mood::Sleeps(Duration::from_secs(1)), &flags), (3, "v3".to_owned()));
    }
}
