//! Versions that score the same rows as the one that answers, for comparison in the metrics. On a thread of its own; a
//! batch that comes while the last one is under way is left out.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use forebay_contract::Features;

use crate::call::finite;
use crate::infer::Verdict;
use crate::metrics::ModelMetrics;
use crate::versions::{Found, VersionName, Versions};
use crate::work::Group;

/// The way to the thread, which ends with this.
#[derive(Debug)]
pub(crate) struct Shadow {
    shadows: Arc<[VersionName]>,
    thread: SyncSender<Seen>,
    metrics: ModelMetrics,
}

/// Rows and what was answered.
struct Seen {
    model: String,
    answered: u32,
    rows: Vec<(Features, f64)>,
}

impl Shadow {
    /// Starts the thread; nothing without shadows.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(
        shadows: &[VersionName],
        versions: &Arc<Versions>,
        metrics: ModelMetrics,
    ) -> std::io::Result<Option<Self>> {
        if shadows.is_empty() {
            return Ok(None);
        }
        let shadows: Arc<[VersionName]> = shadows.into();
        let (thread, seen) = sync_channel(1);
        let (versions, compared) = (Arc::downgrade(versions), Arc::clone(&shadows));
        std::thread::Builder::new().name("shadow".into()).spawn(move || {
            for seen in Receiver::iter(&seen) {
                let Some(versions) = versions.upgrade() else { break };
                compare(&compared, &versions, &seen);
            }
        })?;
        Ok(Some(Self { shadows, thread, metrics }))
    }

    /// Shows the answered rows of a group to the shadows of its model.
    pub(crate) fn offer(&self, group: &Group, verdicts: &[Verdict]) {
        if !self.shadows.iter().any(|(model, number)| *model == group.pinned.model && *number != group.pinned.number) {
            return;
        }
        let answered = |(job, verdict): (&crate::queue::Job, &Verdict)| match verdict {
            Verdict::Answered { version, score } if version.number() == group.pinned.number => {
                Some((job.item.payload.clone(), score.value))
            }
            _ => None,
        };
        let rows: Vec<(Features, f64)> = group.jobs.iter().zip(verdicts).filter_map(answered).collect();
        let seen = Seen { model: group.pinned.model.clone(), answered: group.pinned.number, rows };
        if let Err(TrySendError::Full(_)) = self.thread.try_send(seen) {
            self.metrics.shadow_dropped();
        }
    }
}

fn compare(shadows: &[VersionName], versions: &Versions, seen: &Seen) {
    for (model, number) in shadows.iter().filter(|(model, number)| *model == seen.model && *number != seen.answered) {
        let Found::Ready(shadow) = versions.find(model, *number) else { continue };
        let (mut matrix, mut given) = (Vec::new(), Vec::new());
        for (features, value) in &seen.rows {
            if shadow.append(features, false, &mut matrix).is_ok() {
                given.push(*value);
            }
        }
        if given.is_empty() {
            continue;
        }
        match shadow.predict(&matrix) {
            Ok(scores) if (0..scores.len()).all(|row| finite(&scores, row)) => {
                for (mine, theirs) in scores.values.iter().zip(&given) {
                    let difference = (mine - theirs).abs() / theirs.abs().max(f64::MIN_POSITIVE);
                    shadow.metrics.shadow_difference.observe(if mine == theirs { 0.0 } else { difference });
                }
            }
            Ok(_) | Err(_) => {
                shadow.metrics.shadow_failures.inc();
            }
        }
    }
}
