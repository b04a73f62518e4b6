//! The work of the stage: rows wait in a queue, leave it in groups of one version, are answered, and go back to their
//! deliveries. A turn takes the rows that are there; it never waits to fill a batch.

mod cache_entry;
mod slow_calls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_entry::prediction;
use forebay_bus::{Delivery, StageScope};
use forebay_contract::{Answer, Batch, ErrorCode, Features, Outcome, Problem, Score, now_us};
use slow_calls::Pace;

use crate::deliveries::{Deliveries, Outlets};
use crate::infer::{Inference, PinnedVersion, RowResult};
use crate::priority::PriorityTimes;
use crate::queue::{Queue, QueuedRow, RowGroup};
use crate::settings::PredictionSettings;
use crate::shadow::ShadowScorer;
use crate::share::{ModelShare, ShareAdmission};
use crate::slow_queue::SlowQueue;
use crate::trace;
use crate::version::Version;
use crate::versions::{VersionLookup, Versions};

/// A row that has waited is answered only while this, or a tenth of its whole time if that is less, is left for the way of
/// its answer. Under overload the oldest rows are next, and every call would end just too late.
const RETURN_TIME: Duration = Duration::from_millis(100);

/// The rows in the stage and everything that answers them.
#[derive(Debug)]
pub(crate) struct Work {
    scope: StageScope,
    versions: Arc<Versions>,
    inference: Inference,
    outlets: Outlets,
    shadow: Option<ShadowScorer>,
    queue: Queue,
    /// Rows of versions that run on separate threads.
    slow: SlowQueue,
    /// Rows of versions that have a thread of their own.
    alone: SlowQueue,
    /// Rows of versions that are being loaded.
    parked: Vec<QueuedRow>,
    deliveries: Deliveries,
    share: ModelShare,
    batch: usize,
    inline_row: Duration,
    times: PriorityTimes,
    /// How long a row may wait for a version that is being loaded: one version must not hold up the others.
    longest_parked: Duration,
}

impl Work {
    pub(crate) fn new(
        scope: StageScope,
        versions: Arc<Versions>,
        outlets: Outlets,
        shadow: Option<ShadowScorer>,
        section: &PredictionSettings,
        in_flight: usize,
    ) -> Self {
        Self {
            times: PriorityTimes::new(scope.metrics()),
            longest_parked: Duration::MAX,
            scope,
            inference: Inference::new(Arc::clone(&versions), section.infer_timeout),
            versions,
            share: ModelShare::new(in_flight, outlets.later.is_some()),
            outlets,
            shadow,
            queue: Queue::new(section.max_age),
            slow: SlowQueue::new(section.max_age),
            alone: SlowQueue::new(section.max_age),
            parked: Vec::new(),
            deliveries: Deliveries::default(),
            batch: section.batch,
            inline_row: section.inline_row,
        }
    }

    /// The same, where rows wait for a version for at most so long.
    pub(crate) fn parking_for(self, longest_parked: Duration) -> Self {
        Self { longest_parked, ..self }
    }

    /// Puts a delivery's rows into the queue.
    pub(crate) fn take(&mut self, delivery: Delivery<Batch<Features>>) {
        let entered = self.scope.enter(delivery.payload);
        let (index, items) = self.deliveries.open(entered, delivery.ack);
        let (now, now_us) = (Instant::now(), now_us());
        let mut left = false;
        for item in items {
            let admission = self.share.enter(&item, self.outlets.later.is_some());
            let row = QueuedRow::arriving(item, index, now, now_us);
            left |= admission != ShareAdmission::Taken;
            match admission {
                ShareAdmission::Taken => self.queue.push(row),
                ShareAdmission::Later => self.put_off(row),
                ShareAdmission::Refused => {
                    let message = format!("model {:?} has too much work in flight", row.item.payload.model);
                    self.refuse(row, Problem::new(ErrorCode::Overloaded, message));
                }
            }
        }
        if left {
            self.flush();
        }
    }

    /// Answers queued rows, up to a batch; `true` when there are more.
    pub(crate) fn turn(&mut self) -> bool {
        for (found, mut group) in self.next_groups() {
            if matches!(found, VersionLookup::Loading) {
                self.park(&mut group);
                if group.rows.is_empty() {
                    continue;
                }
            }
            match self.pace(&group) {
                Pace::Inline => self.answer(group),
                Pace::Shared => group.rows.into_iter().for_each(|row| self.slow.push(row)),
                Pace::Alone => group.rows.into_iter().for_each(|row| self.alone.push(row)),
            }
        }
        self.flush();
        !self.queue.is_empty()
    }

    /// Passes the results of a group on: to its deliveries, the traces, the metrics and the shadows.
    pub(crate) fn settle(&mut self, group: RowGroup, results: Vec<RowResult>, start_us: u64) {
        trace::spans(self.scope.tracer(), &group, &results, start_us, now_us());
        self.times.observe(&group.rows, Instant::now());
        if let Some(shadow) = &self.shadow {
            shadow.offer(&group, &results);
        }
        for (row, result) in group.rows.into_iter().zip(results) {
            match result {
                RowResult::Answered { version, score } => self.answered(row, &version, score),
                RowResult::Failed(problem) => self.failed(row, problem),
            }
        }
    }

    /// Sends the results that are ready.
    pub(crate) fn flush(&mut self) {
        self.deliveries.flush(&self.outlets, &self.scope);
    }

