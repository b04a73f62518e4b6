//! Classifiers made of classifiers: voting, bagging, AdaBoost, calibration.

use forebay_artefact::Frame;

use super::Learner;
use super::member::{Reader, Response, respond};
use crate::output_transform::{argmax, softmax};
use crate::plan::Plan;
use crate::step::interpolate;
use crate::{Model, ModelError};

/// A member, the columns it reads (all if `None`), and the class of the ensemble that each of its classes is.
#[derive(Debug)]
pub(crate) struct Voter {
    pub plan: Plan,
    pub columns: Option<Vec<usize>>,
    pub classes: Vec<usize>,
    pub weight: f64,
    pub calibrators: Vec<Calibrator>,
}

/// Maps a score to a probability.
#[derive(Debug)]
pub(crate) enum Calibrator {
    /// `1 / (1 + exp(slope x + intercept))`.
    Sigmoid { slope: f64, intercept: f64 },
    /// Lines between ascending points.
    Isotonic { at: Vec<f64>, values: Vec<f64> },
    /// As `Isotonic`, computed in single precision, in which the member answers.
    IsotonicSingle { at: Vec<f32>, values: Vec<f32> },
    /// The softmax of all scores times this.
    Temperature(f64),
}

impl Calibrator {
    /// The value at `x`.
    pub(super) fn of(&self, x: f64) -> f64 {
        match self {
            Self::Sigmoid { slope, intercept } => crate::output_transform::sigmoid(-(slope * x + intercept)),
            Self::Isotonic { at, values } => interpolate(x, at.len(), |i| at[i], |i| values[i]),
            Self::IsotonicSingle { at, values } => f64::from(between(x as f32, at, values)),
            Self::Temperature(_) => x,
        }
    }
}

/// The value at `x` on the lines between points, as SciPy's `interp1d` computes it in single precision.
fn between(x: f32, at: &[f32], values: &[f32]) -> f32 {
    let (Some(first), Some(last)) = (at.first(), at.last()) else { return f32::NAN };
    if x.is_nan() || at.len() == 1 {
        return if x.is_nan() { x } else { values[0] };
    }
    let x = x.max(*first).min(*last);
    let high = at.partition_point(|point| *point < x).clamp(1, at.len() - 1);
    let low = high - 1;
    let slope = (values[high] - values[low]) / (at[high] - at[low]);
    slope * (x - at[low]) + values[low]
}

/// How the members' answers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The weighted mean of the probabilities; of a member without them, a vote.
    Probabilities,
    /// The weighted number of votes: no probabilities.
    Votes,
    /// The discrete AdaBoost algorithm (SAMME).
    Boost,
    /// The real AdaBoost algorithm (SAMME.R) of old releases.
    RealBoost,
    /// The mean of the calibrated probabilities.
    Calibrated,
}

/// A ensemble of classifiers. Its raw outputs are the probabilities, the index of the class ([`Rule::Votes`]), or the
/// index and the probabilities (boosting).
#[derive(Debug)]
pub(crate) struct ClassifierEnsemble {
    pub width: usize,
    pub classes: usize,
    pub members: Vec<Voter>,
    pub rule: Rule,
}

impl ClassifierEnsemble {
    fn boosts(&self) -> bool {
        matches!(self.rule, Rule::Boost | Rule::RealBoost)
    }

    /// Adds up the members' answers, row-major with one number per class.
    fn sums(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let mut sums = vec![0.0; frame.rows() * self.classes];
        for member in &self.members {
            let seen = member.columns.as_ref().map_or_else(|| frame.clone(), |columns| frame.select(columns));
            if self.rule == Rule::Calibrated {
                let added = self.add_calibrated(member, seen, &mut sums);
                added.map_err(|error| error.on_columns(member.columns.as_deref()))?;
                continue;
            }
            let scores = member.plan.score_frame(seen);
            let scores = scores.map_err(|error| error.on_columns(member.columns.as_deref()))?;
            let rows = sums.chunks_exact_mut(self.classes);
            for (i, to) in rows.enumerate() {
                let probabilities = scores.probabilities(i);
                match self.rule {
                    Rule::Probabilities if !probabilities.is_empty() => {
                        member.classes.iter().zip(probabilities).for_each(|(c, p)| to[*c] += member.weight * p);
                    }
                    Rule::RealBoost => {
                        let logs: Vec<f64> = probabilities.iter().map(|p| p.max(f64::EPSILON).ln()).collect();
                        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
                        let scale = (self.classes - 1) as f64;
                        member.classes.iter().zip(&logs).for_each(|(c, l)| to[*c] += scale * (l - mean));
                    }
                    rule => {
                        let label = scores.labels.get(i).and_then(|label| member.classes.get(*label as usize));
                        let Some(class) = label else { return Err(no_class()) };
                        if rule == Rule::Boost {
                            let other = -1.0 / (self.classes - 1).max(1) as f64 * member.weight;
                            to.iter_mut()
                                .enumerate()
                                .for_each(|(c, v)| *v += if c == *class { member.weight } else { other });
                        } else {
                            to[*class] += member.weight;
                        }
                    }
                }
            }
        }
        Ok(sums)
    }

