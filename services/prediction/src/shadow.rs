//! Scores answered rows with other versions, for comparison in the metrics. This happens on a separate thread; a batch
//! that arrives while the thread is busy is skipped and counted. The thread is not watched for stalls: a shadow must
//! not be able to restart the process.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use forebay_contract::Features;
use forebay_model::Scores;

use crate::infer::RowResult;
use crate::metrics::ModelMetrics;
use crate::model_call::finite;
use crate::queue::{QueuedRow, RowGroup};
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
    rows: Vec<(Features, GivenAnswer)>,
}

/// The answer to one row.
struct GivenAnswer {
    value: f64,
    label: Option<String>,
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
                Some((row.item.payload.clone(), GivenAnswer { value: score.value, label: score.label.clone() }))
            }
            _ => None,
        };
        let rows: Vec<(Features, GivenAnswer)> = group.rows.iter().zip(results).filter_map(answered).collect();
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
        let (mut matrix, mut given) = (Vec::new(), Vec::new());
        for (features, answer) in &batch.rows {
            if shadow.append(features, false, &mut matrix).is_ok() {
                given.push(answer);
            }
        }
        if given.is_empty() {
            continue;
        }
        match shadow.predict(&matrix) {
            Ok(scores) if (0..scores.len()).all(|row| finite(&scores, row)) => {
                count(&shadow, &scores, &given, settings.tolerance);
            }
            Ok(_) | Err(_) => {
                shadow.metrics.shadow_failures.inc();
            }
        }
    }
}

fn count(shadow: &Version, scores: &Scores, given: &[&GivenAnswer], tolerance: f64) {
    for (row, (mine, theirs)) in scores.values.iter().zip(given).enumerate() {
        let difference = match mine == &theirs.value {
            true => 0.0,
            false => (mine - theirs.value).abs() / theirs.value.abs().max(f64::MIN_POSITIVE),
        };
        shadow.metrics.shadow_difference.observe(difference);
        shadow.metrics.shadow_rows.inc();
        let disagrees = match (scores.label(row), &theirs.label) {
            (Some(mine), Some(theirs)) => mine.to_string() != *theirs,
            _ => difference > tolerance,
        };
        shadow.metrics.shadow_disagreements.inc_by(u64::from(disagrees));
    }
}
