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

/// A regressor and the trees that are added to its answer. Both take values in single precision.
#[derive(Debug)]
pub(crate) struct Boosted {
    pub start: Plan,
    pub trees: Arc<Forest>,
}

impl Learner for Boosted {
    fn width(&self) -> usize {
        self.start.width()
    }

    fn outputs(&self) -> usize {
        1
    }

    fn name(&self) -> String {
        format!("Boosted({})", self.trees.name())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let m = frame.numbers().map_err(ModelError::Row)?;
        let data = m.data.iter().map(|v| f64::from(*v as f32)).collect();
        let single = Matrix { width: m.width, data };
        let (_, mut out) = respond(&self.start, Response::Predict, Frame::Numbers(single.clone()))?;
        let trees = Head::Forest(self.trees.clone()).run(single)?;
        out.iter_mut().zip(trees).for_each(|(o, t)| *o += t);
        Ok(out)
    }

    fn members(&self) -> Vec<Reader<'_>> {
        vec![(&self.start, None)]
    }
}
