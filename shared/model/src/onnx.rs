//! ONNX at run time: the graph is read with `prost`, checked, and compiled to a program over burn tensors with
//! its values in slots. Widths are known for every value before anything runs. Nothing is generated or executed
//! from the file, and operators that are not known are all named in one error.

mod attributes;
mod compile;
mod fusing;
mod learners;
mod nodes;
mod program;
mod proto;
mod shaping;
mod transform;
mod trees;
mod trees_alone;

pub(crate) use compile::read;
pub(crate) use program::Program;
pub(crate) use trees_alone::Trees;
