//! The operations of a program, each over burn tensors `[rows, width]`.

use std::sync::Arc;

use burn::tensor::activation::{elu, gelu, leaky_relu, relu, sigmoid, softmax, softplus, tanh};
use burn::tensor::{DType, Int, Tensor, TensorData};

use super::learners::Sides;
use crate::forest::{Forest, tree_ensemble};
use crate::fused::{Fused, fused_layers};
use crate::kernel_machine::KernelMachine;
use crate::step::Norm;

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
    /// The quantile of the normal distribution, in onnxruntime's approximation.
    Probit,
    /// Rounding to f32 in an f64 program: a cast to float and back.
    Single,
    Clip(f64, f64),
    Power(f64),
    /// This value for every input.
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

/// Reductions of a row to one value.
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
    /// Arithmetic with a constant row, or with a single constant.
    Constant {
        how: Arithmetic,
        row: Tensor<2>,
        reversed: bool,
    },
    /// Arithmetic with another slot.
    Both(Arithmetic),
    Function(Function),
    /// Replaces missing values by those of a constant row.
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
    /// The scores of two classes from one score.
    BothSides(Sides),
    /// The softmax of the scores that are not zero; zeros stay zero.
    SoftmaxZero,
}

impl Op {
    /// Applies the operation to its only input, in `dtype`.
    pub(super) fn apply(&self, x: Tensor<2>, dtype: DType) -> Tensor<2> {
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
                    // as ONNX defines it: the highest value, not the highest magnitude
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

/// Runs a function over every row that returns one value.
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
    /// Applies the operation to both values.
    pub(super) fn apply(self, a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
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
