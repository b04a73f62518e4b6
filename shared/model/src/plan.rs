//! The compiled plan of a model: fitted f64 steps, one head, and the transform of the head's outputs to scores.

use crate::head::Head;
use crate::matrix::Matrix;
use crate::output_transform::OutputTransform;
use crate::step::{Missing, Step, apply_all, missing_after};
use crate::{Model, ModelError, Rows, Scores, Signature};

/// Steps, head and output transform of a model. Their widths were checked when the plan was built.
#[derive(Debug)]
pub(crate) struct Plan {
    signature: Signature,
    steps: Vec<Step>,
    head: Head,
    transform: OutputTransform,
    head_takes_missing: bool,
}

impl Plan {
    /// Builds a plan. `features` are the names of the first step's input.
    ///
    /// # Errors
    /// When widths do not match, or the labels do not match the transform's link.
    pub(crate) fn new(
        features: Vec<String>,
        steps: Vec<Step>,
        head: Head,
        transform: OutputTransform,
        head_takes_missing: bool,
    ) -> Result<Self, String> {
        let width = steps.iter().fold(features.len(), |w, s| s.output_width(w));
        if width != head.width() {
            return Err(format!("steps give {width} values, the estimator takes {}", head.width()));
        }
        transform.check()?;
        if transform.outputs() != head.outputs() {
            return Err(format!(
                "estimator gives {} outputs, its classes need {}",
                head.outputs(),
                transform.outputs()
            ));
        }
        let signature = Signature { features, task: transform.task(), labels: transform.labels() };
        Ok(Self { signature, steps, head, transform, head_takes_missing })
    }

    /// Whether a row of input may have missing values.
    pub(crate) fn accepts_missing(&self) -> bool {
        match missing_after(&self.steps) {
            Missing::Gone => true,
            Missing::Pass => self.head_takes_missing,
            Missing::Refused => false,
        }
    }

    /// Whether predictions are bit-identical to scikit-learn's. That holds for trees without a link function.
    pub(crate) fn is_exact(&self) -> bool {
        self.transform.is_plain() && self.head.is_exact()
    }

    /// Replaces the feature names by those of the model's description, which must be as many.
    pub(crate) fn rename_features(&mut self, features: Vec<String>) {
        debug_assert_eq!(features.len(), self.signature.width());
        self.signature.features = features;
    }
}

impl Model for Plan {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict(&self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        let width = self.signature.width();
        if rows.width() != width {
            return Err(ModelError::Width { expected: width, got: rows.width() });
        }
        if rows.is_empty() {
            return Ok(self.transform.scores(Vec::new()));
        }
        let mut m = Matrix { width, data: rows.values().to_vec() };
        apply_all(&self.steps, &mut m).map_err(ModelError::Execution)?;
        Ok(self.transform.scores(self.head.run(m)?))
    }

    fn ops(&self) -> Vec<String> {
        self.steps.iter().map(Step::name).chain(self.head.ops()).collect()
    }
}
