//! What is to be predicted: numbers or classes.

use std::collections::BTreeMap;

use crate::dataset::{DatasetColumn, DatasetError};
use crate::training_arguments::TaskChoice;

/// Most classes accepted.
const MAX_CLASSES: usize = 100;

/// The target of every row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TargetValues {
    Numbers(Vec<f64>),
    /// `of[i]` indexes `labels`.
    Classes {
        labels: Vec<String>,
        of: Vec<usize>,
    },
}

impl TargetValues {
    /// Reads the column as `task`, or as what it looks like: text, two whole numbers or two words are classes, all
    /// other numbers are numbers.
    ///
    /// # Errors
    /// [`DatasetError`] for a value that does not fit the task, one value only, more than 100 classes, a class with one
    /// row.
    pub(crate) fn read(column: &DatasetColumn, task: Option<TaskChoice>) -> Result<Self, DatasetError> {
        let numbers: Result<Vec<f64>, DatasetError> = (0..column.values.len()).map(|i| number(column, i)).collect();
        let task = task.unwrap_or_else(|| match &numbers {
            Ok(numbers) if !looks_like_classes(numbers) => TaskChoice::Regression,
            _ => TaskChoice::Classification,
        });
        match task {
            TaskChoice::Regression => {
                let numbers = numbers?;
                if numbers.iter().all(|v| *v == numbers[0]) {
                    return Err(one_value(column));
                }
                Ok(Self::Numbers(numbers))
            }
            TaskChoice::Classification => classes(column, numbers.is_ok()),
        }
    }

    /// Class labels; empty for numbers.
    pub(crate) fn labels(&self) -> &[String] {
        match self {
            Self::Numbers(_) => &[],
            Self::Classes { labels, .. } => labels,
        }
    }
}

fn number(column: &DatasetColumn, i: usize) -> Result<f64, DatasetError> {
    let text = &column.values[i];
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() => Ok(v),
        _ => Err(DatasetError::Cell {
            line: column.lines[i],
            column: column.name.clone(),
            reason: format!("{text:?} is no finite number; for names use --task classification"),
        }),
    }
}

fn looks_like_classes(numbers: &[f64]) -> bool {
    let mut seen: Vec<f64> = Vec::with_capacity(3);
    for v in numbers {
        if v.fract() != 0.0 || (!seen.contains(v) && seen.len() == 2) {
            return false;
        }
        if !seen.contains(v) {
            seen.push(*v);
        }
    }
    true
}

fn classes(column: &DatasetColumn, numeric: bool) -> Result<TargetValues, DatasetError> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in &column.values {
        *counts.entry(value).or_default() += 1;
        if counts.len() > MAX_CLASSES {
            let reason = format!("column {:?} has more than {MAX_CLASSES} different values", column.name);
            return Err(DatasetError::File(format!("{reason}; for numbers use --task regression")));
        }
    }
    if counts.len() < 2 {
        return Err(one_value(column));
    }
    if let Some((label, _)) = counts.iter().find(|(_, n)| **n < 2) {
        let reason = format!("column {:?}: class {label:?} has one row, at least two are needed", column.name);
        return Err(DatasetError::File(reason));
    }
    let mut labels: Vec<&str> = counts.into_keys().collect();
    if numeric {
        let value = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
        labels.sort_by(|a, b| value(a).total_cmp(&value(b)));
    }
    let index: BTreeMap<&str, usize> = labels.iter().enumerate().map(|(i, label)| (*label, i)).collect();
    let of = column.values.iter().map(|v| index[v.as_str()]).collect();
    Ok(TargetValues::Classes { labels: labels.into_iter().map(str::to_owned).collect(), of })
}

fn one_value(column: &DatasetColumn) -> DatasetError {
    DatasetError::File(format!("column {:?} has the same value in every row, there is nothing to learn", column.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[&str]) -> DatasetColumn {
        let lines = (0..values.len() as u64).map(|i| i + 2).collect();
        DatasetColumn { name: "y".to_owned(), values: values.iter().map(|v| (*v).to_owned()).collect(), lines }
    }

    #[test]
    fn numbers_and_classes_are_told_apart() {
        let read = |values: &[&str]| TargetValues::read(&column(values), None).unwrap();
        assert_eq!(read(&["1.5", "2", "1.5"]), TargetValues::Numbers(vec![1.5, 2.0, 1.5]));
        assert_eq!(read(&["1", "2", "3"]), TargetValues::Numbers(vec![1.0, 2.0, 3.0]));
        assert_eq!(read(&["1", "0", "1", "0"]).labels(), ["0", "1"]);
        assert_eq!(
            read(&["b", "a", "b", "a"]),
            TargetValues::Classes { labels: vec!["a".into(), "b".into()], of: vec![1, 0, 1, 0] }
        );
        let chosen = TargetValues::read(&column(&["10", "9", "9", "10"]), Some(TaskChoice::Classification)).unwrap();
        assert_eq!(chosen.labels(), ["9", "10"], "numeric labels stand in the order of the numbers");
        let chosen = TargetValues::read(&column(&["1", "0"]), Some(TaskChoice::Regression)).unwrap();
        assert_eq!(chosen, TargetValues::Numbers(vec![1.0, 0.0]));
    }

    #[test]
    fn targets_that_cannot_be_learnt() {
        let error = |values: &[&str], task| TargetValues::read(&column(values), task).unwrap_err().to_string();
        assert!(error(&["1", "x"], Some(TaskChoice::Regression)).contains("line 3, column \"y\": \"x\" is no finite"));
        assert!(error(&["1", "1"], None).contains("nothing to learn"));
        assert!(error(&["1.5", "1.5"], None).contains("nothing to learn"));
        assert!(error(&["a", "a", "b"], None).contains("class \"b\" has one row"));
        let many: Vec<String> = (0..200).map(|i| format!("n{i}")).collect();
        assert!(error(&many.iter().map(String::as_str).collect::<Vec<_>>(), None).contains("more than 100"));
    }
}
