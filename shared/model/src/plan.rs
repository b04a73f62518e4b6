//! The compiled plan: fitted f64 steps, then one head, then the answer's link.

use crate::answer::Answer;
use crate::head::Head;
use crate::matrix::Matrix;
use crate::step::{Missing, Step, apply_all, missing_after};
use crate::{Model, ModelError, Rows, Scores, Signature};

/// Steps, head and answer of a model; widths were checked when it was built.
#[derive(Debug)]
pub(crate) struct Plan {
    signature: Signature,
    steps: Vec<Step>,
    head: Head,
    answer: Answer,
    head_takes_missing: bool,
}

impl Plan {
    /// Puts a plan together. `features` are the names of the first step's input.
    ///
    /// # Errors
    /// Widths that do not fit each other, or labels that do not fit the answer's link.
    pub(crate) fn new(
        features: Vec<String>,
        steps: Vec<Step>,
        head: Head,
        answer: Answer,
        head_takes_missing: bool,
    ) -> Result<Self, String> {
        let width = steps.iter().fold(features.len(), |w, s| s.output_width(w));
        if width != head.width() {
            return Err(format!("steps give {width} values, the estimator takes {}", head.width()));
        }
        answer.check()?;
        if answer.outputs() != head.outputs() {
            return Err(format!("estimator gives {} outputs, its classes need {}", head.outputs(), answer.outputs()));
        }
        let signature = Signature { features, task: answer.task(), labels: answer.labels() };
        Ok(Self { signature, steps, head, answer, head_takes_missing })
    }

    /// Whether a row of the plan's input may have missing values.
    pub(crate) fn accepts_missing(&self) -> bool {
        match missing_after(&self.steps) {
            Missing::Gone => true,
            Missing::Pass => self.head_takes_missing,
            Missing::Refused => false,
        }
    }

    /// Whether answers are the bits of scikit-learn: trees, without a link function behind them.
    pub(crate) fn is_exact(&self) -> bool {
        self.answer.is_plain() && self.head.is_exact()
    }

    #[cfg(test)]
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Takes over names from the model's description; the width must be the same.
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
            return Ok(self.answer.scores(Vec::new()));
        }
        let mut m = Matrix { width, data: rows.values().to_vec() };
        apply_all(&self.steps, &mut m).map_err(ModelError::Execution)?;
        Ok(self.answer.scores(self.head.run(m)?))
    }

    fn ops(&self) -> Vec<String> {
        self.steps.iter().map(Step::name).chain(self.head.ops()).collect()
    }
}