    fn add_calibrated(&self, member: &Voter, frame: Frame, sums: &mut [f64]) -> Result<(), ModelError> {
        let method = if member.plan.decides() { Response::Decision } else { Response::Probabilities };
        let (width, answers) = respond(&member.plan, method, frame)?;
        for (to, row) in sums.chunks_exact_mut(self.classes).zip(answers.chunks_exact(width.max(1))) {
            let mut own = vec![0.0; self.classes];
            if let [Calibrator::Temperature(beta)] = member.calibrators.as_slice() {
                let logits: Vec<f64> = match (row, method) {
                    ([x], _) => vec![-x, *x],
                    (row, Response::Probabilities) => row.iter().map(|p| (p + 1e-12).ln()).collect(),
                    (row, _) => row.to_vec(),
                };
                let scaled: Vec<f64> = logits.iter().map(|l| l * beta).collect();
                own.clear();
                softmax(&scaled, &mut own);
            } else if self.classes == 2 {
                let p = member.calibrators[0].of(row[row.len() - 1]);
                own.copy_from_slice(&[1.0 - p, p]);
            } else {
                for ((class, x), calibrator) in member.classes.iter().zip(row).zip(&member.calibrators) {
                    own[*class] = calibrator.of(*x);
                }
                let total: f64 = own.iter().sum();
                let share = 1.0 / own.len() as f64;
                own.iter_mut().for_each(|p| *p = if total == 0.0 { share } else { *p / total });
            }
            own.iter_mut().filter(|p| **p > 1.0 && **p <= 1.0 + 1e-5).for_each(|p| *p = 1.0);
            to.iter_mut().zip(own).for_each(|(t, p)| *t += p);
        }
        Ok(())
    }

    /// The scores of boosting: one for two classes, otherwise one per class.
    fn boosted(&self, mut sums: Vec<f64>) -> Vec<f64> {
        let total: f64 = match self.rule {
            Rule::Boost => self.members.iter().map(|m| m.weight).sum(),
            _ => self.members.len() as f64,
        };
        sums.iter_mut().for_each(|v| *v /= total);
        if self.classes != 2 {
            return sums;
        }
        sums.chunks_exact(2).map(|c| c[1] - c[0]).collect()
    }
}

fn no_class() -> ModelError {
    ModelError::Execution("a member answers a class that the ensemble does not have".to_owned())
}

impl Learner for ClassifierEnsemble {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        match self.rule {
            Rule::Votes => 1,
            Rule::Probabilities | Rule::Calibrated => self.classes,
            Rule::Boost | Rule::RealBoost => self.classes + 1,
        }
    }

    fn name(&self) -> String {
        let first = self.members.first().map(|m| m.plan.ops().join("+")).unwrap_or_default();
        format!("ClassifierEnsemble({:?} of {}: {first}, ..)", self.rule, self.members.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let mut sums = self.sums(frame)?;
        if self.rule == Rule::Votes {
            return Ok(sums.chunks_exact(self.classes).map(|row| f64::from(argmax(row))).collect());
        }
        if !self.boosts() {
            let total: f64 = match self.rule {
                Rule::Calibrated => self.members.len() as f64,
                _ => self.members.iter().map(|m| m.weight).sum(),
            };
            sums.iter_mut().for_each(|p| *p /= total);
            return Ok(sums);
        }
        let scores = self.boosted(sums);
        let width = if self.classes == 2 { 1 } else { self.classes };
        let mut out = Vec::with_capacity(frame.rows() * self.outputs());
        for row in scores.chunks_exact(width) {
            let both: Vec<f64> = match row {
                [d] => vec![-d / 2.0, d / 2.0],
                row => row.iter().map(|v| v / (self.classes - 1) as f64).collect(),
            };
            out.push(if let [d] = row { f64::from(u8::from(*d > 0.0)) } else { f64::from(argmax(row)) });
            softmax(&both, &mut out);
        }
        Ok(out)
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        if self.boosts() {
            return Some(self.sums(frame).map(|sums| self.boosted(sums)));
        }
        // bagging: the mean of the members' decisions
        let mut sums: Vec<f64> = Vec::new();
        for member in &self.members {
            let seen = member.columns.as_ref().map_or_else(|| frame.clone(), |columns| frame.select(columns));
            match member.plan.decide(seen)? {
                Ok(decisions) if sums.is_empty() => sums = decisions,
                Ok(decisions) => sums.iter_mut().zip(decisions).for_each(|(s, d)| *s += d),
                Err(e) => return Some(Err(e.on_columns(member.columns.as_deref()))),
            }
        }
        sums.iter_mut().for_each(|s| *s /= self.members.len() as f64);
        Some(Ok(sums))
    }

    /// Boosting and bagging look at their input themselves.
    fn hands_over(&self) -> bool {
        !self.boosts()
    }

    fn members(&self) -> Vec<Reader<'_>> {
        self.members.iter().map(|m| (&m.plan, m.columns.as_deref())).collect()
    }
}
