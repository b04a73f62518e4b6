//! Versions that score the same rows as the one that answers, for comparison in the metrics. On a thread of its own; a
//! batch that comes while the last one is under way is left out.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use forebay_contract::Features;
use forebay_model::Scores;

use crate::call::finite;
use crate::infer::Verdict;
use crate::metrics::ModelMetrics;
use crate::version::Version;
use crate::versions::{Found, Versions};
use crate::work::Group;

/// A version that shadows others of its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub model: String,
    pub version: Wanted,
}

/// Which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Number(u32),
    /// An alias or a stage: the version that it means now.
    Named(String),
}

/// What is compared, and how.
#[derive(Debug, Clone)]
pub(crate) struct Shadowing {
    pub targets: Vec<Target>,
    /// Relative difference above which numbers disagree.
    pub tolerance: f64,
}

impl Target {
    /// Reads `model/version` or `model@name`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (model, version) = text.split_at(text.rfind(['/', '@'])?);
        let name = version.get(1..).filter(|name| !name.is_empty() && !model.is_empty())?;
        let digits = name.strip_prefix(['v', 'V']).unwrap_or(name);
        let version = match digits.parse() {
            Ok(number) if version.starts_with('/') => Wanted::Number(number),
            _ => Wanted::Named(name.to_owned()),
        };
        Some(Self { model: model.to_owned(), version })
    }

    fn number(&self, versions: &Versions) -> Option<u32> {
        match &self.version {
            Wanted::Number(number) => Some(*number),
            Wanted::Named(name) => versions.named(&self.model, name),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Wanted::Number(number) => write!(f, "{}/{number}", self.model),
            Wanted::Named(name) => write!(f, "{}@{name}", self.model),
        }
    }
}

/// The way to the thread, which ends with this.
#[derive(Debug)]
pub(crate) struct Shadow {
    shadowing: Arc<Shadowing>,
    thread: SyncSender<Seen>,
    metrics: ModelMetrics,
}

/// Rows of a model and what one version answered.
struct Seen {
    model: String,
    answered: u32,
    rows: Vec<(Features, Given)>,
}

/// An answer that was given.
struct Given {
    value: f64,
    label: Option<String>,
}

impl Shadow {
    /// Starts the thread; nothing without shadows.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(
        shadowing: &Shadowing,
        versions: &Arc<Versions>,
        metrics: ModelMetrics,
    ) -> std::io::Result<Option<Self>> {
        if shadowing.targets.is_empty() {
            return Ok(None);
        }
        let shadowing = Arc::new(shadowing.clone());
        let (thread, seen) = sync_channel(1);
        let (versions, compared) = (Arc::downgrade(versions), Arc::clone(&shadowing));
        std::thread::Builder::new().name("shadow".into()).spawn(move || {
            for seen in Receiver::iter(&seen) {
                let Some(versions) = versions.upgrade() else { break };
                compare(&compared, &versions, &seen);
            }
        })?;
        Ok(Some(Self { shadowing, thread, metrics }))
    }

    /// Shows the answered rows of a group to the shadows of its model.
    pub(crate) fn offer(&self, group: &Group, verdicts: &[Verdict]) {
        let (model, pinned) = (&group.pinned.model, group.pinned.number);
        let shadowed = |target: &Target| target.model == *model && target.version != Wanted::Number(pinned);
        if !self.shadowing.targets.iter().any(shadowed) {
            return;
        }
        let answered = |(job, verdict): (&crate::queue::Job, &Verdict)| match verdict {
            Verdict::Answered { version, score } if version.number() == pinned => {
                Some((job.item.payload.clone(), Given { value: score.value, label: score.label.clone() }))
            }
            _ => None,
        };
        let rows: Vec<(Features, Given)> = group.jobs.iter().zip(verdicts).filter_map(answered).collect();
        let seen = Seen { model: model.clone(), answered: pinned, rows };
        if let Err(TrySendError::Full(_)) = self.thread.try_send(seen) {
            self.metrics.shadow_dropped();
        }
    }
}

fn compare(shadowing: &Shadowing, versions: &Versions, seen: &Seen) {
    let numbers = shadowing.targets.iter().filter(|target| target.model == seen.model);
    let mut numbers: Vec<u32> = numbers.filter_map(|target| target.number(versions)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers.into_iter().filter(|number| *number != seen.answered) {
        let Found::Ready(shadow) = versions.find(&seen.model, number) else { continue };
        let (mut matrix, mut given) = (Vec::new(), Vec::new());
        for (features, answer) in &seen.rows {
            if shadow.append(features, false, &mut matrix).is_ok() {
                given.push(answer);
            }
        }
        if given.is_empty() {
            continue;
        }
        match shadow.predict(&matrix) {
            Ok(scores) if (0..scores.len()).all(|row| finite(&scores, row)) => {
                count(&shadow, &scores, &given, shadowing.tolerance);
            }
            Ok(_) | Err(_) => {
                shadow.metrics.shadow_failures.inc();
            }
        }
    }
}

fn count(shadow: &Version, scores: &Scores, given: &[&Given], tolerance: f64) {
    for (row, (mine, theirs)) in scores.values.iter().zip(given).enumerate() {
        let difference = match mine == &theirs.value {
            true => 0.0,
            false => (mine - theirs.value).abs() / theirs.value.abs().max(f64::MIN_POSITIVE),
        };
        shadow.metrics.shadow_difference.observe(difference);
        shadow.metrics.shadow_rows.inc();
        let disagrees = match (scores.label(row), &theirs.label) {
            (Some(mine), Some(theirs)) => mine != theirs,
            _ => difference > tolerance,
        };
        shadow.metrics.shadow_disagreements.inc_by(u64::from(disagrees));
    }
}
