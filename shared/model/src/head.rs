//! The estimator at the end of a plan: prepared rows in, raw outputs out.

mod ensemble;

use std::sync::Arc;

use burn::tensor::DType;
use forebay_artefact::{ColumnKind, Frame};

pub(crate) use ensemble::{Average, Ensemble, Member};

use crate::booster::{Booster, Coder};
use crate::forest::{Forest, tree_ensemble};
use crate::kernel_machine::KernelMachine;
use crate::learner::{Learner, Reader, kinds_of, missing_columns_of};
use crate::matrix::Matrix;
use crate::net::Net;
use crate::onnx::Program;
use crate::{ModelError, Rows, Value, tensor};

/// Computes raw outputs from prepared rows. Trees and nets run as burn tensor programs.
#[derive(Debug)]
pub(crate) enum Head {
    Forest(Arc<Forest>),
    Net(Net),
    KernelMachine(KernelMachine),
    Ensemble(Ensemble),
    Program(Program),
    Booster(Arc<dyn Booster>),
    Learner(Arc<dyn Learner>),
}

impl Head {
    /// The number of values in a row of input.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Forest(forest) => forest.width(),
            Self::Net(net) => net.width(),
            Self::KernelMachine(machine) => machine.width(),
            Self::Ensemble(ensemble) => ensemble.width(),
            Self::Program(program) => program.width(),
            Self::Booster(booster) => booster.width(),
            Self::Learner(learner) => learner.width(),
        }
    }

    /// The number of raw outputs per row.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Forest(forest) => forest.outputs(),
            Self::Net(net) => net.outputs(),
            Self::KernelMachine(_) | Self::Ensemble(_) => 1,
            Self::Program(program) => program.outputs(),
            Self::Booster(booster) => booster.outputs(),
            Self::Learner(learner) => learner.outputs(),
        }
    }

    /// The names of the operations, in order.
    pub(crate) fn ops(&self) -> Vec<String> {
        match self {
            Self::Forest(forest) => vec![forest.name()],
            Self::Net(net) => net.ops(),
            Self::KernelMachine(machine) => vec![machine.name()],
            Self::Ensemble(ensemble) => vec![ensemble.name()],
            Self::Program(program) => program.ops(),
            Self::Booster(booster) => vec![booster.name()],
            Self::Learner(learner) => vec![learner.name()],
        }
    }

    /// Whether the outputs are bit-identical to those of the library that the estimator is from.
    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Self::Forest(_) => true,
            Self::Ensemble(ensemble) => ensemble.is_exact(),
            Self::Booster(booster) => booster.is_exact(),
            Self::Learner(learner) => learner.is_exact(),
            Self::Net(_) | Self::KernelMachine(_) | Self::Program(_) => false,
        }
    }

    /// Whether there are rows without an answer: their outputs are not finite.
    pub(crate) fn is_partial(&self) -> bool {
        match self {
            Self::Ensemble(ensemble) => ensemble.is_partial(),
            Self::Learner(learner) => learner.is_partial(),
            _ => false,
        }
    }

    /// The raw outputs, row-major. `m` must have at least one row of `width()` values.
    ///
    /// # Errors
    /// [`ModelError::Row`] when the estimator has no answer to a row, [`ModelError::Execution`] when the tensor backend
    /// fails.
    pub(crate) fn run(&self, m: Matrix) -> Result<Vec<f64>, ModelError> {
        match self {
            Self::Forest(forest) => tensor::run(m, DType::F64, |x| tree_ensemble(x, forest.clone())),
            Self::Net(net) => tensor::run(m, net.dtype(), |x| net.forward(x)),
            Self::KernelMachine(machine) => Ok(m.iter().map(|row| machine.decide(row)).collect()),
            Self::Ensemble(ensemble) => ensemble.run(&m),
            Self::Program(program) => program.predict(m),
            Self::Booster(booster) if booster.coder().is_some() => self.run_frame(Frame::Numbers(m)),
            Self::Booster(booster) => Ok(booster.predict(Rows::new(m.width, &m.data)?)),
            Self::Learner(learner) => learner.run(&Frame::Numbers(m)),
        }
    }

    /// As [`Head::run`], for rows in any form.
    ///
    /// # Errors
    /// As [`Head::run`], and for text where a number is needed.
    pub(crate) fn run_frame(&self, frame: Frame) -> Result<Vec<f64>, ModelError> {
        match self {
            Self::Learner(learner) => learner.run(&frame),
            Self::Ensemble(ensemble) => ensemble.run_frame(&frame),
            Self::Booster(booster) => {
                let m = coded(&**booster, frame)?;
                Ok(booster.predict(Rows::new(m.width, &m.data)?))
            }
            _ => self.run(frame.into_numbers().map_err(ModelError::Row)?),
        }
    }

    /// What `decision_function` answers for prepared rows.
    ///
    /// # Errors
    /// As [`Head::run_frame`].
    pub(crate) fn decide(&self, frame: Frame) -> Result<Vec<f64>, ModelError> {
        match self {
            Self::Learner(learner) => learner.decision(&frame).unwrap_or_else(|| learner.run(&frame)),
            Self::Booster(booster) => {
                let m = coded(&**booster, frame)?;
                let rows = Rows::new(m.width, &m.data)?;
                Ok(booster.margins(rows).unwrap_or_else(|| booster.predict(rows)))
            }
            _ => self.run_frame(frame),
        }
    }

    /// What the values of the input columns are; `None` when all are numbers.
    pub(crate) fn takes(&self) -> Option<Vec<ColumnKind>> {
        match self {
            Self::Learner(learner) => learner.takes(),
            Self::Ensemble(ensemble) => kinds_of(ensemble.width(), &ensemble.members()),
            Self::Booster(booster) => booster.coder().map(Coder::kinds),
            _ => None,
        }
    }

    /// For each input column a value that the estimator takes, if one is known; `None` where any number will do.
    pub(crate) fn sample(&self) -> Option<Vec<Option<Value>>> {
        match self {
            Self::Learner(learner) => learner.sample(),
            Self::Ensemble(ensemble) => ensemble.sample(),
            Self::Booster(booster) => booster.coder().map(Coder::sample),
            _ => None,
        }
    }

    /// Whether an absent value of a sparse row is missing, not a zero.
    pub(crate) fn tells_absent(&self) -> bool {
        match self {
            Self::Learner(learner) => learner.tells_absent(),
            Self::Ensemble(ensemble) => ensemble.members().iter().any(|(plan, _)| plan.tells_absent()),
            Self::Booster(booster) => booster.tells_absent(),
            _ => false,
        }
    }

    /// Which of the input columns may be missing; `takes_missing` says so of an estimator without members.
    pub(crate) fn missing_columns(&self, takes_missing: bool) -> Vec<bool> {
        let columns = match self {
            Self::Learner(learner) => learner.missing_columns(),
            Self::Ensemble(ensemble) => Some(missing_columns_of(ensemble.width(), &ensemble.members())),
            Self::Booster(booster) => booster.coder().map(Coder::missing_columns),
            _ => None,
        };
        match columns {
            Some(columns) if takes_missing => columns,
            _ => vec![takes_missing; self.width()],
        }
    }

    /// Whether every member takes its columns by their names, wherever they stand.
    pub(crate) fn selects_by_name(&self) -> bool {
        let (hands_over, members) = match self {
            Self::Learner(learner) => (learner.hands_over(), learner.members()),
            Self::Ensemble(ensemble) => (ensemble.hands_over(), ensemble.members()),
            _ => return false,
        };
        let by_name = |(plan, columns): &Reader<'_>| columns.is_none() && plan.selects_by_name();
        hands_over && !members.is_empty() && members.iter().all(by_name)
    }

    /// The learner, if the head is one.
    pub(crate) fn learner(&self) -> Option<&dyn Learner> {
        match self {
            Self::Learner(learner) => Some(&**learner),
            _ => None,
        }
    }
}

/// The numbers that a booster compares.
fn coded(booster: &dyn Booster, frame: Frame) -> Result<Matrix, ModelError> {
    let numbers = match booster.coder() {
        Some(coder) => coder.encode(frame),
        None if booster.tells_absent() => frame.into_numbers_or(f64::NAN),
        None => frame.into_numbers(),
    };
    numbers.map_err(ModelError::Row)
}
