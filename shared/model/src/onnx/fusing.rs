//! Fuses sequences of linear layers in a program: `MatMul`, `Add`, `Relu`, `MatMul`, ... as exporters write nets.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};

use super::operation::{Arithmetic, Function, Op};
use super::program::Instruction;
use crate::fused::{DenseLayer, Fused, MAX_WEIGHTS};

/// The same program with its sequences of layers fused, where that is faster.
pub(super) fn fuse(instructions: Vec<Instruction>, result: usize, slots: usize, dtype: DType) -> Vec<Instruction> {
    let mut readers = vec![0usize; slots];
    readers[result] += 1;
    instructions.iter().flat_map(|instruction| &instruction.inputs).for_each(|slot| readers[*slot] += 1);
    let mut fused = Vec::with_capacity(instructions.len());
    let mut at = 0;
    while at < instructions.len() {
        let (dense, count) = run(&instructions[at..], &readers);
        match Fused::new(&dense, dtype) {
            Some(layers) => {
                let taken = &instructions[at..at + count];
                fused.push(Instruction {
                    op: Op::Fused(Arc::new(layers)),
                    inputs: taken[0].inputs.clone(),
                    output: taken[count - 1].output,
                    name: taken.iter().map(|instruction| instruction.name.as_str()).collect::<Vec<_>>().join(" + "),
                });
                at += count;
            }
            None => {
                let alone = count.max(1);
                fused.extend_from_slice(&instructions[at..at + alone]);
                at += alone;
            }
        }
    }
    fused
}

/// The layers at the beginning of `instructions`, each read only by the next one, and the number of their instructions: as
/// many as have few enough weights together.
fn run(instructions: &[Instruction], readers: &[usize]) -> (Vec<DenseLayer>, usize) {
    let mut dense: Vec<DenseLayer> = Vec::new();
    let (mut count, mut weights) = (0, 0);
    let mut last: Option<usize> = None;
    for instruction in instructions {
        let follows = last.is_none_or(|slot| instruction.inputs == [slot] && readers[slot] == 1);
        if let Op::Linear { weight, .. } = &instruction.op {
            weights += weight.dims().iter().product::<usize>();
        }
        if !follows || weights > MAX_WEIGHTS || !take(&mut dense, &instruction.op) {
            break;
        }
        last = Some(instruction.output);
        count += 1;
    }
    (dense, count)
}

/// Adds an operation to the sequence. Returns false if it does not fit.
fn take(dense: &mut Vec<DenseLayer>, op: &Op) -> bool {
    match (op, dense.last_mut()) {
        (Op::Linear { weight, bias }, _) => {
            let [inputs, outputs] = weight.dims();
            let (Some(weight), Some(bias)) = (values(weight), bias.as_ref().map_or(Some(Vec::new()), values)) else {
                return false;
            };
            if bias.len() > 1 && bias.len() != outputs {
                return false;
            }
            let mut layer = DenseLayer { inputs, outputs, weight, bias: Vec::new(), rectified: false };
            add(&mut layer, &bias);
            dense.push(layer);
            true
        }
        (Op::Constant { how: Arithmetic::Add, row, .. }, Some(layer)) if !layer.rectified => {
            let row = values(row).filter(|row| row.len() == 1 || row.len() == layer.outputs);
            row.is_some_and(|row| {
                add(layer, &row);
                true
            })
        }
        (Op::Function(Function::Relu), Some(layer)) => {
            layer.rectified = true;
            true
        }
        _ => false,
    }
}

/// Adds a row, or a single value for all outputs, to the bias.
fn add(layer: &mut DenseLayer, row: &[f64]) {
    if row.is_empty() {
        return;
    }
    layer.bias.resize(layer.outputs, 0.0);
    layer.bias.iter_mut().zip(row.iter().cycle()).for_each(|(bias, value)| *bias += value);
}

fn values(tensor: &Tensor<2>) -> Option<Vec<f64>> {
    tensor.clone().cast(DType::F64).try_into_data().ok()?.try_into_vec().ok()
}
