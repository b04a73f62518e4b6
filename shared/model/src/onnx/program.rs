//! A compiled graph: operations over slots that hold burn tensors `[rows, width]`.

use std::sync::Arc;

use burn::tensor::activation::{elu, gelu, leaky_relu, relu, sigmoid, softmax, softplus, tanh};
use burn::tensor::{DType, Int, Tensor, TensorData};

use crate::forest::{Forest, tree_ensemble};
use crate::fused::{Fused, fused_layers};
use crate::head::KernelMachine;
use crate::step::Norm;

use super::fusing::fuse;
use super::learners::Sides;
use super::trees_alone::Trees;

/// Element-wise functions of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    Relu,
    LeakyRelu(f64),
    Elu(f64),
    Tanh,
    Sigmoid,
    Gelu,
    Softplus,
    Softmax,
    Exp,
    Log,
    Sqrt,
    Neg,
    Abs,
    Erf,
    Reciprocal,
    /// Quantile of the normal distribution, in onnxruntime's approximation.
    Probit,
    /// Rounds to f32 in an f64 program: a cast to float and back.
    Single,
    Clip(f64, f64),
    Power(f64),
    /// This value, whatever the input.
    Fill(f64),
}

/// Operations of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// Reductions along a row, giving one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduction {
    Sum,
    Mean,
    Product,
}

/// An operation with its constants.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// `x w + b`.
    Linear {
        weight: Tensor<2>,
        bias: Option<Tensor<2>>,
    },
    /// With a constant row (or a single value).
    Constant {
        how: Arithmetic,
        row: Tensor<2>,
        reversed: bool,
    },
    /// With another slot.
    Both(Arithmetic),
    Function(Function),
    /// Replaces missing values by a row's.
    Impute {
        marker: Option<f64>,
        row: Tensor<2>,
    },
    Normalize(Norm),
    Columns(Tensor<1, Int>),
    Concat,
    LayerNorm {
        scale: Tensor<2>,
        bias: Option<Tensor<2>>,
        epsilon: f64,
    },
    Reduce(Reduction),
    /// Linear layers in one pass.
    Fused(Arc<Fused>),
    Forest(Arc<Forest>),
    KernelMachine(Arc<KernelMachine>),
    /// `[s]` to the scores of two classes.
    BothSides(Sides),
    /// Softmax of the scores that are not zero; zeros stay.
    SoftmaxZero,
}

/// One operation and where its values are.
#[derive(Debug, Clone)]
pub(super) struct Instruction {
    pub op: Op,
    pub inputs: Vec<usize>,
    pub output: usize,
    /// The node it came from, for people.
    pub name: String,
}

/// Instructions in order; slot 0 holds the rows.
#[derive(Debug)]
pub(crate) struct Program {
    instructions: Vec<Instruction>,
    /// For each input of each instruction, whether nobody reads its slot later. Such a tensor is handed over, and
    /// an operation that alone holds its input works in place.
    last: Vec<Vec<bool>>,
    trees: Option<Trees>,
    shape: Shape,
}

