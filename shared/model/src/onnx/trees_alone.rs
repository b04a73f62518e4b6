//! Programs that are trees and nothing else: exporters write them for a forest or a boosted model without steps before
//! it.

use std::sync::Arc;

use burn::tensor::DType;

use super::operation::{Arithmetic, Op};
use super::program::{Instruction, Shape};
use crate::forest::{Forest, tree_ensemble};
use crate::matrix::Matrix;
use crate::{ModelError, tensor};

/// Trees, and the constants that are added to their sums.
#[derive(Debug)]
pub(super) struct TreesAlone {
    forest: Arc<Forest>,
    /// One value per output, or empty.
    base: Vec<f64>,
    /// Whether rows, sums and answers are rounded to f32.
    single: bool,
}

impl TreesAlone {
    /// The trees, if `instructions` are such a program.
    pub(super) fn find(instructions: &[Instruction], shape: &Shape) -> Option<Self> {
        let (trees, base) = match instructions {
            [trees] => (trees, Vec::new()),
            [trees, add] if add.inputs[..] == [trees.output] => (trees, base(&add.op, shape)?),
            _ => return None,
        };
        let Op::Forest(forest) = &trees.op else { return None };
        let ends = trees.inputs[..] == [0] && instructions.last()?.output == shape.result;
        let fits = base.is_empty() || forest.outputs() == base.len();
        (ends && fits).then(|| Self { forest: forest.clone(), base, single: shape.dtype != DType::F64 })
    }

    /// Answers the rows. They are rounded here, because casting tensors to f32 and back would cost a single row more
    /// than the trees.
    pub(super) fn predict(&self, mut m: Matrix) -> Result<Vec<f64>, ModelError> {
        let single = |v: f64| if self.single { f64::from(v as f32) } else { v };
        m.data.iter_mut().for_each(|v| *v = single(*v));
        let mut out = tensor::run(m, DType::F64, |x| tree_ensemble(x, self.forest.clone()))?;
        out.iter_mut().for_each(|v| *v = single(*v));
        if !self.base.is_empty() {
            for row in out.chunks_exact_mut(self.base.len()) {
                row.iter_mut().zip(&self.base).for_each(|(v, base)| *v = single(*v + base));
            }
        }
        Ok(out)
    }
}

/// A constant row that is added.
fn base(op: &Op, shape: &Shape) -> Option<Vec<f64>> {
    let Op::Constant { how: Arithmetic::Add, row, .. } = op else { return None };
    let row: Vec<f64> = row.clone().cast(DType::F64).into_data().try_into_vec().ok()?;
    match row[..] {
        [value] => Some(vec![value; shape.outputs]),
        _ => (row.len() == shape.outputs).then_some(row),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn trees_alone_are_bit_identical_to_their_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx");
        let mut compared = 0;
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_none_or(|it| it != "onnx") {
                continue;
            }
            let program =
                crate::onnx::read(&std::fs::read(&file).unwrap(), &crate::LoadBudget::default()).unwrap().program;
            if !program.is_trees_alone() {
                continue;
            }
            let values = (0..7 * program.width()).map(|i| ((i as f64) * 0.731).sin() * 3.3);
            let mut rows = Matrix { width: program.width(), data: values.collect() };
            rows.data[0] = f64::NAN;
            let whole = tensor::run(rows.clone(), program.dtype(), |x| program.run(x)).unwrap();
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(program.predict(rows).unwrap()), bits(whole), "{}", file.display());
            compared += 1;
        }
        assert!(compared > 10, "only {compared} of the goldens are trees alone");
    }
}
