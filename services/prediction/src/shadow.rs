//! Scores answered rows with other versions, for comparison in the metrics. This happens on a separate thread; a batch
//! that arrives while the thread is busy is skipped and counted. The thread is not watched for stalls: a shadow must
//! not be able to restart the process.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use forebay_contract::{Features, Score};
use forebay_model::{Output, Scores};

use crate::answer::row_score;
use crate::infer::RowResult;
use crate::metrics::ModelMetrics;
use crate::model_call::{CallError, finite};
use crate::queue::{QueuedRow, RowGroup};
use crate::row_batch::BatchView;
use crate::settings::{ShadowSettings, ShadowTarget, ShadowVersion};
use crate::version::Version;
use crate::versions::{VersionLookup, Versions};

/// The handle of the thread, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct ShadowScorer {
    settings: Arc<ShadowSettings>,
    thread: SyncSender<AnsweredRows>,
    metrics: ModelMetrics,
}

/// Rows of a model and the answers of one version.
struct AnsweredRows {
    model: String,
    answered: u32,
    rows: Vec<(Features, Score)>,
}

impl ShadowScorer {
    /// Starts the thread; `None` without shadows.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(
        settings: &ShadowSettings,
        versions: &Arc<Versions>,
        metrics: ModelMetrics,
    ) -> std::io::Result<Option<Self>> {
        if settings.targets.is_empty() {
            return Ok(None);
        }
        let settings = Arc::new(settings.clone());
        let (thread, batch) = sync_channel(1);
        let (versions, compared) = (Arc::downgrade(versions), Arc::clone(&settings));
        std::thread::Builder::new().name("shadow".into()).spawn(move || {
            for batch in Receiver::iter(&batch) {
                let Some(versions) = versions.upgrade() else { break };
                compare(&compared, &versions, &batch);
            }
        })?;
        Ok(Some(Self { settings, thread, metrics }))
    }

    /// Hands the answered rows of a group to the shadows of its model.
    pub(crate) fn offer(&self, group: &RowGroup, results: &[RowResult]) {
        let (model, pinned) = (&group.pinned.model, group.pinned.number);
        let shadowed =
            |target: &ShadowTarget| target.model == *model && target.version != ShadowVersion::Number(pinned);
        if !self.settings.targets.iter().any(shadowed) {
            return;
        }
        let answered = |(row, result): (&QueuedRow, &RowResult)| match result {
            RowResult::Answered { version, score } if version.number() == pinned => {
                Some((row.item.payload.clone(), score.clone()))
            }
            _ => None,
        };
        let rows: Vec<(Features, Score)> = group.rows.iter().zip(results).filter_map(answered).collect();
        let batch = AnsweredRows { model: model.clone(), answered: pinned, rows };
        if let Err(TrySendError::Full(_)) = self.thread.try_send(batch) {
            self.metrics.shadow_dropped();
        }
    }
}

/// The number that a target resolves to now.
fn number_of(target: &ShadowTarget, versions: &Versions) -> Option<u32> {
    match &target.version {
        ShadowVersion::Number(number) => Some(*number),
        ShadowVersion::Named(name) => versions.named(&target.model, name),
    }
}

