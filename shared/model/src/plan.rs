//! The compiled plan of a model: fitted f64 steps, one head, and the transform of the head's outputs to scores.

mod columns;

pub(crate) use columns::Columns;
use forebay_artefact::Frame;

use crate::head::Head;
use crate::matrix::Matrix;
use crate::output_transform::OutputTransform;
use crate::step::{
    RowForm, Step, any_sparse, apply_all, apply_frame, missing_columns, reads, sample, source, stores_zeros, takes,
    tells_absent,
};
use crate::{Column, Model, ModelError, Output, Outputs, Rows, Scores, Signature, TypedRows, Value};

/// Steps, head and output transform of a model. Their widths were checked when the plan was built.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Without names in a member of an ensemble.
    signature: Signature,
    /// The number of values of a row.
    width: usize,
    /// Empty when every column is a number.
    columns: Vec<Column>,
    steps: Vec<Step>,
    head: Head,
    transform: OutputTransform,
    head_takes_missing: bool,
    form: RowForm,
    /// Whether the steps or the head need rows in another form than dense numbers.
    any_form: bool,
    /// Whether the estimator has a `decision_function`.
    decides: bool,
    /// Which columns have floats of 32 bits, to which values are rounded.
    singles: Vec<bool>,
}

impl Plan {
    /// Builds a plan. `features` are the columns of the first step's input.
    ///
    /// # Errors
    /// When widths do not match, or the labels do not match the transform's link.
    pub(crate) fn new(
        features: impl Into<Columns>,
        steps: Vec<Step>,
        head: Head,
        transform: OutputTransform,
        head_takes_missing: bool,
    ) -> Result<Self, String> {
        let features = features.into();
        let width = features.len();
        let given = steps.iter().fold(width, |w, s| s.output_width(w));
        if given != head.width() {
            return Err(format!("steps give {given} values, the estimator takes {}", head.width()));
        }
        transform.check()?;
        if transform.outputs() != head.outputs() {
            return Err(format!(
                "estimator gives {} outputs, its classes need {}",
                head.outputs(),
                transform.outputs()
            ));
        }
        let kinds = takes(&steps, width, head.takes());
        let read = reads(&steps, width);
        let as_fitted = head.tells_absent() || tells_absent(&steps);
        let form = if as_fitted { RowForm::AsFitted } else { RowForm::Cheapest };
        if head.tells_absent()
            && let Some(step) = stores_zeros(&steps)
        {
            return Err(format!(
                "{step} with sparse rows is not supported before XGBoost, which takes absent values for missing ones"
            ));
        }
        let any_form = kinds.is_some()
            || steps.iter().any(Step::gives_sparse)
            || (form == RowForm::AsFitted && any_sparse(&steps));
        let features = match features {
            Columns::Named(names) => names,
            Columns::Unnamed(_) => Vec::new(),
        };
        let signature = Signature { features, task: transform.task(), labels: transform.labels() };
        let plan = Self {
            signature,
            width,
            columns: Vec::new(),
            steps,
            head,
            transform,
            head_takes_missing,
            form,
            any_form,
            decides: false,
            singles: Vec::new(),
        };
        let columns = kinds.map_or_else(Vec::new, |kinds| plan.typed_columns(&kinds, &read));
        Ok(Self { columns, ..plan })
    }

    /// Whether the estimator has a `decision_function`: the learner's own, else the raw outputs.
    pub(crate) fn with_decision(mut self, decides: bool) -> Self {
        self.decides = decides;
        self
    }

    /// The number of values of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Whether every value of a row may be missing.
    pub(crate) fn accepts_missing(&self) -> bool {
        self.missing_columns().iter().all(|may_be| *may_be)
    }

    /// Whether the value of each column may be missing.
    pub(crate) fn missing_columns(&self) -> Vec<bool> {
        let head = self.head.missing_columns(self.head_takes_missing);
        missing_columns(&self.steps, self.width, &head)
    }

    /// Whether an absent value of a sparse row may be missing, not a zero.
    pub(crate) fn tells_absent(&self) -> bool {
        self.form == RowForm::AsFitted
    }

    /// Whether each column is used at all.
    pub(crate) fn reads(&self) -> Vec<bool> {
        reads(&self.steps, self.width)
    }

    /// Whether predictions are bit-identical to scikit-learn's. That holds for trees without a link function.
    pub(crate) fn is_exact(&self) -> bool {
        self.transform.is_plain() && self.head.is_exact()
    }

