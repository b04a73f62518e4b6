//! Rows of one call in the form that a model takes: numbers, or typed values.

use forebay_contract::Value as WireValue;
use forebay_contract::wire::value::Kind;
use forebay_model::Value;

/// Rows as a model takes them, row-major.
#[derive(Debug)]
pub(crate) enum RowBatch {
    /// For a model of numbers; NaN is a missing value.
    Numbers(Vec<f64>),
    /// For a model with columns that are no numbers.
    Values(Vec<Value>),
}

/// Some rows of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BatchView<'b> {
    Numbers(&'b [f64]),
    Values(&'b [Value]),
}

impl BatchView<'_> {
    /// The number of rows of `width` values.
    pub(crate) fn len(self, width: usize) -> usize {
        let values = match self {
            Self::Numbers(values) => values.len(),
            Self::Values(values) => values.len(),
        };
        values / width.max(1)
    }

    /// The rows up to row `at` of `width` values, and those from it on.
    pub(crate) fn split_at(self, at: usize, width: usize) -> (Self, Self) {
        match self {
            Self::Numbers(values) => {
                let (head, tail) = values.split_at(at * width);
                (Self::Numbers(head), Self::Numbers(tail))
            }
            Self::Values(values) => {
                let (head, tail) = values.split_at(at * width);
                (Self::Values(head), Self::Values(tail))
            }
        }
    }
}

impl RowBatch {
    /// An empty batch; `typed` says which form the model takes.
    pub(crate) fn new(typed: bool) -> Self {
        if typed { Self::Values(Vec::new()) } else { Self::Numbers(Vec::new()) }
    }

    /// All rows.
    pub(crate) fn view(&self) -> BatchView<'_> {
        match self {
            Self::Numbers(values) => BatchView::Numbers(values),
            Self::Values(values) => BatchView::Values(values),
        }
    }

    /// As many rows as make `values` values, from the beginning again and again.
    pub(crate) fn repeated(&self, values: usize) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(numbers.iter().copied().cycle().take(values).collect()),
            Self::Values(own) => Self::Values(own.iter().cloned().cycle().take(values).collect()),
        }
    }
}

/// A value from another stage as a model takes it.
pub fn model_value(wire: &WireValue) -> Value {
    match &wire.kind {
        None => Value::Missing,
        Some(Kind::Float(value)) => Value::from(*value),
        Some(Kind::Integer(value)) => Value::Integer(*value),
        Some(Kind::Boolean(value)) => Value::Boolean(*value),
        Some(Kind::Text(text)) => Value::Text(text.as_str().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_both_forms() {
        let batch = RowBatch::Values(vec![Value::Integer(1), Value::Text("a".into())]);
        let repeated = batch.repeated(6);
        assert_eq!(repeated.view().len(2), 3);
        let (first, others) = repeated.view().split_at(1, 2);
        assert!(matches!(first, BatchView::Values([Value::Integer(1), Value::Text(_)])));
        assert_eq!(others.len(2), 2);
        assert_eq!(RowBatch::Numbers(vec![1.0; 4]).view().split_at(2, 2).1.len(2), 0);
        assert_eq!(RowBatch::new(true).view().len(2), 0);
    }
}
