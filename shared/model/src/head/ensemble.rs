//! An ensemble of regressors whose predictions are averaged: bagging, voting, AdaBoost.

use forebay_artefact::Frame;

use crate::learner::Reader;
use crate::matrix::Matrix;
use crate::plan::Plan;
use crate::{Model, ModelError, Rows, Task, Value};

/// How the members' predictions are averaged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Average {
    /// The sum in the order of the members, divided by their number.
    Mean,
    /// The weighted mean.
    WeightedMean(Vec<f64>),
    /// The lowest prediction at which half of the total weight is reached (AdaBoost.R2).
    WeightedMedian(Vec<f64>),
}

/// A regressor and the columns that it reads, or `None` if it reads all of them.
#[derive(Debug)]
pub(crate) struct Member {
    pub columns: Option<Vec<usize>>,
    pub plan: Plan,
}

/// Regressors and how they are averaged; their widths were checked.
#[derive(Debug)]
pub(crate) struct Ensemble {
    width: usize,
    members: Vec<Member>,
    average: Average,
}

impl Ensemble {
    /// An ensemble for rows of `width` values.
    ///
    /// # Errors
    /// When there are no members, a member is a classifier or reads columns that do not exist or do not match its
    /// width, or the weights do not match.
    pub(crate) fn new(width: usize, members: Vec<Member>, average: Average) -> Result<Self, String> {
        if members.is_empty() {
            return Err("has no estimators".to_owned());
        }
        for (i, member) in members.iter().enumerate() {
            let seen = member.columns.as_ref().map_or(width, Vec::len);
            let signature = member.plan.signature();
            let regresses = signature.task == Task::Regression && member.plan.transform().values() == 1;
            if member.plan.width() != seen || !regresses {
                return Err(format!("estimator {i} is not a regressor of {seen} values"));
            }
            if member.columns.iter().flatten().any(|c| *c >= width) {
                return Err(format!("estimator {i} sees columns beyond {width}"));
            }
        }
        if let Average::WeightedMean(weights) | Average::WeightedMedian(weights) = &average
            && weights.len() < members.len()
        {
            return Err(format!("{} weights for {} estimators", weights.len(), members.len()));
        }
        // the median of weights that are all zero is the least answer: AdaBoost keeps a first estimator without weight
        if let Average::WeightedMean(weights) = &average
            && weights.iter().sum::<f64>() == 0.0
        {
            return Err("the weights of its estimators add up to zero".to_owned());
        }
        Ok(Self { width, members, average })
    }

    /// Whether predictions are bit-identical to scikit-learn's. numpy sums a weighted mean in another order than this
    /// does.
    pub(super) fn is_exact(&self) -> bool {
        !matches!(self.average, Average::WeightedMean(_)) && self.members.iter().all(|member| member.plan.is_exact())
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn name(&self) -> String {
        let average = match self.average {
            Average::Mean => "mean",
            Average::WeightedMean(_) => "weighted mean",
            Average::WeightedMedian(_) => "weighted median",
        };
        let first = self.members.first().map(|m| m.plan.ops().join("+")).unwrap_or_default();
        format!("Ensemble({average} of {}: {first}, ..)", self.members.len())
    }

    /// Whether a member has no answer to some rows.
    pub(super) fn is_partial(&self) -> bool {
        self.members.iter().any(|member| member.plan.is_partial())
    }

    /// As [`super::Head::sample`]: what the first member takes, if it reads all columns.
    pub(super) fn sample(&self) -> Option<Vec<Option<Value>>> {
        self.members.first().filter(|member| member.columns.is_none()).map(|member| member.plan.sample())
    }

    pub(super) fn run(&self, m: &Matrix) -> Result<Vec<f64>, ModelError> {
        let mut answers = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let scores = match &member.columns {
                None => member.plan.predict(Rows::new(m.width, &m.data)?)?,
                Some(columns) => {
                    let mut seen = m.clone();
                    seen.rebuild(columns.len(), |row, out| out.extend(columns.iter().map(|c| row[*c])));
                    let scores = member.plan.predict(Rows::new(seen.width, &seen.data)?);
                    scores.map_err(|error| error.on_columns(Some(columns)))?
                }
            };
            answers.push(scores.values);
        }
        Ok((0..m.rows()).map(|row| self.average.decide(&answers, row)).collect())
    }

    /// As [`Ensemble::run`], for rows in any form.
    pub(super) fn run_frame(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let mut answers = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let seen = member.columns.as_ref().map_or_else(|| frame.clone(), |columns| frame.select(columns));
            let scores = member.plan.score_frame(seen);
            answers.push(scores.map_err(|error| error.on_columns(member.columns.as_deref()))?.values);
        }
        Ok((0..frame.rows()).map(|row| self.average.decide(&answers, row)).collect())
    }

    /// As [`crate::learner::Learner::hands_over`]: AdaBoost looks at its input itself.
    pub(super) fn hands_over(&self) -> bool {
        !matches!(self.average, Average::WeightedMedian(_))
    }

    /// The members and the columns that each reads.
    pub(super) fn members(&self) -> Vec<Reader<'_>> {
        self.members.iter().map(|m| (&m.plan, m.columns.as_deref())).collect()
    }
}

impl Average {
    fn decide(&self, answers: &[Vec<f64>], row: usize) -> f64 {
        match self {
            Self::Mean => answers.iter().map(|a| a[row]).fold(0.0, |s, v| s + v) / answers.len() as f64,
            Self::WeightedMean(weights) => {
                let weighted = answers.iter().zip(weights).map(|(a, w)| a[row] * w).sum::<f64>();
                weighted / weights.iter().take(answers.len()).sum::<f64>()
            }
            Self::WeightedMedian(weights) => {
                let mut order: Vec<usize> = (0..answers.len()).collect();
                order.sort_by(|a, b| answers[*a][row].total_cmp(&answers[*b][row]));
                let mut reached = 0.0;
                let cumulated: Vec<f64> = order
                    .iter()
                    .map(|i| {
                        reached += weights[*i];
                        reached
                    })
                    .collect();
                let at = cumulated.iter().position(|c| *c >= 0.5 * reached).unwrap_or(0);
                answers[order[at]][row]
            }
        }
    }
}
