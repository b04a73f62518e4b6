//! The input and output of a model: feature names in order, the task, class labels.

use crate::Label;
use crate::mlmodel::unnamed_features;

/// The kind of prediction that a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// One number per row.
    Regression,
    /// One class per row, with a probability for each class if the model has them.
    Classification,
}

/// The names and shape of a model's input and output.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// Feature names in the order of a row; `f0`, `f1`, ... when the artefact has no names.
    pub features: Vec<String>,
    pub task: Task,
    /// Class labels in the model's own order; empty for regression.
    pub labels: Vec<Label>,
}

impl Signature {
    /// Number of values in a row.
    pub fn width(&self) -> usize {
        self.features.len()
    }

    /// A regression signature with generated names, for artefacts without names.
    pub fn unnamed(width: usize) -> Self {
        Self { features: unnamed_features(width), task: Task::Regression, labels: Vec::new() }
    }
}
