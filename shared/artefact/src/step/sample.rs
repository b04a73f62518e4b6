//! A row that fitted steps take, for a model without an example: categories that an encoder knows, numbers inside of the
//! range that it was fitted on.

use super::{Columns, Part, Step};
use crate::Value;

/// For each of the `width` input columns of `steps` a value that they take, if one is known. `then` is what comes after
/// them would take.
pub fn sample(steps: &[Step], width: usize, then: Option<Vec<Option<Value>>>) -> Vec<Option<Value>> {
    let nothing = vec![None; width];
    let Some((step, later)) = steps.split_first() else {
        return then.filter(|values| values.len() == width).unwrap_or(nothing);
    };
    let values = match step {
        Step::Other(transform) if !transform.sample().is_empty() => transform.sample(),
        Step::OneHot(one_hot) => one_hot.categories.iter().map(|of| of.values.first().copied()).map(number).collect(),
        Step::Ordinal(ordinal) => ordinal.categories.iter().map(|of| of.values.first().copied()).map(number).collect(),
        Step::Columns(columns) => of_columns(columns, width, &sample(later, columns.width(), then)),
        step if step.keeps_values() => {
            let mut values = nothing.clone();
            for (column, value) in sample(later, step.output_width(width), then).into_iter().enumerate() {
                if let Some(to) = step.source(column).and_then(|column| values.get_mut(column)) {
                    *to = value;
                }
            }
            values
        }
        _ => Vec::new(),
    };
    if values.len() == width { values } else { nothing }
}

fn number(value: Option<f64>) -> Option<Value> {
    value.map(Value::from)
}

fn of_columns(columns: &Columns, width: usize, later: &[Option<Value>]) -> Vec<Option<Value>> {
    let (mut values, mut start) = (vec![None; width], 0);
    for Part { columns, steps, width, weight } in &columns.parts {
        let then = later.get(start..start + width).filter(|_| weight.is_none()).map(<[_]>::to_vec);
        start += width;
        for (column, value) in columns.iter().zip(sample(steps, columns.len(), then)) {
            if let Some(to) = values.get_mut(*column).filter(|to| to.is_none()) {
                *to = value;
            }
        }
    }
    values
}
