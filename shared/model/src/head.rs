//! The last operation of a plan: prepared rows in, raw outputs out.

mod committee;
mod kernel_machine;
mod tensor;

use std::sync::Arc;

use burn::tensor::DType;

pub(crate) use committee::{Committee, Member, Rule};
pub(crate) use kernel_machine::{Kernel, KernelMachine};

use crate::ModelError;
use crate::forest::{Forest, tree_ensemble};
use crate::matrix::Matrix;
use crate::net::Net;
use crate::onnx::{Program, Trees};

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
            Self::Forest(forest) => tensor::run(m, DType::F64, |x| tree_ensemble(x, forest.clone())),
            Self::Net(net) => tensor::run(m, net.dtype(), |x| net.forward(x)),
            Self::KernelMachine(machine) => Ok(m.iter().map(|row| machine.decide(row)).collect()),
            Self::Committee(committee) => committee.run(&m),
            Self::Program(program) => match program.trees_alone() {
                Some(trees) => trees_alone(m, trees),
                None => tensor::run(m, program.dtype(), |x| program.run(x)),
            },
        }
    }
}

/// A program of trees alone, rounded here: tensors that are cast there and back cost a single row more than its way through the
/// trees.
fn trees_alone(mut m: Matrix, trees: &Trees) -> Result<Vec<f64>, ModelError> {
    let single = |v: f64| if trees.single { f64::from(v as f32) } else { v };
    m.data.iter_mut().for_each(|v| *v = single(*v));
    let mut out = tensor::run(m, DType::F64, |x| tree_ensemble(x, trees.forest.clone()))?;
    out.iter_mut().for_each(|v| *v = single(*v));
    if !trees.base.is_empty() {
        for row in out.chunks_exact_mut(trees.base.len()) {
            row.iter_mut().zip(&trees.base).for_each(|(v, base)| *v = single(*v + base));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn trees_alone_give_the_bits_of_their_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx");
        let mut compared = 0;
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_none_or(|it| it != "onnx") {
                continue;
            }
            let plan = crate::onnx::read(&std::fs::read(&file).unwrap()).unwrap();
            let Head::Program(program) = plan.head() else { continue };
            if program.trees_alone().is_none() {
                continue;
            }
            let values = (0..7 * program.width()).map(|i| ((i as f64) * 0.731).sin() * 3.3);
            let mut rows = Matrix { width: program.width(), data: values.collect() };
            rows.data[0] = f64::NAN;
            let whole = tensor::run(rows.clone(), program.dtype(), |x| program.run(x)).unwrap();
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(plan.head().run(rows).unwrap()), bits(whole), "{}", file.display());
            compared += 1;
        }
        assert!(compared > 10, "only {compared} of the goldens are trees alone");
    }
}
