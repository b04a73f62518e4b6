//! What steps need of estimators. This crate reads none: whoever does hands its readers over with the graph.

use std::fmt::Debug;
use std::sync::Arc;

use crate::python::View;
use crate::{Fault, RowRefusal};

/// A regressor inside a step.
pub trait Regressor: Send + Sync + Debug {
    /// The prediction for one row.
    ///
    /// # Errors
    /// A row that the regressor refuses; its column is one of that row.
    fn predict(&self, row: &[f64]) -> Result<f64, RowRefusal>;
}

/// The importances of columns, which boosters have in single precision.
#[derive(Debug, Clone, PartialEq)]
pub struct Importances {
    pub values: Vec<f64>,
    pub single: bool,
}

/// Readers of estimators.
pub trait Estimators: Send + Sync + Debug {
    /// Reads a regressor of one output that takes `width` values.
    ///
    /// # Errors
    /// A [`Fault`] for an estimator that is not supported, or no such regressor.
    fn regressor(&self, view: &View<'_>, width: usize) -> Result<Arc<dyn Regressor>, Fault>;

    /// The `feature_importances_` of a booster with `width` columns; `None` for an estimator of another library.
    ///
    /// # Errors
    /// A [`Fault`] in the booster, or for one without importances.
    fn importances(&self, view: &View<'_>, width: usize) -> Result<Option<Importances>, Fault>;
}
