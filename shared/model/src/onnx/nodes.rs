//! The operator table: compiles a node to instructions and checks widths.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::compile::{Compiler, Value};
use super::learners;
use super::operation::{Arithmetic, Function, Op, Reduction};
use super::proto::NodeProto;
use super::shaping;
use super::trees;
use crate::step::Norm;

/// The operators that [`compile`] supports.
const KNOWN: &[&str] = &[
    "Abs",
    "Add",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "MatMul",
    "Mul",
    "Neg",
    "Pow",
    "Reciprocal",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Unsqueeze",
    "ai.onnx.ml:ArrayFeatureExtractor",
    "ai.onnx.ml:Imputer",
    "ai.onnx.ml:LinearClassifier",
    "ai.onnx.ml:LinearRegressor",
    "ai.onnx.ml:Normalizer",
    "ai.onnx.ml:SVMRegressor",
    "ai.onnx.ml:Scaler",
    "ai.onnx.ml:TreeEnsemble",
    "ai.onnx.ml:TreeEnsembleClassifier",
    "ai.onnx.ml:TreeEnsembleRegressor",
    "ai.onnx.ml:ZipMap",
];

/// Whether the node's operator is in the table.
pub(super) fn known(node: &NodeProto) -> bool {
    KNOWN.binary_search(&node.kind().as_str()).is_ok()
}

/// Compiles one node.
pub(super) fn compile(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    match node.kind().as_str() {
        "Add" => arithmetic(c, node, Arithmetic::Add),
        "Sub" => arithmetic(c, node, Arithmetic::Sub),
        "Mul" => arithmetic(c, node, Arithmetic::Mul),
        "Div" => arithmetic(c, node, Arithmetic::Div),
        "Constant" => shaping::constant(c, node),
        "Identity" | "Dropout" | "Flatten" | "Squeeze" | "Unsqueeze" | "ai.onnx.ml:ZipMap" => shaping::same(c, node),
        "Cast" => shaping::cast(c, node),
        "Shape" => {
            let (slot, width) = c.slot(node, 0)?;
            c.alias(node, 0, Value::Shape { slot, width });
            Ok(())
        }
        "ConstantOfShape" => shaping::constant_of_shape(c, node),
        "Reshape" => shaping::reshape(c, node),
        "Concat" => shaping::concat(c, node),
        "Gather" => {
            axis(node, "axis", 0)?;
            shaping::select(c, node)
        }
        "ai.onnx.ml:ArrayFeatureExtractor" => shaping::select(c, node),
        "Slice" => shaping::slice(c, node),
        "MatMul" => learners::matmul(c, node),
        "Gemm" => learners::gemm(c, node),
        "BatchNormalization" => learners::batch_norm(c, node),
        "LayerNormalization" => learners::layer_norm(c, node),
        "ReduceSum" => reduce(c, node, Reduction::Sum),
        "ReduceMean" => reduce(c, node, Reduction::Mean),
        "ReduceProd" => reduce(c, node, Reduction::Product),
        "ai.onnx.ml:Scaler" => learners::scaler(c, node),
        "ai.onnx.ml:Imputer" => learners::imputer(c, node),
        "ai.onnx.ml:Normalizer" => normalizer(c, node),
        "ai.onnx.ml:LinearRegressor" => learners::linear_regressor(c, node),
        "ai.onnx.ml:LinearClassifier" => learners::linear_classifier(c, node),
        "ai.onnx.ml:SVMRegressor" => learners::svm_regressor(c, node),
        "ai.onnx.ml:TreeEnsembleRegressor" | "ai.onnx.ml:TreeEnsembleClassifier" | "ai.onnx.ml:TreeEnsemble" => {
            trees::compile(c, node)
        }
        _ => function(c, node),
    }
}

/// A constant row `[1, n]` in the type of the program.
pub(super) fn row(c: &Compiler, values: &[f64]) -> Tensor<2> {
    matrix(c, values, 1, values.len())
}

/// A constant matrix in the type of the program; `values` is row-major `rows x columns`.
pub(super) fn matrix(c: &Compiler, values: &[f64], rows: usize, columns: usize) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [rows, columns]);
    Tensor::<2>::from_data(data, (&Device::flex(), DType::F64)).cast(c.dtype)
}

/// Checks that an axis attribute is the axis along the row.
pub(super) fn axis(node: &NodeProto, name: &str, default: i64) -> Result<(), String> {
    match node.int(name, default) {
        1 | -1 => Ok(()),
        other => Err(format!("axis {other} is not supported, only 1 (along the row)")),
    }
}

