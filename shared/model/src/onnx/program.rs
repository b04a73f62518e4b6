//! A compiled graph: instructions over slots that hold burn tensors `[rows, width]`.

use burn::tensor::{DType, Tensor};

use super::fusing::fuse;
use super::operation::Op;
use super::trees_alone::TreesAlone;
use crate::matrix::Matrix;
use crate::{ModelError, tensor};

/// An operation and the slots of its values.
#[derive(Debug, Clone)]
pub(super) struct Instruction {
    pub op: Op,
    pub inputs: Vec<usize>,
    pub output: usize,
    /// The node that it came from; `ops` shows it.
    pub name: String,
}

/// Instructions in the order of execution; slot 0 holds the rows.
#[derive(Debug)]
pub(crate) struct Program {
    instructions: Vec<Instruction>,
    /// For each input of each instruction, whether it is the last read of its slot. The tensor is then moved out, and
    /// an operation that owns its input works in place.
    last: Vec<Vec<bool>>,
    /// The trees, if there is nothing else.
    trees: Option<TreesAlone>,
    shape: Shape,
}

/// The slots, widths and element type of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub slots: usize,
    /// The slot of the result.
    pub result: usize,
    pub width: usize,
    pub outputs: usize,
    pub dtype: DType,
}

impl Program {
    pub(super) fn new(instructions: Vec<Instruction>, shape: Shape) -> Self {
        let instructions = fuse(instructions, shape.result, shape.slots, shape.dtype);
        let mut read_later = vec![false; shape.slots];
        read_later[shape.result] = true;
        let mut last: Vec<Vec<bool>> = Vec::with_capacity(instructions.len());
        for instruction in instructions.iter().rev() {
            let inputs = instruction.inputs.iter().rev();
            let mut flags: Vec<bool> = inputs.map(|slot| !std::mem::replace(&mut read_later[*slot], true)).collect();
            flags.reverse();
            last.push(flags);
        }
        last.reverse();
        let trees = TreesAlone::find(&instructions, &shape);
        Self { instructions, last, trees, shape }
    }

    pub(crate) fn width(&self) -> usize {
        self.shape.width
    }

    pub(crate) fn outputs(&self) -> usize {
        self.shape.outputs
    }

    /// Whether the program is an ensemble of trees and nothing else.
    #[cfg(test)]
    pub(super) fn is_trees_alone(&self) -> bool {
        self.trees.is_some()
    }

    /// Element type the program computes in.
    #[cfg(test)]
    pub(super) fn dtype(&self) -> DType {
        self.shape.dtype
    }

    /// The names of the instructions' nodes.
    pub(crate) fn ops(&self) -> Vec<String> {
        self.instructions.iter().map(|i| i.name.clone()).collect()
    }

    /// Answers the rows, `outputs()` values each.
    ///
    /// # Errors
    /// [`ModelError::Execution`] when the tensor backend fails.
    pub(crate) fn predict(&self, m: Matrix) -> Result<Vec<f64>, ModelError> {
        match &self.trees {
            Some(trees) => trees.predict(m),
            None => tensor::run(m, self.shape.dtype, |x| self.run(x)),
        }
    }

    /// Runs the instructions: `[n, width]` to `[n, outputs]`, both in the program's element type.
    pub(super) fn run(&self, rows: Tensor<2>) -> Tensor<2> {
        let mut slots: Vec<Option<Tensor<2>>> = vec![None; self.shape.slots];
        let fallback = rows.clone();
        slots[0] = Some(rows);
        for (instruction, last) in self.instructions.iter().zip(&self.last) {
            // every input was written by an earlier instruction: the compiler assigns slots in that order
            let mut take = |i: usize| {
                let slot = &mut slots[instruction.inputs[i]];
                let found = if last[i] { slot.take() } else { slot.clone() };
                found.unwrap_or_else(|| fallback.clone())
            };
            let out = match &instruction.op {
                Op::Both(how) => how.apply(take(0), take(1)),
                Op::Concat => Tensor::cat((0..instruction.inputs.len()).map(take).collect(), 1),
                op => op.apply(take(0), self.shape.dtype),
            };
            slots[instruction.output] = Some(out);
        }
        slots[self.shape.result].take().unwrap_or(fallback)
    }
}
