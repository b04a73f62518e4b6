//! The stage's work in the order it is done: rows wait in a queue, leave it in groups of one version, are answered, and
//! go to their deliveries. Never waits to fill a batch: a turn takes what is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_bus::{Delivery, StageScope};
use forebay_contract::{
    Answer, Batch, ErrorCode, Features, Item, Outcome, Prediction, Problem, Score, now_us, wire::Failure,
};

use crate::deliveries::{Deliveries, Outlets};
use crate::infer::{Inference, Pinned, Verdict};
use crate::priority::PriorityTimes;
use crate::queue::{Job, Queue};
use crate::settings::Prediction as Section;
use crate::shadow::Shadow;
use crate::trace;
use crate::version::Version;
use crate::versions::{Found, Versions};

/// Rows that are answered by one call.
#[derive(Debug)]
pub(crate) struct Group {
    pub pinned: Pinned,
    pub jobs: Vec<Job>,
}

/// Everything between the edges.
#[derive(Debug)]
pub(crate) struct Work {
    scope: StageScope,
    versions: Arc<Versions>,
    inference: Inference,
    outlets: Outlets,
    shadow: Option<Shadow>,
    queue: Queue,
    /// Rows of versions that run on threads of their own.
    costly: Queue,
    /// Rows of versions that are being loaded.
    parked: Vec<Job>,
    deliveries: Deliveries,
    batch: usize,
    inline_row: Duration,
    times: PriorityTimes,
}

impl Work {
    pub(crate) fn new(
        scope: StageScope,
        versions: Arc<Versions>,
        outlets: Outlets,
        shadow: Option<Shadow>,
        section: &Section,
    ) -> Self {
        Self {
            times: PriorityTimes::new(scope.metrics()),
            scope,
            inference: Inference::new(Arc::clone(&versions), section.infer_timeout),
            versions,
            outlets,
            shadow,
            queue: Queue::new(section.max_age),
            costly: Queue::new(section.max_age),
            parked: Vec::new(),
            deliveries: Deliveries::default(),
            batch: section.batch,
            inline_row: section.inline_row,
        }
    }

    /// Puts a delivery's rows into the queue.
    pub(crate) fn take(&mut self, delivery: Delivery<Batch<Features>>) {
        let entered = self.scope.enter(delivery.payload);
        let (place, items) = self.deliveries.open(entered, delivery.ack);
        let arrived = Instant::now();
        items.into_iter().for_each(|item| self.queue.push(Job { item, delivery: place, arrived }));
    }

    /// Answers what is queued, up to a batch; `true` when there is more.
    pub(crate) fn turn(&mut self) -> bool {
        for (found, group) in self.next_groups() {
            match found {
                Found::Loading => self.park(group),
                _ if self.is_costly(&group) => group.jobs.into_iter().for_each(|job| self.costly.push(job)),
                _ => self.answer(group),
            }
        }
        self.flush();
        !self.queue.is_empty()
    }

    /// A group for a thread of its own, if one waits.
    pub(crate) fn next_costly(&mut self) -> Option<Group> {
        let now = Instant::now();
        let first = loop {
            let job = self.costly.pop(now)?;
            match self.expire(job, now_us()) {
                Some(job) => break job,
                None => self.flush(),
            }
        };
        let (model, number) = (first.item.payload.model.clone(), first.item.payload.version);
        let mut room = self.batch - 1;
        let mut jobs = vec![first];
        jobs.extend(self.costly.extract(|job| {
            let taken = room > 0 && job.item.payload.version == number && job.item.payload.model == model;
            room -= usize::from(taken);
            taken
        }));
        let version = version(self.versions.find(&model, number));
        Some(Group { pinned: Pinned { model, number, version }, jobs })
    }

