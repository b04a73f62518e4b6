//! The separate preprocessing artefact of a version (the legacy `scaler.pkl`): fitted scikit-learn steps that
//! turn a raw row into the model's input, in f64, in scikit-learn's order of operations.

use crate::matrix::Matrix;
use crate::step::{
    Missing, RowForm, Step, apply_all, apply_frame, ends_sparse, missing_after, sample, source, stores_zeros,
};
use crate::{Frame, RowRefusal, Value};

/// Fitted steps stored beside a model and applied before it. Steps inside a model's pipeline are not included.
#[derive(Debug)]
pub struct Preprocessing {
    id: String,
    width: usize,
    output_width: usize,
    missing: Missing,
    steps: Vec<Step>,
    /// Whether values that a sparse row does not hold are missing after it, not zeros.
    absent_is_missing: bool,
}

/// Fitted steps read from an artefact.
pub(crate) struct Steps {
    pub width: usize,
    pub output_width: usize,
    pub steps: Vec<Step>,
}

/// Why a row cannot be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    #[error("row has {got} values, preprocessing takes {expected}")]
    Width { expected: usize, got: usize },
    /// scikit-learn rejects infinite input as well; NaN is a missing value and is accepted.
    #[error("feature {index} is infinite")]
    Infinite { index: usize },
    /// A value that an encoder was not fitted on and does not ignore.
    #[error("{0}")]
    Unknown(RowRefusal),
}

impl PrepareError {
    /// The error with the name of the feature.
    pub fn describe<T: AsRef<str>>(&self, names: &[T]) -> String {
        match self {
            Self::Infinite { index } => RowRefusal::at(*index, "is not finite").describe(names),
            Self::Unknown(refusal) => refusal.describe(names),
            Self::Width { .. } => self.to_string(),
        }
    }
}

impl Preprocessing {
    /// `digest` is the content digest of the artefact's files; its first 16 hexadecimal digits become the ID.
    pub(crate) fn new(digest: &[u8; 32], steps: Steps) -> Self {
        let Steps { width, output_width, steps } = steps;
        let missing = missing_after(&steps, width);
        let id = crate::hex(digest)[..16].to_owned();
        Self { id, width, output_width, missing, steps, absent_is_missing: false }
    }

    /// The same before a model of XGBoost, which takes a value that a sparse row does not hold for a missing one.
    ///
    /// # Errors
    /// The name of a step whose sparse rows hold zeros, which this crate leaves out.
    pub(crate) fn before_xgboost(self) -> Result<Self, String> {
        let absent_is_missing = self.gives_sparse();
        match stores_zeros(&self.steps) {
            Some(step) if absent_is_missing => Err(format!("{step} with sparse rows is not supported before XGBoost")),
            _ => Ok(Self { absent_is_missing, ..self }),
        }
    }

    /// Whether prepared rows are sparse in scikit-learn.
    pub fn gives_sparse(&self) -> bool {
        ends_sparse(&self.steps, false)
    }

    /// Whether values that a sparse row does not hold are missing after it, not zeros.
    pub fn absent_is_missing(&self) -> bool {
        self.absent_is_missing
    }

    /// Short content digest: two artefacts with the same bytes have the same ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Number of values in a raw row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of values in a prepared row.
    pub fn output_width(&self) -> usize {
        self.output_width
    }

    /// Whether these steps impute missing values (NaN).
    pub fn accepts_missing(&self) -> bool {
        self.missing == Missing::Gone
    }

    /// How these steps treat missing values. Values that pass through are left to the model.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Whether a raw row may have missing values, given whether the model behind these steps accepts them.
    pub fn admits_missing(&self, model_accepts: bool) -> bool {
        match self.missing {
            Missing::Gone => true,
            Missing::Pass => model_accepts,
            Missing::Refused => false,
        }
    }

    /// The raw column that a prepared column is the value of; `None` when it is made of several.
    pub fn source(&self, column: usize) -> Option<usize> {
        source(&self.steps, column)
    }

    /// For each raw column a value that the steps take, if one is known, where the model takes `then`.
    pub fn sample(&self, then: Vec<Option<Value>>) -> Vec<Option<Value>> {
        sample(&self.steps, self.width, Some(then))
    }

    /// Names of the steps, in order.
    pub fn ops(&self) -> Vec<String> {
        self.steps.iter().map(Step::name).collect()
    }

    /// Prepares one raw row. `out` is overwritten with `output_width()` values; reuse it to save the allocation.
    /// Without an imputer a NaN stays NaN, as in scikit-learn's scalers.
    ///
    /// # Errors
    /// [`PrepareError`] for a row of the wrong width, with an infinite value, or with a category unknown to an encoder.
    /// The content of `out` is then unspecified.
    pub fn prepare(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), PrepareError> {
        if row.len() != self.width {
            return Err(PrepareError::Width { expected: self.width, got: row.len() });
        }
        if let Some(index) = row.iter().position(|v| v.is_infinite()) {
            return Err(PrepareError::Infinite { index });
        }
        out.clear();
        out.extend_from_slice(row);
        let mut matrix = Matrix { width: self.width, data: std::mem::take(out) };
        if self.absent_is_missing {
            let frame = apply_frame(&self.steps, Frame::Numbers(matrix), RowForm::AsFitted);
            matrix = frame.and_then(|frame| frame.into_numbers_or(f64::NAN)).map_err(PrepareError::Unknown)?;
        } else {
            apply_all(&self.steps, &mut matrix).map_err(PrepareError::Unknown)?;
        }
        *out = matrix.data;
        Ok(())
    }
}
