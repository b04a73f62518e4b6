//! Estimators on top of estimators: stacking, several outputs, chains.

use forebay_artefact::Frame;

use super::Learner;
use super::member::{Reader, Response, missing_columns_of, respond};
use crate::matrix::Matrix;
use crate::plan::Plan;
use crate::{Model, ModelError};

fn matrix(width: usize, data: Vec<f64>) -> Frame {
    Frame::Numbers(Matrix { width, data })
}

/// Stacking: the members' answers, and the row itself if asked for, are the input of a last estimator.
#[derive(Debug)]
pub(crate) struct Stack {
    pub width: usize,
    pub members: Vec<(Plan, Response)>,
    pub passthrough: bool,
    pub last: Plan,
}

impl Stack {
    fn answers(&self, frame: &Frame) -> Result<Frame, ModelError> {
        let mut parts = Vec::with_capacity(self.members.len() + 1);
        for (plan, method) in &self.members {
            let (width, data) = respond(plan, *method, frame.clone())?;
            parts.push(matrix(width, data));
        }
        if self.passthrough {
            parts.push(frame.clone());
        }
        Frame::beside(parts).map_err(ModelError::Row)
    }

    /// How many columns of the members' answers come before those of the row itself.
    fn added(&self, answers: &Frame) -> usize {
        answers.width() - if self.passthrough { self.width } else { 0 }
    }
}

impl Learner for Stack {
    fn width(&self) -> usize {
        self.width
    }

    fn is_partial(&self) -> bool {
        self.last.is_partial() || self.members.iter().any(|(member, _)| member.is_partial())
    }

    fn outputs(&self) -> usize {
        self.last.transform().outputs()
    }

    fn name(&self) -> String {
        let members: Vec<String> = self.members.iter().map(|(plan, _)| plan.ops().join("+")).collect();
        format!("Stack({} -> {})", members.join(", "), self.last.ops().join("+"))
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let answers = self.answers(frame)?;
        let added = self.added(&answers);
        self.last.raw(answers).map_err(|error| error.traced(|column| column.checked_sub(added)))
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        match self.answers(frame) {
            Ok(answers) => {
                let added = self.added(&answers);
                let decisions = self.last.decide(answers)?;
                Some(decisions.map_err(|error| error.traced(|column| column.checked_sub(added))))
            }
            Err(e) => Some(Err(e)),
        }
    }

    /// A row that is passed on is an array, whose columns are where they were.
    fn hands_over(&self) -> bool {
        !self.passthrough
    }

    fn members(&self) -> Vec<Reader<'_>> {
        self.members.iter().map(|(plan, _)| (plan, None)).collect()
    }

    fn tells_absent(&self) -> bool {
        self.members.iter().any(|(plan, _)| plan.tells_absent()) || (self.passthrough && self.last.tells_absent())
    }

    fn missing_columns(&self) -> Option<Vec<bool>> {
        let mut missing = missing_columns_of(self.width, &self.members());
        if self.passthrough {
            // after the answers of the members
            let last = self.last.missing_columns();
            let passed = last[last.len().saturating_sub(self.width)..].iter();
            missing.iter_mut().zip(passed).for_each(|(column, may_be)| *column &= may_be);
        }
        Some(missing)
    }
}

/// One estimator per output; in a chain, each also takes the answers of those before it.
#[derive(Debug)]
pub(crate) struct Several {
    pub width: usize,
    pub members: Vec<Plan>,
    /// What a member passes on to the next, in a chain.
    pub chain: Option<Response>,
    /// The place of each member's output.
    pub order: Vec<usize>,
    /// Whether the raw outputs are the members' raw outputs, which have links of their own, or their predictions.
    pub raw: bool,
}

/// What is wanted of each member of a [`Several`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Raw,
    Prediction,
    Decision,
}

impl Several {
    fn answers(&self, frame: &Frame, wanted: Wanted) -> Result<Vec<f64>, ModelError> {
        let mut passed: Vec<Frame> = vec![frame.clone()];
        let mut answers: Vec<(usize, Vec<f64>)> = Vec::new();
        for member in &self.members {
            let input = match self.chain {
                Some(_) => Frame::beside(passed.clone()).map_err(ModelError::Row)?,
                None => frame.clone(),
            };
            if let Some(method) = self.chain {
                let (width, data) = respond(member, method, input.clone())?;
                passed.push(matrix(width, data));
            }
            answers.push(match wanted {
                Wanted::Raw => (member.transform().outputs(), member.raw(input)?),
                Wanted::Prediction => respond(member, Response::Predict, input)?,
                Wanted::Decision => respond(member, Response::Decision, input)?,
            });
        }
        let mut by_place: Vec<usize> = (0..self.members.len()).collect();
        by_place.sort_by_key(|i| self.order[*i]);
        let mut out = Vec::new();
        for row in 0..frame.rows() {
            for i in &by_place {
                let (width, values) = &answers[*i];
                out.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
        Ok(out)
    }
}

impl Learner for Several {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.members.iter().map(|m| if self.raw { m.transform().outputs() } else { m.transform().values() }).sum()
    }

    fn name(&self) -> String {
        let first = self.members.first().map(|m| m.ops().join("+")).unwrap_or_default();
        let kind = if self.chain.is_some() { "Chain" } else { "Several" };
        format!("{kind}({}: {first}, ..)", self.members.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        self.answers(frame, if self.raw { Wanted::Raw } else { Wanted::Prediction })
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        let decides = self.members.iter().all(Plan::decides);
        decides.then(|| self.answers(frame, Wanted::Decision))
    }

    /// A chain looks at its input itself.
    fn hands_over(&self) -> bool {
        self.chain.is_none()
    }

    fn members(&self) -> Vec<Reader<'_>> {
        self.members.iter().map(|plan| (plan, None)).collect()
    }
}
