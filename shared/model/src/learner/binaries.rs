//! Classifiers of several classes made of estimators for two: one-vs-rest, one-vs-one, output codes.

use forebay_artefact::Frame;

use super::Learner;
use super::member::{Reader, Response, respond};
use super::support::votes;
use crate::output_transform::argmax;
use crate::plan::Plan;
use crate::{Model, ModelError};

/// How estimators for two classes decide among several.
#[derive(Debug)]
pub(crate) enum Scheme {
    /// One estimator per class; the raw outputs are the index and, if `probabilities`, a probability per class.
    OneVsRest { probabilities: bool },
    /// One estimator per pair of classes; the raw output is the index.
    OneVsOne { classes: usize },
    /// The class whose code (row-major `classes x estimators`) is nearest.
    Codes { book: Vec<f64> },
}

/// A classifier made of estimators for two classes.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub width: usize,
    pub members: Vec<Plan>,
    pub scheme: Scheme,
}

/// The score of the second class: the estimator's decision, the prediction of a regressor, or else the probability.
fn score(plan: &Plan, frame: Frame) -> Result<Vec<f64>, ModelError> {
    let method = if plan.decides() {
        Response::Decision
    } else if plan.outputs().predict_proba {
        Response::Positive
    } else {
        Response::Predict
    };
    respond(plan, method, frame).map(|(_, scores)| scores)
}

impl Binaries {
    fn columns(
        &self,
        frame: &Frame,
        of: impl Fn(&Plan, Frame) -> Result<Vec<f64>, ModelError>,
    ) -> Result<Vec<Vec<f64>>, ModelError> {
        self.members.iter().map(|plan| of(plan, frame.clone())).collect()
    }

    /// What the score of the second of two classes must exceed.
    fn border(&self) -> f64 {
        if self.members.first().is_some_and(Plan::decides) { 0.0 } else { 0.5 }
    }

    fn scores(&self, frame: &Frame) -> Result<Vec<Vec<f64>>, ModelError> {
        let columns = self.columns(frame, score)?;
        let row = |i: usize| columns.iter().map(|c| c[i]).collect::<Vec<f64>>();
        let Scheme::OneVsOne { classes } = self.scheme else {
            return Ok((0..frame.rows()).map(row).collect());
        };
        let answers = self.columns(frame, |plan, frame| respond(plan, Response::Predict, frame).map(|(_, v)| v))?;
        let voted = (0..frame.rows()).map(|i| {
            let second: Vec<bool> = answers.iter().map(|c| c[i] == 1.0).collect();
            votes(classes, &second, &row(i))
        });
        Ok(voted.collect())
    }
}

impl Learner for Binaries {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        match self.scheme {
            Scheme::OneVsRest { probabilities: true } => self.members.len() + 1,
            _ => 1,
        }
    }

    fn name(&self) -> String {
        let first = self.members.first().map(|m| m.ops().join("+")).unwrap_or_default();
        let kind = match self.scheme {
            Scheme::OneVsRest { .. } => "OneVsRest",
            Scheme::OneVsOne { .. } => "OneVsOne",
            Scheme::Codes { .. } => "Codes",
        };
        format!("{kind}({}: {first}, ..)", self.members.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let scores = self.scores(frame)?;
        let positive = match self.scheme {
            Scheme::OneVsRest { probabilities: true } => {
                Some(self.columns(frame, |plan, frame| respond(plan, Response::Positive, frame).map(|(_, v)| v))?)
            }
            _ => None,
        };
        let mut out = Vec::new();
        for (i, row) in scores.iter().enumerate() {
            out.push(match &self.scheme {
                Scheme::Codes { book } => {
                    // the squares of the differences, multiplied out: codes are often equally near, but for rounding
                    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                    let near = |code: &[f64]| 2.0 * product(code, row) - product(code, code);
                    f64::from(argmax(&book.chunks_exact(row.len()).map(near).collect::<Vec<f64>>()))
                }
                // the votes and the scores of a pair may differ
                Scheme::OneVsOne { classes: 2 } => f64::from(u8::from(row[1] > self.border())),
                _ => f64::from(argmax(row)),
            });
            if let Some(positive) = &positive {
                let total: f64 = positive.iter().map(|c| c[i]).sum();
                // as scikit-learn, which leaves a row of zeros as it is
                out.extend(positive.iter().map(|c| if total == 0.0 { c[i] } else { c[i] / total }));
            }
        }
        Ok(out)
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        if matches!(self.scheme, Scheme::Codes { .. }) {
            return None;
        }
        let scores = self.scores(frame);
        Some(scores.map(|rows| match self.scheme {
            Scheme::OneVsOne { classes: 2 } => rows.iter().map(|row| row[1]).collect(),
            _ => rows.concat(),
        }))
    }

    /// One-vs-one looks at its input itself.
    fn hands_over(&self) -> bool {
        !matches!(self.scheme, Scheme::OneVsOne { .. })
    }

    fn members(&self) -> Vec<Reader<'_>> {
        self.members.iter().map(|plan| (plan, None)).collect()
    }
}
