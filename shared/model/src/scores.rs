//! The predictions of a model: a value per row, and for classifiers a label and probabilities.

use std::sync::Arc;

/// The prediction of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowScore {
    /// Regression: the prediction. Classification: the label if labels are numbers, otherwise the class index.
    pub value: f64,
    /// Classification: the predicted class.
    pub label: Option<String>,
    /// Classification: one per class, in the order of `Signature::labels`; empty if the model has no probabilities.
    pub probabilities: Vec<f64>,
}

/// The predictions of a batch. Regression fills only `values`, so that a row costs no allocation.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    /// The value of each row; see [`RowScore::value`].
    pub values: Vec<f64>,
    /// The class index of each row; empty for regression.
    pub labels: Vec<u32>,
    /// Row-major `len x classes`; empty if the model has no probabilities.
    pub probabilities: Vec<f64>,
    names: Option<Arc<[String]>>,
}

impl Scores {
    /// The predictions of a regressor, one per row.
    pub fn regression(values: Vec<f64>) -> Self {
        Self { values, ..Self::default() }
    }

    /// The predictions of a classifier.
    ///
    /// `labels[i]` is an index into `names`; `probabilities` is row-major `len x names.len()`, or empty.
    /// If all names are numbers, the number is the row's value, as in scikit-learn's `predict`.
    pub fn classification(names: Arc<[String]>, labels: Vec<u32>, probabilities: Vec<f64>) -> Self {
        let numbers: Option<Vec<f64>> = names.iter().map(|n| n.parse().ok()).collect();
        let values = labels
            .iter()
            .map(|&l| numbers.as_ref().and_then(|n| n.get(l as usize).copied()).unwrap_or(f64::from(l)))
            .collect();
        Self { values, labels, probabilities, names: Some(names) }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The predicted class of row `i`, if the model is a classifier.
    pub fn label(&self, i: usize) -> Option<&str> {
        let names = self.names.as_ref()?;
        names.get(*self.labels.get(i)? as usize).map(String::as_str)
    }

    /// The class probabilities of row `i`; empty if the model has none.
    pub fn probabilities(&self, i: usize) -> &[f64] {
        let classes = self.names.as_ref().map_or(0, |n| n.len());
        self.probabilities.get(i * classes..(i + 1) * classes).unwrap_or(&[])
    }

    /// The prediction of row `i`.
    ///
    /// # Panics
    /// When `i >= len()`.
    pub fn score(&self, i: usize) -> RowScore {
        RowScore {
            value: self.values[i],
            label: self.label(i).map(str::to_owned),
            probabilities: self.probabilities(i).to_vec(),
        }
    }
}
