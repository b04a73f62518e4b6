//! Programs that are trees and nothing else: what every exporter writes for a forest or a boosted model without steps before it.

use std::sync::Arc;

use burn::tensor::DType;

use super::program::{Arithmetic, Instruction, Op, Shape};
use crate::forest::Forest;

/// Trees, and what is added to their sums.
#[derive(Debug)]
pub(crate) struct Trees {
    pub forest: Arc<Forest>,
    /// One value an output, or nothing.
    pub base: Vec<f64>,
    /// Whether rows, sums and answers are rounded to f32.
    pub single: bool,
}

impl Trees {
    /// If `instructions` are such a program.
    pub(super) fn alone(instructions: &[Instruction], shape: &Shape) -> Option<Self> {
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