    /// Gives the rows of a group their answers.
    pub(crate) fn settle(&mut self, group: Group, verdicts: Vec<Verdict>, start_us: u64) {
        trace::spans(self.scope.tracer(), &group, &verdicts, start_us, now_us());
        self.times.observe(&group.jobs, Instant::now());
        if let Some(shadow) = &self.shadow {
            shadow.offer(&group, &verdicts);
        }
        for (job, verdict) in group.jobs.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Answered { version, score } => self.answered(job, &version, score),
                Verdict::Failed(problem) => self.failed(job, problem),
            }
        }
    }

    /// Sends what has become ready.
    pub(crate) fn flush(&mut self) {
        self.deliveries.flush(&self.outlets, &self.scope);
    }

    /// Rows that wait for a version go back into the queue, to be looked at again; `false` when there were none.
    pub(crate) fn unpark(&mut self) -> bool {
        let parked = !self.parked.is_empty();
        self.parked.drain(..).for_each(|job| self.queue.push(job));
        parked
    }

    /// Whether rows wait for a version that is being loaded.
    pub(crate) fn is_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// What calls the models.
    pub(crate) fn inference(&self) -> &Inference {
        &self.inference
    }

    fn next_groups(&mut self) -> Vec<(Found, Group)> {
        let (now, now_us) = (Instant::now(), now_us());
        let mut groups: Vec<(Found, Group)> = Vec::new();
        for _ in 0..self.batch {
            let Some(job) = self.queue.pop(now) else { break };
            let Some(job) = self.expire(job, now_us) else { continue };
            let Features { model, version: number, .. } = &job.item.payload;
            let known =
                groups.iter_mut().find(|(_, group)| group.pinned.number == *number && group.pinned.model == *model);
            match known {
                Some((_, group)) => group.jobs.push(job),
                None => {
                    let found = self.versions.find(model, *number);
                    let pinned = Pinned { model: model.clone(), number: *number, version: version(found.clone()) };
                    groups.push((found, Group { pinned, jobs: vec![job] }));
                }
            }
        }
        groups
    }

    /// A group is as costly as the version that would answer it first.
    fn is_costly(&self, group: &Group) -> bool {
        let Pinned { model, number, version } = &group.pinned;
        let cost = match version {
            Ok(version) => version.row_cost(),
            Err(_) => self.versions.chain(model, *number).first().map_or(Duration::ZERO, |it| it.row_cost()),
        };
        cost > self.inline_row
    }

    /// Keeps rows until their version is loaded, or until three quarters of their time are over.
    fn park(&mut self, mut group: Group) {
        let now = now_us();
        let patient = |job: &mut Job| {
            let (accepted, deadline) = (job.item.context.accepted_us(), job.item.context.deadline_us());
            now < deadline - deadline.saturating_sub(accepted) / 4
        };
        self.parked.extend(group.jobs.extract_if(.., patient));
        if !group.jobs.is_empty() {
            self.answer(group);
        }
    }

    fn answer(&mut self, group: Group) {
        let start_us = now_us();
        let rows: Vec<&Features> = group.jobs.iter().map(|job| &job.item.payload).collect();
        let verdicts = self.inference.answer(&group.pinned, &rows);
        self.settle(group, verdicts, start_us);
    }

    /// The job, unless its deadline has passed.
    fn expire(&mut self, job: Job, now_us: u64) -> Option<Job> {
        if !job.item.context.expired(now_us) {
            return Some(job);
        }
        let message = format!("the deadline passed in the queue of model {:?}", job.item.payload.model);
        self.failed(job, Problem::new(ErrorCode::DeadlineExceeded, message));
        None
    }

    fn answered(&mut self, mut job: Job, version: &Version, score: Score) {
        let pinned = std::mem::take(&mut job.item.payload);
        let fallback = version.number() != pinned.version;
        let said = if fallback {
            version.metrics.fallbacks.inc();
            Err(format!("{} answered in place of v{}", version.label(), pinned.version))
        } else {
            Ok(score.clone())
        };
        let prediction = prediction(&job.item, &pinned, said);
        if let Some(spans) = self.deliveries.spans(job.delivery) {
            spans.end(&job.item.context);
        }
        let (label, fallback_from) = match fallback {
            false => (pinned.label, pinned.fallback_from),
            true if pinned.fallback_from.is_empty() => (version.label().to_owned(), pinned.label),
            true => (version.label().to_owned(), pinned.fallback_from),
        };
        let (score, number) = (Some(score), version.number());
        let answer = Answer { score, model: pinned.model, version: number, label, fallback_from, cached: false };
        self.deliveries.done(job.delivery, job.item.with(Outcome::from(answer)), prediction);
    }

    fn failed(&mut self, mut job: Job, problem: Problem) {
        let pinned = std::mem::take(&mut job.item.payload);
        let prediction = prediction(&job.item, &pinned, Err(problem.message.clone()));
        let Some(spans) = self.deliveries.spans(job.delivery) else { return };
        let outcome = self.scope.fail(job.item, problem, spans);
        self.deliveries.done(job.delivery, outcome, prediction);
    }
}