fn compare(settings: &ShadowSettings, versions: &Versions, batch: &AnsweredRows) {
    let numbers = settings.targets.iter().filter(|target| target.model == batch.model);
    let mut numbers: Vec<u32> = numbers.filter_map(|target| number_of(target, versions)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers.into_iter().filter(|number| *number != batch.answered) {
        let VersionLookup::Ready(shadow) = versions.find(&batch.model, number) else { continue };
        for (output, rows) in by_output(&batch.rows) {
            compare_output(&shadow, output, &rows, settings.tolerance);
        }
    }
}

/// The rows by what their answers hold; those that want what is no output are left out.
fn by_output(rows: &[(Features, Score)]) -> Vec<(Output, Vec<&(Features, Score)>)> {
    let named = |output: Output| if output == Output::Predict { "" } else { output.name() };
    let of = |output| (output, rows.iter().filter(|(features, _)| features.output == named(output)).collect());
    Output::ALL.map(of).into_iter().filter(|(_, rows): &(_, Vec<_>)| !rows.is_empty()).collect()
}

fn compare_output(shadow: &Version, output: Output, rows: &[&(Features, Score)], tolerance: f64) {
    if !shadow.has(output) {
        return;
    }
    let (mut batch, mut given) = (shadow.new_batch(), Vec::new());
    for (features, answer) in rows {
        if shadow.append(features, false, &mut batch).is_ok() {
            given.push(answer);
        }
    }
    if !given.is_empty() {
        compare_rows(shadow, output, batch.view(), &given, tolerance);
    }
}

/// Compares rows with the answers given to them; halves of them by themselves when the shadow refuses one.
fn compare_rows(shadow: &Version, output: Output, rows: BatchView<'_>, given: &[&Score], tolerance: f64) {
    let whole = |scores: &Scores| shadow.is_partial() || (0..scores.len()).all(|row| finite(scores, row));
    match shadow.predict(rows, output) {
        Ok(scores) if whole(&scores) => {
            for (row, theirs) in given.iter().enumerate() {
                match finite(&scores, row) {
                    true => count(shadow, &row_score(&scores, row, output, &[]), theirs, tolerance),
                    false => count_refused(shadow),
                }
            }
        }
        Err(CallError::Refused(_)) if given.len() > 1 => {
            let middle = given.len() / 2;
            let (first, second) = rows.split_at(middle, shadow.batch_width());
            compare_rows(shadow, output, first, &given[..middle], tolerance);
            compare_rows(shadow, output, second, &given[middle..], tolerance);
        }
        Err(CallError::Refused(_)) => count_refused(shadow),
        Ok(_) | Err(CallError::Failed(_)) => {
            shadow.metrics.shadow_failures.inc();
        }
    }
}

/// Notes a row that the shadow has no answer to, where the other version has one.
fn count_refused(shadow: &Version) {
    shadow.metrics.shadow_difference.observe(1.0);
    shadow.metrics.shadow_rows.inc();
    shadow.metrics.shadow_disagreements.inc();
}

fn count(shadow: &Version, mine: &Score, theirs: &Score, tolerance: f64) {
    let same_form = mine.numbers.len() == theirs.numbers.len();
    let difference = if same_form { largest_difference(mine, theirs) } else { 1.0 };
    shadow.metrics.shadow_difference.observe(difference);
    shadow.metrics.shadow_rows.inc();
    let disagrees = match (mine.class_label(), theirs.class_label()) {
        _ if !mine.labels.is_empty() || !theirs.labels.is_empty() => mine.labels != theirs.labels,
        (Some(mine), Some(theirs)) => mine != theirs,
        _ => !same_form || difference > tolerance,
    };
    shadow.metrics.shadow_disagreements.inc_by(u64::from(disagrees));
}

/// The largest difference between two numbers of the answers, relative to the one given.
fn largest_difference(mine: &Score, theirs: &Score) -> f64 {
    let relative = |(mine, theirs): (&f64, &f64)| match mine == theirs {
        true => 0.0,
        false => (mine - theirs).abs() / theirs.abs().max(f64::MIN_POSITIVE),
    };
    let numbers = mine.numbers.iter().zip(&theirs.numbers).map(relative);
    numbers.fold(relative((&mine.value, &theirs.value)), f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{Behavior, fake_versions, features};

    #[test]
    fn a_row_that_the_shadow_refuses_differs_and_the_others_are_compared() {
        let fakes = fake_versions(&[(1, 2), (2, 2)], 1);
        fakes.set_behavior(2, Behavior::RefusesAt(7.0));
        let VersionLookup::Ready(shadow) = fakes.versions.find("m", 2) else { panic!("not ready") };
        let same = Score { value: 21.5, ..Score::default() };
        let rows: Vec<_> = [1.0, 7.0, 1.0, 1.0].map(|first| (features("m", 1, &[first, 0.5]), same.clone())).into();
        compare_output(&shadow, Output::Predict, &rows.iter().collect::<Vec<_>>(), 0.0);
        let metrics = &shadow.metrics;
        assert_eq!((metrics.shadow_rows.get(), metrics.shadow_disagreements.get()), (4, 1));
        assert_eq!((metrics.shadow_failures.get(), metrics.failures.get()), (0, 0));
    }
}
