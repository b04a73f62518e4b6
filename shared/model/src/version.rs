//! A loaded version of a model.

use std::sync::Arc;

use crate::{Expectation, Model, Preprocessing, Signature};

/// A version that is ready to predict.
#[derive(Debug, Clone)]
pub struct LoadedVersion {
    pub name: String,
    pub version: u32,
    /// Identifies the content of the version; see `forebay_registry::Registry` for what it is computed from.
    pub digest: [u8; 32],
    pub model: Arc<dyn Model>,
    /// The preprocessing that is applied to a raw row before `model`.
    pub preprocessing: Option<Arc<Preprocessing>>,
    /// Raw rows, as clients send them (before `preprocessing`); NaN is a missing value.
    pub input_example: Option<Vec<Vec<f64>>>,
    /// The predictions of the model's origin for these rows; see [`LoadedVersion::check_example`].
    pub expectation: Option<Arc<Expectation>>,
    /// Whether a raw row may have missing values: imputed by preprocessing, or handled by the model itself.
    pub accepts_missing: bool,
    /// The signature of the raw row.
    pub signature: Signature,
}

impl LoadedVersion {
    /// Prepares raw rows and predicts them, for callers without a preprocessing stage.
    ///
    /// # Errors
    /// As [`Model::predict`]; a row that preprocessing rejects is a [`crate::ModelError::Execution`].
    pub fn predict_raw(&self, rows: crate::Rows<'_>) -> Result<crate::Scores, crate::ModelError> {
        let Some(preprocessing) = &self.preprocessing else { return self.model.predict(rows) };
        let mut prepared = Vec::with_capacity(rows.len() * preprocessing.output_width());
        let mut out = Vec::new();
        for row in rows.iter() {
            preprocessing.prepare(row, &mut out).map_err(|e| match e {
                crate::PrepareError::Width { expected, got } => crate::ModelError::Width { expected, got },
                other => crate::ModelError::Execution(other.to_string()),
            })?;
            prepared.extend_from_slice(&out);
        }
        self.model.predict(crate::Rows::new(preprocessing.output_width(), &prepared)?)
    }
}