fn function(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let function = match node.op_type.as_str() {
        "Relu" => Function::Relu,
        "LeakyRelu" => Function::LeakyRelu(node.float("alpha", 0.01)),
        "Elu" => Function::Elu(node.float("alpha", 1.0)),
        "Tanh" => Function::Tanh,
        "Sigmoid" => Function::Sigmoid,
        "Gelu" if node.string("approximate", "none") == "none" => Function::Gelu,
        "Softplus" => Function::Softplus,
        "Softmax" => {
            axis(node, "axis", -1)?;
            Function::Softmax
        }
        "Exp" => Function::Exp,
        "Log" => Function::Log,
        "Sqrt" => Function::Sqrt,
        "Neg" => Function::Neg,
        "Abs" => Function::Abs,
        "Erf" => Function::Erf,
        "Reciprocal" => Function::Reciprocal,
        "Clip" => clip(c, node)?,
        "Pow" => Function::Power(scalar(c, node, 1)?.ok_or("exponent is missing")?),
        _ => return Err("this form is not supported".to_owned()),
    };
    let (slot, width) = c.slot(node, 0)?;
    c.emit(node, 0, Op::Function(function), vec![slot], width);
    Ok(())
}

/// The value of a constant input that must have one value.
fn scalar(c: &Compiler, node: &NodeProto, i: usize) -> Result<Option<f64>, String> {
    match c.constant(node, i)? {
        None => Ok(None),
        Some(constant) => match constant.values.as_slice() {
            [value] => Ok(Some(*value)),
            values => Err(format!("input {i} has {} values, expected one", values.len())),
        },
    }
}

fn clip(c: &Compiler, node: &NodeProto) -> Result<Function, String> {
    let bound = |i: usize, name: &str, default: f64| -> Result<f64, String> {
        Ok(scalar(c, node, i)?.unwrap_or_else(|| node.float(name, default)))
    };
    let (low, high) = (bound(1, "min", f64::NEG_INFINITY)?, bound(2, "max", f64::INFINITY)?);
    if low <= high { Ok(Function::Clip(low, high)) } else { Err(format!("clips to {low}..{high}")) }
}

fn arithmetic(c: &mut Compiler, node: &NodeProto, how: Arithmetic) -> Result<(), String> {
    let fits = |a: usize, b: usize| if a == b || b == 1 { Some(a) } else { (a == 1).then_some(b) };
    let (slot, width, constant, reversed) = match (c.input(node, 0), c.input(node, 1)) {
        (Some(Value::Slot { slot: a, width: wa }), Some(Value::Slot { slot: b, width: wb })) => {
            let width = fits(*wa, *wb).ok_or_else(|| format!("values are {wa} and {wb} wide"))?;
            let inputs = vec![*a, *b];
            c.emit(node, 0, Op::Both(how), inputs, width);
            return Ok(());
        }
        (Some(Value::Slot { slot, width }), Some(Value::Constant(k))) => (*slot, *width, k.clone(), false),
        (Some(Value::Constant(k)), Some(Value::Slot { slot, width })) => (*slot, *width, k.clone(), true),
        _ => return Err("has no computed input".to_owned()),
    };
    let (rows, columns) = constant.matrix()?;
    let out = fits(width, columns).filter(|_| rows == 1);
    let out = out.ok_or_else(|| format!("constant of shape {:?} for values {width} wide", constant.dims))?;
    let row = row(c, constant.finite()?);
    c.emit(node, 0, Op::Constant { how, row, reversed }, vec![slot], out);
    Ok(())
}

fn reduce(c: &mut Compiler, node: &NodeProto, how: Reduction) -> Result<(), String> {
    let given: Vec<f64> = node.ints("axes").iter().map(|v| *v as f64).collect();
    let axes = c.constant(node, 1)?.map_or(given, |k| k.values.clone());
    if !matches!(axes.as_slice(), [1.0 | -1.0]) {
        return Err(format!("reduces axes {axes:?}, only 1 (along the row) is supported"));
    }
    let (slot, _) = c.slot(node, 0)?;
    c.emit(node, 0, Op::Reduce(how), vec![slot], 1);
    Ok(())
}

fn normalizer(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let norm = match node.string("norm", "MAX").as_str() {
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        "MAX" => Norm::Max,
        other => return Err(format!("norm {other:?} is not supported")),
    };
    let (slot, width) = c.slot(node, 0)?;
    c.emit(node, 0, Op::Normalize(norm), vec![slot], width);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_sorted_for_its_search() {
        assert!(super::KNOWN.is_sorted());
    }
}