    /// What the head's raw outputs mean.
    pub(crate) fn transform(&self) -> &OutputTransform {
        &self.transform
    }

    /// The head's raw outputs.
    pub(crate) fn raw(&self, frame: Frame) -> Result<Vec<f64>, ModelError> {
        let prepared = self.prepare(frame)?;
        self.head.run_frame(prepared).map_err(|error| self.before_steps(error))
    }

    /// The scores of rows in any form.
    pub(crate) fn score_frame(&self, frame: Frame) -> Result<Scores, ModelError> {
        self.check_width(&frame)?;
        if frame.rows() == 0 {
            return Ok(self.transform.scores(Vec::new()));
        }
        Ok(self.transform.scores(self.raw(frame)?))
    }

    /// What `decision_function` answers, row-major; `None` when the estimator has no such method.
    pub(crate) fn decide(&self, frame: Frame) -> Option<Result<Vec<f64>, ModelError>> {
        if !self.decides {
            return None;
        }
        let prepared = match self.prepare(frame) {
            Ok(prepared) => prepared,
            Err(e) => return Some(Err(e)),
        };
        Some(self.head.decide(prepared).map_err(|error| self.before_steps(error)))
    }

    /// The rows after the steps. Members of a model may answer fewer or more numbers than the one behind them takes.
    fn prepare(&self, frame: Frame) -> Result<Frame, ModelError> {
        self.check_width(&frame)?;
        apply_frame(&self.steps, frame, self.form).map_err(ModelError::Row)
    }

    fn check_width(&self, frame: &Frame) -> Result<(), ModelError> {
        match frame.width() {
            width if width == self.width => Ok(()),
            got => Err(ModelError::Width { expected: self.width, got }),
        }
    }

    /// An error of the head as one of the rows before the steps.
    fn before_steps(&self, error: ModelError) -> ModelError {
        error.traced(|column| source(&self.steps, column))
    }

    /// Whether there is a `decision_function`.
    pub(crate) fn decides(&self) -> bool {
        self.decides
    }

    fn sample_scores(&self, frame: Frame) -> Result<Vec<f64>, ModelError> {
        let prepared = self.prepare(frame)?;
        let scores = self.head.learner().and_then(|learner| learner.score_samples(&prepared));
        scores.unwrap_or(Err(ModelError::Output(Output::ScoreSamples))).map_err(|error| self.before_steps(error))
    }
}

impl Model for Plan {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn is_partial(&self) -> bool {
        self.steps.iter().any(Step::is_partial) || self.head.is_partial()
    }

    fn sample(&self) -> Vec<Option<Value>> {
        sample(&self.steps, self.width, self.head.sample())
    }

    fn predict(&self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        let width = self.width;
        if rows.width() != width {
            return Err(ModelError::Width { expected: width, got: rows.width() });
        }
        if rows.is_empty() {
            return Ok(self.transform.scores(Vec::new()));
        }
        let mut m = Matrix { width, data: rows.values().to_vec() };
        if !self.singles.is_empty() {
            self.round(m.data.iter_mut().map(Some))?;
        }
        if self.any_form {
            return self.score_frame(Frame::Numbers(m));
        }
        apply_all(&self.steps, &mut m).map_err(ModelError::Row)?;
        Ok(self.transform.scores(self.head.run(m).map_err(|error| self.before_steps(error))?))
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn predict_typed(&self, rows: TypedRows<'_>) -> Result<Scores, ModelError> {
        self.score_frame(self.frame(rows)?)
    }

    fn outputs(&self) -> Outputs {
        Outputs {
            predict_proba: self.transform.has_probabilities(),
            decision_function: self.decides,
            score_samples: self.head.learner().is_some_and(|learner| learner.scores_samples()),
        }
    }

    fn predict_output(&self, rows: TypedRows<'_>, output: Output) -> Result<Scores, ModelError> {
        if !self.outputs().has(output) {
            return Err(ModelError::Output(output));
        }
        let scores = self.predict_typed(rows)?;
        let decision = match output {
            Output::Predict | Output::PredictProba => return Ok(scores),
            _ if rows.is_empty() => return Ok(scores),
            Output::DecisionFunction => self.decide(self.frame(rows)?).unwrap_or(Err(ModelError::Output(output)))?,
            Output::ScoreSamples => self.sample_scores(self.frame(rows)?)?,
        };
        Ok(scores.with_decision(decision))
    }

    fn ops(&self) -> Vec<String> {
        self.steps.iter().map(Step::name).chain(self.head.ops()).collect()
    }
}
