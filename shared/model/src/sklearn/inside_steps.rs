//! Estimators inside steps: the models of an imputer, the importances of a selection.

use std::sync::Arc;

use forebay_artefact::sklearn::{Estimators, Importances, Regressor};

use super::{boosters, compile_member, is_regressor};
use crate::artefact::View;
use crate::plan::Plan;
use crate::{Fault, Model, ModelError, RowRefusal, Rows};

/// The readers of this crate.
#[derive(Debug)]
pub(crate) struct Readers;

/// A regressor inside a step.
#[derive(Debug)]
struct Inner(Plan);

impl Regressor for Inner {
    fn predict(&self, row: &[f64]) -> Result<f64, RowRefusal> {
        let refusal = |error: ModelError| match error {
            ModelError::Row(refusal) => refusal,
            error => RowRefusal::of_row(error.to_string()),
        };
        let rows = Rows::new(row.len(), row).map_err(|error| refusal(error.into()))?;
        let scores = self.0.predict(rows).map_err(refusal)?;
        scores.values.first().copied().ok_or_else(|| RowRefusal::of_row("has no answer"))
    }
}

impl Estimators for Readers {
    fn regressor(&self, view: &View<'_>, width: usize) -> Result<Arc<dyn Regressor>, Fault> {
        let plan = compile_member(view, width)?;
        if !is_regressor(&plan) {
            return Err(view.fault(format!("{} is no regressor of one output", view.kind())));
        }
        Ok(Arc::new(Inner(plan)))
    }

    fn importances(&self, view: &View<'_>, width: usize) -> Result<Option<Importances>, Fault> {
        boosters::importances(view, width)
    }
}
