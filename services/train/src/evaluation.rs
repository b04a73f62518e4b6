//! k-fold evaluation: the net, the linear baseline and the floor on the same held-out rows.

use burn::train::Interrupter;
use serde::Serialize;

use crate::dataset::Dataset;
use crate::folds;
use crate::linear;
use crate::loss_log::EpochLoss;
use crate::mlp::{self, FitError};
use crate::network::Fitted;
use crate::progress::TrainingProgress;
use crate::samples::Scaling;
use crate::scores::FoldScores;
use crate::target_values::TargetValues;
use crate::training_arguments::FittingArgs;

/// Rows, target and how to fit.
#[derive(Clone, Copy)]
pub(crate) struct TrainingJob<'a> {
    pub(crate) table: &'a Dataset,
    pub(crate) target: &'a TargetValues,
    pub(crate) fitting: &'a FittingArgs,
    pub(crate) progress: &'a TrainingProgress,
    pub(crate) stop: &'a Interrupter,
}

/// Scores of every fold, a list per contender.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Evaluation {
    pub(crate) mlp: Vec<FoldScores>,
    pub(crate) ridge: Vec<FoldScores>,
    /// Scores of a baseline that always predicts the training mean, or the training frequencies of the classes.
    pub(crate) mean: Vec<FoldScores>,
    /// Losses of the net, per fold and epoch.
    #[serde(skip)]
    pub(crate) losses: Vec<Vec<EpochLoss>>,
}

impl Evaluation {
    /// Fits and scores on every fold.
    ///
    /// # Errors
    /// [`FitError`] of a fold.
    pub(crate) fn run(job: TrainingJob<'_>) -> Result<Self, FitError> {
        let count = job.fitting.folds as usize;
        let assigned = folds::assign(job.target, job.table.rows(), count, job.fitting.seed);
        let mut evaluation = Self::default();
        for fold in 0..count {
            job.progress.stage(format!("fold {} of {count}", fold + 1));
            let (train, test) = folds::split(&assigned, fold);
            let seed = job.fitting.seed.wrapping_add(fold as u64 + 1);
            let (net, losses) = job.fit_mlp(&train, &test, seed)?;
            let ridge = job.fit_ridge(&train)?;
            let judge = |of: &dyn Fn(&[f64]) -> Vec<f64>| {
                let predicted: Vec<Vec<f64>> = test.iter().map(|r| of(job.table.row(*r))).collect();
                FoldScores::of(job.target, &test, &predicted)
            };
            let floor = job.floor(&train);
            let (mlp, ridge, mean) =
                (judge(&|r| net.predict(r)), judge(&|r| ridge.predict(r)), judge(&|_| floor.clone()));
            job.progress.note(&format!("fold {} of {count}: MLP {}, linear {}", fold + 1, mlp.main(), ridge.main()));
            evaluation.mlp.push(mlp);
            evaluation.ridge.push(ridge);
            evaluation.mean.push(mean);
            evaluation.losses.push(losses);
        }
        Ok(evaluation)
    }

    /// Whether the net's main score is at least the baseline's.
    pub(crate) fn net_wins(&self) -> bool {
        let mean = |of: &[FoldScores]| of.iter().map(FoldScores::merit).sum::<f64>();
        mean(&self.mlp) >= mean(&self.ridge)
    }
}

impl TrainingJob<'_> {
    /// Fits the net on `rows`. The loss on the `watched` rows is recorded and does not influence the fit.
    ///
    /// # Errors
    /// [`FitError`].
    pub(crate) fn fit_mlp(
        &self,
        rows: &[usize],
        watched: &[usize],
        seed: u64,
    ) -> Result<(Fitted, Vec<EpochLoss>), FitError> {
        let scaling = Scaling::of(self.table, self.target, rows);
        let samples = scaling.samples(self.table, self.target, rows);
        let watched = (!watched.is_empty()).then(|| scaling.samples(self.table, self.target, watched));
        let (network, losses) = mlp::fit(&samples, watched.as_ref(), self.fitting, seed, self.progress, self.stop)?;
        Ok((Fitted { scaling, network }, losses))
    }

    /// Fits the baseline on `rows`.
    ///
    /// # Errors
    /// [`FitError::Failed`] for columns that have no solution.
    pub(crate) fn fit_ridge(&self, rows: &[usize]) -> Result<Fitted, FitError> {
        let scaling = Scaling::of(self.table, self.target, rows);
        let samples = scaling.samples(self.table, self.target, rows);
        let network = linear::fit(&samples, scaling.target.is_some()).map_err(FitError::Failed)?;
        Ok(Fitted { scaling, network })
    }

    fn floor(&self, rows: &[usize]) -> Vec<f64> {
        match self.target {
            TargetValues::Numbers(numbers) => vec![rows.iter().map(|r| numbers[*r]).sum::<f64>() / rows.len() as f64],
            TargetValues::Classes { labels, of } => {
                let share = |class| rows.iter().filter(|r| of[**r] == class).count() as f64 / rows.len() as f64;
                (0..labels.len()).map(share).collect()
            }
        }
    }
}
