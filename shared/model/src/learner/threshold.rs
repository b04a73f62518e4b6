//! A classifier of two classes with a threshold of its own.

use forebay_artefact::Frame;

use super::Learner;
use super::member::{Reader, Response, respond};
use crate::ModelError;
use crate::plan::Plan;

/// The second class wins where its score reaches the threshold. The raw outputs are the index of the class, and the
/// member's probabilities if it has them.
#[derive(Debug)]
pub(crate) struct Threshold {
    pub width: usize,
    pub member: Plan,
    pub method: Response,
    pub threshold: f64,
    /// Whether scores tell the first class instead of the second.
    pub first: bool,
    pub probabilities: bool,
}

impl Learner for Threshold {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        if self.probabilities { 3 } else { 1 }
    }

    fn name(&self) -> String {
        format!("Threshold({})", self.threshold)
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let (_, scores) = respond(&self.member, self.method, frame.clone())?;
        let shown = match self.probabilities {
            true => respond(&self.member, Response::Probabilities, frame.clone())?.1,
            false => Vec::new(),
        };
        let mut out = Vec::with_capacity(scores.len() * self.outputs());
        for (i, score) in scores.iter().enumerate() {
            let score = match (self.first, self.method) {
                (false, _) => *score,
                (true, Response::Decision) => -score,
                (true, _) => 1.0 - score,
            };
            out.push(f64::from(u8::from((score >= self.threshold) != self.first)));
            out.extend_from_slice(shown.get(2 * i..2 * i + 2).unwrap_or(&[]));
        }
        Ok(out)
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        self.member.decide(frame.clone())
    }

    fn hands_over(&self) -> bool {
        true
    }

    fn members(&self) -> Vec<Reader<'_>> {
        vec![(&self.member, None)]
    }
}
