//! Runs of linear layers in a program become one operation each: `MatMul`, `Add`, `Relu`, `MatMul`, ... as exporters write nets.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};

use super::program::{Arithmetic, Function, Instruction, Op};
use crate::fused::{Fused, Stage};

/// The same program with its runs of layers fused, where that brings something.
pub(super) fn fuse(instructions: Vec<Instruction>, result: usize, slots: usize, dtype: DType) -> Vec<Instruction> {
    let mut readers = vec![0usize; slots];
    readers[result] += 1;
    instructions.iter().flat_map(|instruction| &instruction.inputs).for_each(|slot| readers[*slot] += 1);
    let mut fused = Vec::with_capacity(instructions.len());
    let mut at = 0;
    while at < instructions.len() {
        let (stages, count) = run(&instructions[at..], &readers);
        match Fused::new(&stages, dtype) {
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
                fused.push(instructions[at].clone());
                at += 1;
            }
        }
    }
    fused
}

/// The layers at the beginning of `instructions`, each read by nobody but the next one, and how many instructions they are.
fn run(instructions: &[Instruction], readers: &[usize]) -> (Vec<Stage>, usize) {
    let mut stages: Vec<Stage> = Vec::new();
    let mut count = 0;
    let mut last: Option<usize> = None;
    for instruction in instructions {
        let follows = last.is_none_or(|slot| instruction.inputs == [slot] && readers[slot] == 1);
        if !follows || !take(&mut stages, &instruction.op) {
            break;
        }
        last = Some(instruction.output);
        count += 1;
    }
    (stages, count)
}

/// Adds an operation to the run; false when it does not fit there.
fn take(stages: &mut Vec<Stage>, op: &Op) -> bool {
    match (op, stages.last_mut()) {
        (Op::Linear { weight, bias }, _) => {
            let [inputs, outputs] = weight.dims();
            let (Some(weight), Some(bias)) = (values(weight), bias.as_ref().map_or(Some(Vec::new()), values)) else {
                return false;
            };
            if bias.len() > 1 && bias.len() != outputs {
                return false;
            }
            let mut stage = Stage { inputs, outputs, weight, bias: Vec::new(), rectified: false };
            add(&mut stage, &bias);
            stages.push(stage);
            true
        }
        (Op::Constant { how: Arithmetic::Add, row, .. }, Some(stage)) if !stage.rectified => {
            let row = values(row).filter(|row| row.len() == 1 || row.len() == stage.outputs);
            row.is_some_and(|row| {
                add(stage, &row);
                true
            })
        }
        (Op::Function(Function::Relu), Some(stage)) => {
            stage.rectified = true;
            true
        }
        _ => false,
    }
}

/// Adds a row, or one value for all outputs, to the bias.
fn add(stage: &mut Stage, row: &[f64]) {
    if row.is_empty() {
        return;
    }
    stage.bias.resize(stage.outputs, 0.0);
    stage.bias.iter_mut().zip(row.iter().cycle()).for_each(|(bias, value)| *bias += value);
}

fn values(tensor: &Tensor<2>) -> Option<Vec<f64>> {
    tensor.clone().cast(DType::F64).try_into_data().ok()?.try_into_vec().ok()
}
