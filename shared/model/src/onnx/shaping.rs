//! Operators that move values without computing: constants, casts, shapes, column selection.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::attributes::Constant;
use super::compile::{Compiler, Value};
use super::nodes::axis;
use super::operation::{Function, Op};
use super::proto::{NodeProto, element};

/// Bytes of the index of a selected column while it is compiled.
const INDEX_BYTES: usize = 24;

pub(super) fn constant(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let value = if let Some(t) = node.attribute("value").and_then(|a| a.t.as_ref()) {
        Constant::read(t)?
    } else if node.attribute("value_floats").is_some() {
        Constant::vector(node.floats("value_floats")?)
    } else if let Some(a) = node.attribute("value_ints") {
        Constant::vector(a.ints.iter().map(|i| *i as f64).collect())
    } else if let Some(a) = node.attribute("value_float") {
        Constant { dims: Vec::new(), values: vec![f64::from(a.f)], texts: Vec::new() }
    } else if let Some(a) = node.attribute("value_int") {
        Constant { dims: Vec::new(), values: vec![a.i as f64], texts: Vec::new() }
    } else {
        return Err("this form is not supported".to_owned());
    };
    c.alias(node, 0, Value::Constant(Compiler::share(value)));
    Ok(())
}

/// A constant with the shape of a computed value.
pub(super) fn constant_of_shape(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let Some(&Value::Shape { slot, width }) = c.input(node, 0) else {
        return Err("shape is not that of a computed value".to_owned());
    };
    let value = match node.attribute("value").and_then(|a| a.t.as_ref()) {
        Some(t) => Constant::read(t)?.finite()?.first().copied().ok_or("value is empty")?,
        None => 0.0,
    };
    c.emit(node, 0, Op::Function(Function::Fill(value)), vec![slot], width);
    Ok(())
}

/// Operators that leave rows of values as they are.
pub(super) fn same(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let value = c.input(node, 0).cloned().ok_or("input is missing")?;
    if node.op_type == "Flatten" {
        axis(node, "axis", 1)?;
    }
    if let ("Squeeze" | "Unsqueeze", Value::Slot { width: 2.., .. }) = (node.op_type.as_str(), &value) {
        return Err("changes the axes of more than one value per row".to_owned());
    }
    c.alias(node, 0, value);
    Ok(())
}

pub(super) fn cast(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let to = i32::try_from(node.int("to", 0)).unwrap_or(0);
    match (c.input(node, 0).cloned().ok_or("input is missing")?, to) {
        (Value::Slot { slot, width }, element::FLOAT) if c.dtype == DType::F64 => {
            c.emit(node, 0, Op::Function(Function::Single), vec![slot], width);
        }
        (value, element::FLOAT | element::DOUBLE) => c.alias(node, 0, value),
        (Value::Constant(k), element::INT64 | element::INT32) => c.alias(node, 0, Value::Constant(k)),
        (_, other) => return Err(format!("cast of computed values to element type {other} is not supported")),
    }
    Ok(())
}

pub(super) fn reshape(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let target = c.constant(node, 1)?.map(|k| k.values.clone()).unwrap_or_default();
    let keeps = match target.as_slice() {
        [-1.0] => width == 1,
        [-1.0 | 0.0, columns] => *columns == width as f64 || (*columns == -1.0 && target[0] == 0.0),
        _ => false,
    };
    if !keeps {
        return Err(format!("reshapes rows of {width} values to {target:?}"));
    }
    c.alias(node, 0, Value::Slot { slot, width });
    Ok(())
}

pub(super) fn concat(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    axis(node, "axis", 1)?;
    let parts: Vec<(usize, usize)> = (0..node.input.len()).map(|i| c.slot(node, i)).collect::<Result<_, _>>()?;
    if parts.is_empty() {
        return Err("has no inputs".to_owned());
    }
    let width = parts.iter().map(|p| p.1).sum();
    c.emit(node, 0, Op::Concat, parts.into_iter().map(|p| p.0).collect(), width);
    Ok(())
}

pub(super) fn select(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let columns = c.constant(node, 1)?.ok_or("names no columns")?.values.clone();
    let (_, width) = c.slot(node, 0)?;
    // negative indices count from the end
    let place = |v: f64| if v < 0.0 { v + width as f64 } else { v };
    columns_of(c, node, columns.into_iter().map(place).collect())
}

pub(super) fn slice(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (_, width) = c.slot(node, 0)?;
    let part = |i: usize, name: &str| -> Result<Vec<f64>, String> {
        let attribute: Vec<f64> = node.ints(name).iter().map(|v| *v as f64).collect();
        Ok(c.constant(node, i)?.map_or(attribute, |k| k.values.clone()))
    };
    let (starts, ends) = (part(1, "starts")?, part(2, "ends")?);
    let (axes, steps) = (part(3, "axes")?, part(4, "steps")?);
    let (&[start], &[end], &[1.0 | -1.0], [] | [1.0]) = (&*starts, &*ends, &*axes, &*steps) else {
        return Err("this form is not supported, only a range of columns".to_owned());
    };
    let place = |v: f64| (if v < 0.0 { v + width as f64 } else { v }).clamp(0.0, width as f64) as usize;
    columns_of(c, node, (place(start)..place(end)).map(|i| i as f64).collect())
}

/// Emits a selection of columns.
fn columns_of(c: &mut Compiler, node: &NodeProto, columns: Vec<f64>) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    if let Some(bad) = columns.iter().find(|v| v.fract() != 0.0 || **v < 0.0 || **v >= width as f64) {
        return Err(format!("column {bad} of {width}"));
    }
    if columns.is_empty() {
        return Err("takes no columns".to_owned());
    }
    c.allocate(columns.len().saturating_mul(INDEX_BYTES))?;
    let data: Vec<i64> = columns.iter().map(|v| *v as i64).collect();
    let count = data.len();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(data, [count]), &Device::flex());
    c.emit(node, 0, Op::Columns(indices), vec![slot], count);
    Ok(())
}
