//! Estimators that are neither forests nor nets: each computes raw outputs from rows in any form.

mod binaries;
mod bisected;
mod boosted;
mod density;
mod ensemble;
mod gaussian_process;
mod isotonic;
mod kernel_density;
mod linear;
mod member;
mod metric;
mod neighbours;
mod outlier;
mod propagation;
mod search;
mod stacked;
mod support;
mod threshold;

use forebay_artefact::{ColumnKind, Frame};

pub(crate) use binaries::{Binaries, Scheme};
pub(crate) use bisected::{Bisected, Cluster, Then};
pub(crate) use boosted::{Boosted, Start};
pub(crate) use density::{CategoryTables, Centres, Constant, Densities, Density};
pub(crate) use ensemble::{Calibrator, ClassifierEnsemble, Rule, Voter};
pub(crate) use gaussian_process::{Covariance, GaussianProcess, LaplaceClassifier, Smoothness};
pub(crate) use isotonic::Isotonic;
pub(crate) use kernel_density::{Bump, KernelDensity};
pub(crate) use linear::Linear;
pub(crate) use member::{Reader, Response, kinds_of, missing_columns_of};
pub(crate) use metric::Metric;
pub(crate) use neighbours::{Neighbours, Reach, Targets};
pub(crate) use outlier::{Detector, Normality};
pub(crate) use propagation::{Propagation, Weight};
pub(crate) use search::{Node as TreeNode, Regions, Search, Tree};
pub(crate) use stacked::{Several, Stack};
pub(crate) use support::{Platt, SupportClassifier};
pub(crate) use threshold::Threshold;

use crate::{Model as _, ModelError, Value};

/// An estimator at the end of a plan.
pub(crate) trait Learner: Send + Sync + std::fmt::Debug {
    /// The number of values in a row of input.
    fn width(&self) -> usize;

    /// The number of raw outputs per row.
    fn outputs(&self) -> usize;

    /// The name that `ops` shows.
    fn name(&self) -> String;

    /// The raw outputs, row-major. The frame has at least one row of `width()` values.
    ///
    /// # Errors
    /// [`ModelError::Row`] for text where a number is needed.
    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError>;

    /// What `decision_function` answers, row-major, if it is not the raw outputs; `None` without such a method.
    fn decision(&self, _frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        None
    }

    /// What `score_samples` answers, one number per row; `None` without such a method.
    fn score_samples(&self, _frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        None
    }

    /// Whether there is a `score_samples`.
    fn scores_samples(&self) -> bool {
        false
    }

    /// Whether there are rows without an answer: their outputs are NaN.
    fn is_partial(&self) -> bool {
        self.members().iter().any(|(plan, _)| plan.is_partial())
    }

    /// For each input column a value that has an answer, if one is known; `None` where any number will do. That of a
    /// meta-estimator is its first member's, if that reads all columns.
    fn sample(&self) -> Option<Vec<Option<Value>>> {
        self.members().first().filter(|(_, columns)| columns.is_none()).map(|(plan, _)| plan.sample())
    }

    /// Whether the outputs are bit-identical to scikit-learn's.
    fn is_exact(&self) -> bool {
        false
    }

    /// The members of a meta-estimator, which read its input columns.
    fn members(&self) -> Vec<Reader<'_>> {
        Vec::new()
    }

    /// Whether the library hands a frame of named columns over to every member as it is, and looks at it nowhere else.
    fn hands_over(&self) -> bool {
        false
    }

    /// What the values of its input columns are; `None` when all are numbers.
    fn takes(&self) -> Option<Vec<ColumnKind>> {
        kinds_of(self.width(), &self.members())
    }

    /// Whether an absent value of a sparse row is missing, not a zero.
    fn tells_absent(&self) -> bool {
        self.members().iter().any(|(plan, _)| plan.tells_absent())
    }

    /// Which of the input columns may be missing, if its members decide it.
    fn missing_columns(&self) -> Option<Vec<bool>> {
        let members = self.members();
        (!members.is_empty()).then(|| missing_columns_of(self.width(), &members))
    }
}

/// Applies a function of a row of numbers to every row of a frame; it appends that row's outputs.
pub(crate) fn each_row(frame: &Frame, mut f: impl FnMut(&[f64], &mut Vec<f64>)) -> Result<Vec<f64>, ModelError> {
    let m = frame.numbers().map_err(ModelError::Row)?;
    let mut out = Vec::new();
    m.iter().for_each(|row| f(row, &mut out));
    Ok(out)
}
