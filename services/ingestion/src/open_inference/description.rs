//! The tensors of a model, as metadata describes them.

use super::{Datatype, MATRIX, PREDICT};

/// A tensor; `-1` is any size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorDescription {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<i64>,
}

/// The inputs and the outputs of a model with these columns, or of one whose columns are not known yet.
pub(crate) fn describe_tensors(columns: &[String]) -> (Vec<TensorDescription>, Vec<TensorDescription>) {
    let width = i64::try_from(columns.len()).ok().filter(|width| *width > 0).unwrap_or(-1);
    let tensor = |name: &str, shape| TensorDescription { name: name.to_owned(), datatype: Datatype::Fp64, shape };
    (vec![tensor(MATRIX, vec![-1, width])], vec![tensor(PREDICT, vec![-1])])
}
