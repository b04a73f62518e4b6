//! Operators with weights: linear layers, linear models, scalers, support vector machines.

use super::compile::Compiler;
use super::nodes::{matrix, row};
use super::operation::{Arithmetic, Function, Op};
use super::proto::NodeProto;
use super::transform;
use crate::Label;
use crate::kernel_machine::{Kernel, KernelMachine};

/// Checks that there is one value per column, or one for all columns.
fn per_column(values: &[f64], width: usize, name: &str) -> Result<(), String> {
    if values.len() == width || values.len() == 1 {
        return Ok(());
    }
    Err(format!("{name} has {} values for {width} columns", values.len()))
}

/// `x W` with a constant `W`.
pub(super) fn matmul(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let weight = c.constant(node, 1)?.ok_or("has no weights")?;
    let (rows, columns) = weight.matrix()?;
    if weight.dims.len() != 2 || rows != width || columns == 0 {
        return Err(format!("weights of shape {:?} for rows of {width}", weight.dims));
    }
    let weight = matrix(c, weight.finite()?, rows, columns);
    c.emit(node, 0, Op::Linear { weight, bias: None }, vec![slot], columns);
    Ok(())
}

/// `alpha x W + beta b`, with `W` transposed or not.
pub(super) fn gemm(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
    let weight = c.constant(node, 1)?.ok_or("has no weights")?;
    let (rows, columns) = weight.matrix()?;
    let transposed = node.int("transB", 0) == 1;
    let (inputs, outputs) = if transposed { (columns, rows) } else { (rows, columns) };
    if weight.dims.len() != 2 || inputs != width || outputs == 0 || node.int("transA", 0) != 0 {
        return Err(format!("weights of shape {:?} for rows of {width}", weight.dims));
    }
    let mut weight = matrix(c, weight.finite()?, rows, columns);
    if transposed {
        weight = weight.transpose();
    }
    let bias = match c.constant(node, 2)? {
        Some(bias) => {
            per_column(bias.finite()?, outputs, "bias")?;
            Some(row(c, &bias.values).mul_scalar(beta))
        }
        None => None,
    };
    c.emit(node, 0, Op::Linear { weight: weight.mul_scalar(alpha), bias }, vec![slot], outputs);
    Ok(())
}

/// Batch normalisation at inference: a factor and an offset per column.
pub(super) fn batch_norm(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let part = |i: usize| -> Result<Vec<f64>, String> {
        let values = c.constant(node, i)?.ok_or_else(|| format!("input {i} is missing"))?.finite()?.to_vec();
        if values.len() == width { Ok(values) } else { Err(format!("input {i} has {} values", values.len())) }
    };
    let (scale, bias, mean, variance) = (part(1)?, part(2)?, part(3)?, part(4)?);
    let epsilon = node.float("epsilon", 1e-5);
    let factor: Vec<f64> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let offset: Vec<f64> = bias.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
    if factor.iter().chain(&offset).any(|v| !v.is_finite()) {
        return Err("has a variance that is not positive".to_owned());
    }
    let times = Op::Constant { how: Arithmetic::Mul, row: row(c, &factor), reversed: false };
    let plus = Op::Constant { how: Arithmetic::Add, row: row(c, &offset), reversed: false };
    let scaled = c.inner(node, times, slot);
    c.emit(node, 0, plus, vec![scaled], width);
    Ok(())
}

/// Layer normalisation over the last axis.
pub(super) fn layer_norm(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    if !matches!(node.int("axis", -1), -1 | 1) {
        return Err("normalises an axis other than the last".to_owned());
    }
    let scale = c.constant(node, 1)?.ok_or("has no scale")?.finite()?;
    per_column(scale, width, "scale")?;
    let bias = match c.constant(node, 2)? {
        Some(bias) => {
            per_column(bias.finite()?, width, "bias")?;
            Some(row(c, &bias.values))
        }
        None => None,
    };
    let op = Op::LayerNorm { scale: row(c, scale), bias, epsilon: node.float("epsilon", 1e-5) };
    c.emit(node, 0, op, vec![slot], width);
    Ok(())
}

/// The scaler: `(x - offset) * scale`.
pub(super) fn scaler(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let (offset, scale) = (node.floats("offset")?, node.floats("scale")?);
    per_column(&offset, width, "offset")?;
    per_column(&scale, width, "scale")?;
    let minus = Op::Constant { how: Arithmetic::Sub, row: row(c, &offset), reversed: false };
    let times = Op::Constant { how: Arithmetic::Mul, row: row(c, &scale), reversed: false };
    let centered = c.inner(node, minus, slot);
    c.emit(node, 0, times, vec![centered], width);
    Ok(())
}

