//! What a model answers: one value a row, and for classifiers label and probabilities.

use std::sync::Arc;

/// One row's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Regression: the prediction. Classification: the label when labels are numbers, else the class index.
    pub value: f64,
    /// Classification: the predicted class.
    pub label: Option<String>,
    /// Classification: one per class, in the order of `Signature::labels`; empty when the model has none.
    pub probabilities: Vec<f64>,
}

/// The answers of a batch. Regression fills `values` alone, so a row costs no allocation.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    /// One per row; see [`Score::value`].
    pub values: Vec<f64>,
    /// Class index per row; empty for regression.
    pub labels: Vec<u32>,
    /// Row-major `len x classes`; empty when the model gives no probabilities.
    pub probabilities: Vec<f64>,
    names: Option<Arc<[String]>>,
}

impl Scores {
    /// Regression answers, one per row.
    pub fn regression(values: Vec<f64>) -> Self {
        Self { values, ..Self::default() }
    }

    /// Classifier answers.
    ///
    /// `labels[i]` indexes `names`; `probabilities` is row-major `len x names.len()` or empty.
    /// A numeric class name becomes the row's value, as scikit-learn's `predict` gives it.
    pub fn classification(names: Arc<[String]>, labels: Vec<u32>, probabilities: Vec<f64>) -> Self {
        let numbers: Option<Vec<f64>> = names.iter().map(|n| n.parse().ok()).collect();
        let values = labels
            .iter()
            .map(|&l| numbers.as_ref().and_then(|n| n.get(l as usize).copied()).unwrap_or(f64::from(l)))
            .collect();
        Self { values, labels, probabilities, names: Some(names) }
    }

    /// Number of rows answered.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True when nothing was answered.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Predicted class of row `i`, if the model is a classifier.
    pub fn label(&self, i: usize) -> Option<&str> {
        let names = self.names.as_ref()?;
        names.get(*self.labels.get(i)? as usize).map(String::as_str)
    }

    /// Class probabilities of row `i`; empty when the model gives none.
    pub fn probabilities(&self, i: usize) -> &[f64] {
        let classes = self.names.as_ref().map_or(0, |n| n.len());
        self.probabilities.get(i * classes..(i + 1) * classes).unwrap_or(&[])
    }

    /// Row `i` with everything known about it.
    ///
    /// # Panics
    /// When `i >= len()`.
    pub fn score(&self, i: usize) -> Score {
        Score {
            value: self.values[i],
            label: self.label(i).map(str::to_owned),
            probabilities: self.probabilities(i).to_vec(),
        }
    }
}
