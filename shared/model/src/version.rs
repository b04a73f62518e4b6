//! A version of a model once it is loaded.

use std::sync::Arc;

use crate::{Expectation, Model, Preprocessing, Signature};

/// A version ready to answer.
#[derive(Debug, Clone)]
pub struct LoadedVersion {
    pub name: String,
    pub version: u32,
    /// Says whether it is the version known already; see `forebay_registry::Registry` for what it is made of.
    pub digest: [u8; 32],
    pub model: Arc<dyn Model>,
    /// To be applied to the raw row before `model`.
    pub preprocessing: Option<Arc<Preprocessing>>,
    /// Raw rows, as clients send them (before `preprocessing`); NaN = missing.
    pub input_example: Option<Vec<Vec<f64>>>,
    /// What the model's origin answered to these rows; see [`LoadedVersion::check_example`].
    pub expectation: Option<Arc<Expectation>>,
    /// Whether a raw row may have missing values: imputed by preprocessing, or handled by the model itself.
    pub accepts_missing: bool,
    /// The signature of the raw row.
    pub signature: Signature,
}

impl LoadedVersion {
    /// Prepares raw rows and answers them: what a caller without a preprocessing stage needs.
    ///
    /// # Errors
    /// [`crate::ModelError`] as [`Model::predict`]; rows preprocessing refuses become `Execution` errors.
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