    /// Puts the rows that wait for a version back into the queue; `false` when there were none.
    pub(crate) fn unpark(&mut self) -> bool {
        let parked = !self.parked.is_empty();
        self.parked.drain(..).for_each(|row| self.queue.push(row));
        parked
    }

    /// Whether rows wait for a version that is being loaded.
    pub(crate) fn is_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// The part that calls the models, for calls on other threads.
    pub(crate) fn inference(&self) -> &Inference {
        &self.inference
    }

    fn next_groups(&mut self) -> Vec<(VersionLookup, RowGroup)> {
        let (now, now_us) = (Instant::now(), now_us());
        let mut groups: Vec<(VersionLookup, RowGroup)> = Vec::new();
        for _ in 0..self.batch {
            let Some(row) = self.queue.pop(now) else { break };
            let Some(row) = self.expire(row, now_us, Duration::ZERO) else { continue };
            let Features { model, version: number, .. } = &row.item.payload;
            let known =
                groups.iter_mut().find(|(_, group)| group.pinned.number == *number && group.pinned.model == *model);
            match known {
                Some((_, group)) => group.rows.push(row),
                None => {
                    let found = self.versions.find(model, *number);
                    let pinned =
                        PinnedVersion { model: model.clone(), number: *number, version: found.clone().version() };
                    groups.push((found, RowGroup { pinned, rows: vec![row] }));
                }
            }
        }
        groups
    }

    /// Keeps rows until their version is loaded or three quarters of their time have passed, and leaves the others. None is
    /// kept so long that its partition would be held back.
    fn park(&mut self, group: &mut RowGroup) {
        let now = now_us();
        let longest = u64::try_from(self.longest_parked.as_micros()).unwrap_or(u64::MAX);
        let patient = |row: &mut QueuedRow| {
            let (accepted, deadline) = (row.item.context.accepted_us(), row.item.context.deadline_us());
            let time = deadline.saturating_sub(accepted);
            now < accepted.saturating_add(longest.min(time - time / 4))
        };
        self.parked.extend(group.rows.extract_if(.., patient));
    }

    fn answer(&mut self, group: RowGroup) {
        let start_us = now_us();
        let rows: Vec<&Features> = group.rows.iter().map(|row| &row.item.payload).collect();
        let results = self.inference.answer(&group.pinned, &rows);
        self.settle(group, results, start_us);
    }

    /// The row, unless an answer that takes `call` would come after its deadline; then it is answered with an error.
    fn expire(&mut self, row: QueuedRow, now_us: u64, call: Duration) -> Option<QueuedRow> {
        let (accepted, deadline) = (row.item.context.accepted_us(), row.item.context.deadline_us());
        let way_back = Duration::from_micros(deadline.saturating_sub(accepted) / 10).min(RETURN_TIME);
        let needed = u64::try_from((call + way_back).as_micros()).unwrap_or(u64::MAX);
        if now_us.saturating_add(needed) < deadline {
            return Some(row);
        }
        let message = format!("the time ran out in the queue of model {:?}", row.item.payload.model);
        self.failed(row, Problem::new(ErrorCode::DeadlineExceeded, message));
        None
    }

    fn answered(&mut self, mut row: QueuedRow, version: &Version, score: Score) {
        let pinned = std::mem::take(&mut row.item.payload);
        self.share.leave(&pinned.model);
        let fallback = version.number() != pinned.version;
        let score_or_why = if fallback {
            version.metrics.fallbacks.inc();
            Err(format!("{} answered in place of v{}", version.label(), pinned.version))
        } else if !pinned.is_for_content(version.digest()) {
            version.metrics.other_content.inc();
            Err(format!("{} has other content here than where the row was prepared", version.label()))
        } else {
            Ok(score.clone())
        };
        let prediction = prediction(&row.item, &pinned, score_or_why);
        if let Some(spans) = self.deliveries.spans(row.delivery) {
            spans.end(&row.item.context);
        }
        let (label, fallback_from) = match fallback {
            false => (pinned.label, pinned.fallback_from),
            true if pinned.fallback_from.is_empty() => (version.label().to_owned(), pinned.label),
            true => (version.label().to_owned(), pinned.fallback_from),
        };
        let (score, number) = (Some(score), version.number());
        let answer = Answer { score, model: pinned.model, version: number, label, fallback_from, cached: false };
        self.deliveries.done(row.delivery, row.item.with(Outcome::from(answer)), prediction);
    }

    fn failed(&mut self, row: QueuedRow, problem: Problem) {
        self.share.leave(&row.item.payload.model);
        self.refuse(row, problem);
    }

    /// Sends a row to the low lane, from which it comes back when there is time for it.
    fn put_off(&mut self, QueuedRow { mut item, delivery, .. }: QueuedRow) {
        item.attempt += 1;
        if let Some(spans) = self.deliveries.spans(delivery) {
            spans.end(&item.context);
        }
        self.deliveries.later(delivery, item);
    }

    fn refuse(&mut self, mut row: QueuedRow, problem: Problem) {
        let pinned = std::mem::take(&mut row.item.payload);
        let prediction = prediction(&row.item, &pinned, Err(problem.message.clone()));
        let Some(spans) = self.deliveries.spans(row.delivery) else { return };
        let outcome = self.scope.fail(row.item, problem, spans);
        self.deliveries.done(row.delivery, outcome, prediction);
    }
}

#[cfg(test)]
mod tests;
