//! The last operation of a plan: prepared rows in, raw outputs out.

mod committee;
mod kernel_machine;
mod tensor;

use std::sync::Arc;

pub(crate) use committee::{Committee, Member, Rule};
pub(crate) use kernel_machine::{Kernel, KernelMachine};

use crate::ModelError;
use crate::forest::{Forest, tree_ensemble};
use crate::matrix::Matrix;
use crate::net::Net;
use crate::onnx::Program;

/// What turns prepared rows into raw outputs. Trees and nets are burn tensor programs.
#[derive(Debug)]
pub(crate) enum Head {
    Forest(Arc<Forest>),
    Net(Net),
    KernelMachine(KernelMachine),
    Committee(Committee),
    Program(Program),
}

impl Head {
    /// Values taken per row.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Forest(forest) => forest.width(),
            Self::Net(net) => net.width(),
            Self::KernelMachine(machine) => machine.width(),
            Self::Committee(committee) => committee.width(),
            Self::Program(program) => program.width(),
        }
    }

    /// Values given per row.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Forest(forest) => forest.outputs(),
            Self::Net(net) => net.outputs(),
            Self::KernelMachine(_) | Self::Committee(_) => 1,
            Self::Program(program) => program.outputs(),
        }
    }

    /// Names of the operations.
    pub(crate) fn ops(&self) -> Vec<String> {
        match self {
            Self::Forest(forest) => vec![forest.name()],
            Self::Net(net) => net.ops(),
            Self::KernelMachine(machine) => vec![machine.name()],
            Self::Committee(committee) => vec![committee.name()],
            Self::Program(program) => program.ops(),
        }
    }

    /// Whether the outputs are the bits that scikit-learn computes.
    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Self::Forest(_) => true,
            Self::Committee(committee) => committee.is_exact(),
            Self::Net(_) | Self::KernelMachine(_) | Self::Program(_) => false,
        }
    }

    /// Raw outputs, row-major; `m` has at least one row of `width()` values.
    ///
    /// # Errors
    /// [`ModelError::Execution`] when the tensor backend fails.
    pub(crate) fn run(&self, m: Matrix) -> Result<Vec<f64>, ModelError> {
        match self {
            Self::Forest(forest) => tensor::run(m, burn::tensor::DType::F64, |x| tree_ensemble(x, forest.clone())),
            Self::Net(net) => tensor::run(m, net.dtype(), |x| net.forward(x)),
            Self::KernelMachine(machine) => Ok(m.iter().map(|row| machine.decide(row)).collect()),
            Self::Committee(committee) => committee.run(&m),
            Self::Program(program) => tensor::run(m, program.dtype(), |x| program.run(x)),
        }
    }
}