fn version(found: Found) -> Result<Arc<Version>, String> {
    match found {
        Found::Ready(version) => Ok(version),
        Found::Loading => Err("is still being loaded".to_owned()),
        Found::Failed(why) => Err(why),
    }
}

/// What the cache is told: a score only under the version that gave it.
fn prediction(item: &Item<Features>, pinned: &Features, said: Result<Score, String>) -> Option<Item<Prediction>> {
    if pinned.key.is_empty() {
        return None;
    }
    let (score, failure) = match said {
        Ok(score) => (Some(score), None),
        Err(message) => (None, Some(Failure { code: ErrorCode::ModelUnavailable.as_str().to_owned(), message })),
    };
    let payload =
        Prediction { key: pinned.key.clone(), version: pinned.version, score, failure, model: pinned.model.clone() };
    Some(Item { context: item.context.clone(), parent_span: item.parent_span, attempt: item.attempt, payload })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use forebay_bus::{Ack, AckOutcome};
    use forebay_contract::wire::outcome::Result as Wire;
    use forebay_testkit::{probe, settings};

    use super::*;
    use crate::fakes::{Mood, Stable, item, stable};
    use crate::settings::Settings;
    use crate::versions::Wish;

    struct Bench {
        work: Work,
        stable: Stable,
        results: Receiver<(Batch<Outcome>, Ack)>,
        predictions: Receiver<Batch<Prediction>>,
    }

    fn bench(flags: &[&str]) -> Bench {
        let sources = settings(&[crate::DEFAULTS]).flags(flags);
        let section = sources.read(Settings::read).unwrap().prediction;
        let host = sources.host();
        let (results_out, results) = probe::outlet();
        let (predictions_out, predictions) = probe::acking_outlet();
        let outlets = Outlets { results: results_out, predictions: predictions_out };
        let stable = stable(&[(1, 1), (2, 1), (3, 1)], 3);
        let scope = StageScope::new(&host, forebay_contract::Stage::Prediction, "forebay.predict");
        let work = Work::new(scope, Arc::clone(&stable.versions), outlets, None, &section);
        Bench { work, stable, results, predictions }
    }

    impl Bench {
        fn deliver(&mut self, batch_partition: u32, items: Vec<Item<Features>>) -> Receiver<AckOutcome> {
            let (delivery, outcome) = probe::delivery(batch_partition, items);
            self.work.take(delivery);
            outcome
        }
    }

    fn told(outcome: &Item<Outcome>) -> (f64, u32, &str, &str) {
        match &outcome.payload.result {
            Some(Wire::Answer(answer)) => {
                assert!(!answer.cached && answer.model == "m");
                (answer.score.as_ref().unwrap().value, answer.version, &answer.label, &answer.fallback_from)
            }
            other => panic!("{other:?}"),
        }
    }

    fn code(outcome: &Item<Outcome>) -> &str {
        match &outcome.payload.result {
            Some(Wire::Failure(failure)) => &failure.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_delivery_of_mixed_versions_leaves_as_one_batch() {
        let mut bench = bench(&[]);
        let items = vec![item(1, "m", 1, &[0.5]), item(1, "m", 3, &[0.5]), item(1, "m", 1, &[0.25])];
        let asks: Vec<_> = items.iter().map(|it| it.context.request_id()).collect();
        let before = bench.stable.calls(1);
        let acked = bench.deliver(5, items);
        assert!(!bench.work.turn());
        let (batch, ack) = bench.results.try_recv().unwrap();
        assert_eq!(bench.stable.calls(1) - before, 1, "one call for both rows of version 1");
        assert_eq!(batch.batch_partition, 5);
        assert!(batch.stages.last().unwrap().left_us > 0);
        let mut answers: Vec<_> = batch
            .items
            .iter()
            .map(|it| (asks.iter().position(|ask| *ask == it.context.request_id()), told(it)))
            .collect();
        answers.sort_by_key(|(index, _)| *index);
        assert_eq!(answers[0], (Some(0), (10.5, 1, "v1", "")));
        assert_eq!(answers[1], (Some(1), (30.5, 3, "v3", "")));
        assert_eq!(answers[2], (Some(2), (10.25, 1, "v1", "")));
        assert!(acked.try_recv().is_err(), "the ack belongs to the outlet");
        ack.ack();
        assert_eq!(acked.try_recv(), Ok(AckOutcome::Done));
        let predictions = bench.predictions.try_recv().unwrap();
        assert_eq!((predictions.batch_partition, predictions.items.len()), (5, 3));
        assert!(predictions.items.iter().all(|it| it.payload.score.is_some() && it.payload.key.len() == 32));
    }

    #[test]
    fn a_fallback_answers_the_caller_and_fails_the_key() {
        let mut bench = bench(&[]);
        bench.stable.mood(1, Mood::Panics);
        let mut pinned_for_another = item(1, "m", 1, &[0.5]);
        pinned_for_another.payload.fallback_from = "v9".into();
        let _acked = bench.deliver(0, vec![item(1, "m", 1, &[0.5]), pinned_for_another]);
        bench.work.turn();
        let (batch, ack) = bench.results.try_recv().unwrap();
        ack.ack();
        assert_eq!(told(&batch.items[0]), (30.5, 3, "v3", "v1"));
        assert_eq!(told(&batch.items[1]), (30.5, 3, "v3", "v9"), "what the client asked for");
        let prediction = &bench.predictions.try_recv().unwrap().items[0].payload;
        assert_eq!((prediction.version, &prediction.score), (1, &None));
        assert_eq!(prediction.failure.as_ref().unwrap().message, "v3 answered in place of v1");
    }

    #[test]
    fn with_nobody_left_the_outcome_and_the_prediction_are_failures() {
        let mut bench = bench(&[]);
        (1..=3).for_each(|version| bench.stable.mood(version, Mood::Refuses));
        let _acked = bench.deliver(0, vec![item(1, "m", 3, &[0.5])]);
        bench.work.turn();
        let (batch, ack) = bench.results.try_recv().unwrap();
        ack.ack();
        assert_eq!(code(&batch.items[0]), "model_unavailable");
        assert!(bench.predictions.try_recv().unwrap().items[0].payload.failure.is_some());
    }

    #[test]
    fn urgent_rows_of_a_later_delivery_go_first_and_parts_leave_early() {
        let mut bench = bench(&["prediction.batch=2", "prediction.max_age=1h"]);
        let slow = bench.deliver(1, vec![item(5, "m", 3, &[1.0]), item(1, "m", 3, &[2.0]), item(5, "m", 3, &[3.0])]);
        let _fast = bench.deliver(2, vec![item(-1, "m", 3, &[4.0])]);
        assert!(bench.work.turn());
        let mut first: Vec<_> = bench.results.try_iter().collect();
        first.sort_by_key(|(batch, _)| batch.batch_partition);
        let values: Vec<_> = first.iter().map(|(batch, _)| (batch.batch_partition, told(&batch.items[0]).0)).collect();
        assert_eq!(values, [(1, 32.0), (2, 34.0)]);
        assert!(!bench.work.turn());
        let (rest, last) = bench.results.try_recv().unwrap();
        assert_eq!(rest.items.iter().map(|it| told(it).0).collect::<Vec<_>>(), [31.0, 33.0]);
        first.into_iter().for_each(|(_, ack)| ack.ack());
        assert!(slow.try_recv().is_err(), "not before its last part is safe");
        last.ack();
        assert_eq!(slow.try_recv(), Ok(AckOutcome::Done));
    }

    #[test]
    fn rows_of_a_version_that_is_not_loaded_wait_for_it() {
        let mut bench = bench(&[]);
        let acked = bench.deliver(0, vec![item(1, "m", 7, &[0.5]), item(1, "m", 1, &[0.5])]);
        assert!(!bench.work.turn());
        let (batch, ack) = bench.results.try_recv().unwrap();
        assert_eq!(told(&batch.items[0]).1, 1, "others do not wait");
        ack.ack();
        assert_eq!(bench.stable.wanted.try_recv(), Ok(Wish::Version(("m".to_owned(), 7))));
        assert!(bench.work.is_parked() && acked.try_recv().is_err());
        let seven = stable(&[(7, 1)], 7).versions.table();
        let mut table = (*bench.stable.versions.table()).clone();
        let slots = &mut table.models.get_mut("m").unwrap().slots;
        slots.extend(seven.models["m"].slots.clone());
        bench.stable.versions.replace(table);
        assert!(bench.work.unpark());
        bench.work.turn();
        let (batch, ack) = bench.results.try_recv().unwrap();
        assert_eq!(told(&batch.items[0]), (70.5, 7, "v7", ""));
        ack.ack();
        assert_eq!(acked.try_recv(), Ok(AckOutcome::Done));
    }

    #[test]
    fn an_expired_delivery_is_answered_at_once() {
        let mut bench = bench(&[]);
        let late = Item { context: crate::fakes::late_context(), ..item(1, "m", 1, &[0.5]) };
        let acked = bench.deliver(0, vec![late]);
        bench.work.turn();
        let (batch, ack) = bench.results.try_recv().unwrap();
        assert_eq!(code(&batch.items[0]), "deadline_exceeded");
        ack.ack();
        assert_eq!(acked.try_recv(), Ok(AckOutcome::Done));
        assert_eq!(bench.stable.calls(1), bench.stable.calls(3), "nothing was computed");
    }

    #[test]
    fn costly_versions_wait_for_a_thread_in_groups() {
        let mut bench = bench(&["prediction.inline_row=0s", "prediction.batch=2"]);
        let rows = [(1, 1, 1.0), (1, 2, 2.0), (0, 1, 3.0), (1, 1, 4.0)];
        let _acked =
            bench.deliver(0, rows.map(|(priority, version, value)| item(priority, "m", version, &[value])).into());
        while bench.work.turn() {}
        assert!(bench.results.try_recv().is_err());
        let next = |bench: &mut Bench| {
            let group = bench.work.next_costly().unwrap();
            let rows: Vec<f64> = group.jobs.iter().map(|job| job.item.payload.raw[0]).collect();
            let asked: Vec<Features> = group.jobs.iter().map(|job| job.item.payload.clone()).collect();
            let verdicts = bench.work.inference().answer(&group.pinned, &asked.iter().collect::<Vec<_>>());
            bench.work.settle(group, verdicts, 0);
            rows
        };
        assert_eq!(next(&mut bench), [3.0, 1.0]);
        assert_eq!(next(&mut bench), [2.0]);
        assert_eq!(next(&mut bench), [4.0]);
        assert!(bench.work.next_costly().is_none());
        bench.work.flush();
        let (batch, ack) = bench.results.try_recv().unwrap();
        assert_eq!(batch.items.len(), 4);
        ack.ack();
    }
}