/// What a program takes and gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub slots: usize,
    /// Slot of the answer.
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
        let trees = Trees::alone(&instructions, &shape);
        Self { instructions, last, trees, shape }
    }

    pub(crate) fn width(&self) -> usize {
        self.shape.width
    }

    pub(crate) fn outputs(&self) -> usize {
        self.shape.outputs
    }

    /// Element type the program computes in.
    pub(crate) fn dtype(&self) -> DType {
        self.shape.dtype
    }

    /// The trees, if there is nothing else.
    pub(crate) fn trees_alone(&self) -> Option<&Trees> {
        self.trees.as_ref()
    }

    /// Names of the instructions' nodes.
    pub(crate) fn ops(&self) -> Vec<String> {
        self.instructions.iter().map(|i| i.name.clone()).collect()
    }

    /// `[n, width]` to `[n, outputs]`, both in `dtype()`.
    pub(crate) fn run(&self, rows: Tensor<2>) -> Tensor<2> {
        let mut slots: Vec<Option<Tensor<2>>> = vec![None; self.shape.slots];
        let fallback = rows.clone();
        slots[0] = Some(rows);
        for (instruction, last) in self.instructions.iter().zip(&self.last) {
            // every input was written by an instruction before: the compiler gives slots in that order
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

impl Op {
    fn apply(&self, x: Tensor<2>, dtype: DType) -> Tensor<2> {
        match self {
            Self::Linear { weight, bias } => {
                let y = x.matmul(weight.clone());
                match bias {
                    Some(bias) => y + bias.clone(),
                    None => y,
                }
            }
            Self::Constant { how, row, reversed: false } => how.apply(x, row.clone()),
            Self::Constant { how, row, reversed: true } => how.apply(row.clone(), x),
            Self::Function(function) => function.apply(x),
            Self::Impute { marker, row } => {
                let mask = match marker {
                    None => x.clone().is_nan(),
                    Some(v) => x.clone().equal_elem(*v),
                };
                let fill = row.clone().expand(x.dims());
                x.mask_where(mask, fill)
            }
            Self::Normalize(norm) => {
                let length = match norm {
                    Norm::L1 => x.clone().abs().sum_dim(1),
                    Norm::L2 => (x.clone() * x.clone()).sum_dim(1).sqrt(),
                    // as ONNX defines it: the greatest value, not the greatest magnitude
                    Norm::Max => x.clone().max_dim(1),
                };
                let zero = length.clone().equal_elem(0.0);
                x / length.mask_fill(zero, 1.0)
            }
            Self::Columns(indices) => x.select(1, indices.clone()),
            Self::LayerNorm { scale, bias, epsilon } => {
                let centered = x.clone() - x.mean_dim(1);
                let variance = (centered.clone() * centered.clone()).mean_dim(1);
                let y = centered / (variance + *epsilon).sqrt() * scale.clone();
                match bias {
                    Some(bias) => y + bias.clone(),
                    None => y,
                }
            }
            Self::Reduce(Reduction::Sum) => x.sum_dim(1),
            Self::Reduce(Reduction::Mean) => x.mean_dim(1),
            Self::Reduce(Reduction::Product) => x.prod_dim(1),
            Self::Fused(layers) => fused_layers(x, layers.clone()),
            Self::Forest(forest) => tree_ensemble(x.cast(DType::F64), forest.clone()).cast(dtype),
            Self::KernelMachine(machine) => on_rows(x, dtype, |row| machine.decide(row)),
            Self::BothSides(Sides::Complement) => Tensor::cat(vec![x.clone().neg() + 1.0, x], 1),
            Self::BothSides(Sides::Mirror) => Tensor::cat(vec![x.clone().neg(), x], 1),
            Self::SoftmaxZero => {
                let zero = x.clone().abs().lower_equal_elem(1e-7);
                let raised = (x.clone() - x.max_dim(1)).exp().mask_fill(zero, 0.0);
                let sum = raised.clone().sum_dim(1);
                let none = sum.clone().equal_elem(0.0);
                raised / sum.mask_fill(none, 1.0)
            }
            Self::Both(_) | Self::Concat => x,
        }
    }
}

/// Runs a plain function over every row, giving one value each.
fn on_rows(x: Tensor<2>, dtype: DType, f: impl Fn(&[f64]) -> f64) -> Tensor<2> {
    let [rows, width] = x.dims();
    let device = x.device();
    let values: Vec<f64> = x.cast(DType::F64).into_data().try_into_vec().unwrap_or_default();
    let out: Vec<f64> = values.chunks_exact(width.max(1)).map(f).collect();
    Tensor::<2>::from_data(TensorData::new(out, [rows, 1]), (&device, DType::F64)).cast(dtype)
}

/// `sqrt(2) * erfinv(2 p - 1)`, with Winitzki's approximation of erfinv (2008) as onnxruntime has it.
fn probit(p: Tensor<2>) -> Tensor<2> {
    const A: f64 = 0.147;
    let x = p * 2.0 - 1.0;
    let log = ((x.clone().neg() + 1.0) * (x.clone() + 1.0)).log();
    let v = log.clone() * 0.5 + 2.0 / (std::f64::consts::PI * A);
    let root = (v.clone() * v.clone() - log / A).sqrt();
    (root - v).sqrt() * x.sign() * std::f64::consts::SQRT_2
}

impl Arithmetic {
    fn apply(self, a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
        }
    }
}

impl Function {
    fn apply(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Relu => relu(x),
            Self::LeakyRelu(slope) => leaky_relu(x, slope),
            Self::Elu(alpha) => elu(x, alpha),
            Self::Tanh => tanh(x),
            Self::Sigmoid => sigmoid(x),
            Self::Gelu => gelu(x),
            Self::Softplus => softplus(x, 1.0),
            Self::Softmax => softmax(x, 1),
            Self::Exp => x.exp(),
            Self::Log => x.log(),
            Self::Sqrt => x.sqrt(),
            Self::Neg => x.neg(),
            Self::Abs => x.abs(),
            Self::Erf => x.erf(),
            Self::Reciprocal => x.recip(),
            Self::Probit => probit(x),
            Self::Single => x.cast(DType::F32).cast(DType::F64),
            Self::Clip(low, high) => x.clamp(low, high),
            Self::Fill(value) => x.zeros_like() + value,
            Self::Power(exponent) => x.powf_scalar(exponent),
        }
    }
}