/// Replaces one marker value, by default NaN.
pub(super) fn imputer(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let fill = node.floats("imputed_value_floats")?;
    per_column(&fill, width, "imputed_value_floats")?;
    let marker = node.attribute("replaced_value_float").map_or(f64::NAN, |a| f64::from(a.f));
    c.takes_missing |= marker.is_nan();
    let marker = (!marker.is_nan()).then_some(marker);
    c.emit(node, 0, Op::Impute { marker, row: row(c, &fill) }, vec![slot], width);
    Ok(())
}

/// The layer of a linear model of ai.onnx.ml, whose weights are `[outputs, width]`.
fn layer(c: &Compiler, node: &NodeProto, width: usize) -> Result<(Op, usize), String> {
    let coefficients = node.floats("coefficients")?;
    let outputs = coefficients.len() / width;
    if outputs == 0 || coefficients.len() != outputs * width {
        return Err(format!("{} coefficients for rows of {width}", coefficients.len()));
    }
    let intercepts = node.floats("intercepts")?;
    if !intercepts.is_empty() {
        per_column(&intercepts, outputs, "intercepts")?;
    }
    let weight = matrix(c, &coefficients, outputs, width).transpose();
    let bias = (!intercepts.is_empty()).then(|| row(c, &intercepts));
    Ok((Op::Linear { weight, bias }, outputs))
}

/// A linear regressor, whose output must not be transformed.
pub(super) fn linear_regressor(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let (op, outputs) = layer(c, node, width)?;
    let post = node.string("post_transform", "NONE");
    if post != "NONE" {
        return Err(format!("post_transform {post:?} is not supported"));
    }
    c.emit(node, 0, op, vec![slot], outputs);
    Ok(())
}

/// The scores (output 1) of a linear classifier; the class (output 0) follows from them.
pub(super) fn linear_classifier(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let (op, outputs) = layer(c, node, width)?;
    let scores = c.inner(node, op, slot);
    class_scores(c, node, scores, outputs, Sides::Complement)
}

/// How one score becomes the scores of two classes if no post transform makes it a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sides {
    /// `[1 - s, s]`: the score is a probability.
    Complement,
    /// `[-s, s]`: the score is a distance.
    Mirror,
}

/// Applies the post transform of a classifier to its scores and keeps its labels.
pub(super) fn class_scores(
    c: &mut Compiler,
    node: &NodeProto,
    scores: usize,
    outputs: usize,
    sides: Sides,
) -> Result<(), String> {
    let mut labels: Vec<Label> = Vec::new();
    for name in ["classlabels_ints", "classlabels_int64s"] {
        labels.extend(node.ints(name).iter().map(|&label| Label::Integer(label)));
    }
    labels.extend(node.strings("classlabels_strings").iter().map(|label| Label::from(label.as_str())));
    let both_sides = outputs == 1 && labels.len() == 2;
    if labels.len() != outputs && !both_sides {
        return Err(format!("{outputs} scores for {} classes", labels.len()));
    }
    c.labels = labels;
    let post = node.string("post_transform", "NONE");
    if !both_sides {
        let transformed = transform::scores(c, node, scores, outputs, &post)?;
        c.alias(node, 1, super::compile::Value::Slot { slot: transformed, width: outputs });
        return Ok(());
    }
    let (transformed, sides) = match post.as_str() {
        "LOGISTIC" => (c.inner(node, Op::Function(Function::Sigmoid), scores), Sides::Complement),
        // onnxruntime leaves a single score as it is
        "NONE" | "SOFTMAX" | "SOFTMAX_ZERO" => (scores, sides),
        other => return Err(format!("post_transform {other:?} of a single score is not supported")),
    };
    c.emit(node, 1, Op::BothSides(sides), vec![transformed], 2);
    Ok(())
}

/// libsvm's regressor with support vectors.
pub(super) fn svm_regressor(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let params = node.floats("kernel_params")?;
    let param = |i: usize| params.get(i).copied().unwrap_or(0.0);
    let (gamma, coef0) = (param(0), param(1));
    let kernel = match node.string("kernel_type", "LINEAR").as_str() {
        "LINEAR" => Kernel::Linear,
        "RBF" => Kernel::Rbf { gamma },
        "POLY" => Kernel::Polynomial { gamma, coef0, degree: param(2).clamp(0.0, 64.0) as i32 },
        "SIGMOID" => Kernel::Sigmoid { gamma, coef0 },
        other => return Err(format!("kernel {other:?} is not supported")),
    };
    let (weights, vectors) = (node.floats("coefficients")?, node.floats("support_vectors")?);
    let &[rho] = node.floats("rho")?.as_slice() else { return Err("rho is not one value".to_owned()) };
    if node.int("one_class", 0) != 0 || node.int("n_supports", 0) == 0 {
        return Err("only regression with support vectors is supported".to_owned());
    }
    let machine = KernelMachine::new(kernel, width, vectors, weights, rho)?;
    c.emit(node, 0, Op::KernelMachine(Compiler::share(machine)), vec![slot], 1);
    Ok(())
}
