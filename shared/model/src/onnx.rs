//! ONNX at run time. The graph is read with `prost`, checked, and compiled to a program over burn tensors that keeps
//! its values in slots. The width of every value is known before anything runs. No code is generated, nothing in the
//! file is executed, and one error names all operators that are not supported.

mod attributes;
mod compile;
mod fusing;
mod learners;
mod nodes;
mod operation;
mod program;
mod proto;
mod shaping;
mod transform;
mod trees;
mod trees_alone;
mod wire;

pub(crate) use compile::{Compiled, read};
pub(crate) use program::Program;
