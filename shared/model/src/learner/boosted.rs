//! Gradient boosting that starts from the answer of an estimator.

use std::sync::Arc;

use forebay_artefact::Frame;

use super::Learner;
use super::member::{Reader, Response, respond};
use crate::ModelError;
use crate::forest::Forest;
use crate::head::Head;
use crate::matrix::Matrix;
use crate::plan::Plan;

/// What the answer of an estimator becomes before trees are added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The prediction of a regressor.
    Number,
    /// The log-odds of the second of two classes.
    Logit,
    /// Half of them.
    HalfLogit,
    /// The logarithm of each class' probability, less their mean.
    Logarithms,
}

impl Start {
    /// Appends what the answers of a row become.
    fn push(self, answers: &[f64], out: &mut Vec<f64>) {
        let clip = |p: f64| p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        let logit = |p: f64| (p / (1.0 - p)).ln();
        match (self, answers) {
            (Self::Logit, [_, second]) => out.push(logit(clip(*second))),
            (Self::HalfLogit, [_, second]) => out.push(0.5 * logit(clip(*second))),
            (Self::Logarithms, answers) => {
                let mean = answers.iter().map(|p| clip(*p).ln()).sum::<f64>() / answers.len() as f64;
                out.extend(answers.iter().map(|p| clip(*p).ln() - mean));
            }
            (_, answers) => out.extend(answers),
        }
    }
}

/// An estimator and the trees that are added to its answer. Both take values in single precision.
#[derive(Debug)]
pub(crate) struct Boosted {
    pub start: Plan,
    pub trees: Arc<Forest>,
    pub of: Start,
}

impl Learner for Boosted {
    fn width(&self) -> usize {
        self.start.width()
    }

    fn outputs(&self) -> usize {
        self.trees.outputs()
    }

    fn name(&self) -> String {
        format!("Boosted({})", self.trees.name())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let m = frame.numbers().map_err(ModelError::Row)?;
        let data = m.data.iter().map(|v| f64::from(*v as f32)).collect();
        let single = Matrix { width: m.width, data };
        let method = if self.of == Start::Number { Response::Predict } else { Response::Probabilities };
        let (width, answers) = respond(&self.start, method, Frame::Numbers(single.clone()))?;
        let mut out = Vec::with_capacity(m.rows() * self.trees.outputs());
        answers.chunks_exact(width.max(1)).for_each(|answers| self.of.push(answers, &mut out));
        let trees = Head::Forest(self.trees.clone()).run(single)?;
        out.iter_mut().zip(trees).for_each(|(o, t)| *o += t);
        Ok(out)
    }

    fn members(&self) -> Vec<Reader<'_>> {
        vec![(&self.start, None)]
    }
}
