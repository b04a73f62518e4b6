//! The tensors of a model, as metadata describes them.

use forebay_contract::{ColumnKind, RowFormat};

use super::outputs::{DECISION_FUNCTION, PREDICT_PROBA};
use super::{Datatype, MATRIX, PREDICT};

/// A tensor; `-1` is any size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorDescription {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<i64>,
}

/// The inputs and the outputs of a model with such rows, or of one whose rows are not known yet. Columns that are all
/// numbers are one tensor; else each is a tensor of its own.
pub(crate) fn describe_tensors(format: Option<&RowFormat>) -> (Vec<TensorDescription>, Vec<TensorDescription>) {
    let tensor = |name: &str, datatype, shape| TensorDescription { name: name.to_owned(), datatype, shape };
    let Some(format) = format else {
        let (input, output) = (vec![-1, -1], vec![-1]);
        return (vec![tensor(MATRIX, Datatype::Fp64, input)], vec![tensor(PREDICT, Datatype::Fp64, output)]);
    };
    let typed = format.kinds().any(|kind| kind != ColumnKind::Float);
    let inputs = match typed && format.kinds.len() == format.features.len() {
        true => {
            let columns = format.features.iter().zip(format.kinds());
            columns.map(|(name, kind)| tensor(name, datatype(kind), vec![-1, 1])).collect()
        }
        false => vec![tensor(MATRIX, Datatype::Fp64, vec![-1, size(format.features.len())])],
    };
    let values = if format.outputs > 1 { vec![-1, i64::from(format.outputs)] } else { vec![-1] };
    let mut outputs = vec![tensor(PREDICT, datatype(format.answer()), values)];
    if format.probabilities > 0 {
        outputs.push(tensor(PREDICT_PROBA, Datatype::Fp64, vec![-1, i64::from(format.probabilities)]));
    }
    if format.decision_function {
        let width = if format.probabilities > 2 { vec![-1, i64::from(format.probabilities)] } else { vec![-1] };
        outputs.push(tensor(DECISION_FUNCTION, Datatype::Fp64, width));
    }
    (inputs, outputs)
}

/// A width of 0 is not known.
fn size(width: usize) -> i64 {
    i64::try_from(width).ok().filter(|width| *width > 0).unwrap_or(-1)
}

fn datatype(kind: ColumnKind) -> Datatype {
    match kind {
        ColumnKind::Float => Datatype::Fp64,
        ColumnKind::Integer => Datatype::Int64,
        ColumnKind::Boolean => Datatype::Bool,
        ColumnKind::Text => Datatype::Bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: Option<&RowFormat>) -> String {
        let (inputs, outputs) = describe_tensors(format);
        let line = |it: &TensorDescription| format!("{} {} {:?}", it.name, it.datatype.name(), it.shape);
        let lines = |tensors: &[TensorDescription]| tensors.iter().map(line).collect::<Vec<_>>().join(", ");
        format!("{} -> {}", lines(&inputs), lines(&outputs))
    }

    #[test]
    fn numbers_are_one_tensor_and_other_columns_have_their_own() {
        assert_eq!(shown(None), "input-0 FP64 [-1, -1] -> predict FP64 [-1]");
        let features = vec!["age".to_owned(), "city".to_owned()];
        let numbers = RowFormat { features, outputs: 1, ..RowFormat::default() };
        assert_eq!(shown(Some(&numbers)), "input-0 FP64 [-1, 2] -> predict FP64 [-1]");
        let typed = RowFormat {
            kinds: vec![ColumnKind::Integer.into(), ColumnKind::Text.into()],
            answer: ColumnKind::Boolean.into(),
            probabilities: 2,
            decision_function: true,
            ..numbers.clone()
        };
        let outputs = "predict BOOL [-1], predict_proba FP64 [-1, 2], decision_function FP64 [-1]";
        assert_eq!(shown(Some(&typed)), format!("age INT64 [-1, 1], city BYTES [-1, 1] -> {outputs}"));
        let several = RowFormat { outputs: 3, answer: ColumnKind::Integer.into(), ..numbers };
        assert!(shown(Some(&several)).ends_with("-> predict INT64 [-1, 3]"));
    }
}
