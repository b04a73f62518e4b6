//! What gradient boosters of XGBoost, LightGBM and CatBoost have in common.

mod coding;

use std::fmt::Debug;

pub(crate) use coding::{CategoryText, Coder, Coding, CutText, NUMBER_BYTES, TEXT_BYTES, Unseen};

use crate::head::Head;
use crate::output_transform::{Link, OutputTransform};
use crate::plan::Plan;
use crate::{Label, Rows};

/// A booster with its link function: rows in, what its library's `predict` answers out.
pub(crate) trait Booster: Send + Sync + Debug {
    /// The number of values in a row.
    fn width(&self) -> usize;

    /// The number of outputs per row.
    fn outputs(&self) -> usize;

    /// Predicts rows of `width()` values; row-major `len x outputs()`.
    fn predict(&self, rows: Rows<'_>) -> Vec<f64>;

    /// The sums of leaves before the link, as many in each row; `None` where the library has no such method.
    fn margins(&self, _rows: Rows<'_>) -> Option<Vec<f64>> {
        None
    }

    /// How typed values become numbers; `None` if the model takes only numbers.
    fn coder(&self) -> Option<&Coder> {
        None
    }

    /// Whether an absent value of a sparse row is missing, not a zero.
    fn tells_absent(&self) -> bool {
        false
    }

    /// Whether the library looks at the places of columns and not at their names.
    fn ignores_names(&self) -> bool {
        false
    }

    /// Whether predictions are bit-identical to the library's.
    fn is_exact(&self) -> bool;

    /// The name that `ops` shows.
    fn name(&self) -> String;
}

/// What the outputs of a booster mean, which the class that it was saved from decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The library's own class: every tree, and the value of the link.
    Booster,
    /// A scikit-learn class whose predictions are numbers.
    Regressor,
    /// A scikit-learn class whose predictions are labels.
    Classifier,
}

impl Meaning {
    /// The meaning of a Python class, from the last part of its name.
    pub(crate) fn of_class(class: &str) -> Self {
        let name = class.rsplit('.').next().unwrap_or(class);
        match name {
            "Booster" | "CatBoost" => Self::Booster,
            _ if name.ends_with("Classifier") => Self::Classifier,
            _ => Self::Regressor,
        }
    }
}

/// A compiled booster: its head, what its outputs are, and its names for the features.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub features: Vec<String>,
    pub head: Head,
    pub transform: OutputTransform,
}

impl Compiled {
    /// The plan of the booster alone.
    pub(crate) fn plan(self) -> Result<Plan, String> {
        Plan::new(self.features, Vec::new(), self.head, self.transform, true)
    }
}

/// The transform of outputs that are the prediction.
pub(crate) fn numbers(outputs: usize) -> OutputTransform {
    if outputs == 1 { OutputTransform::Number } else { OutputTransform::Several(outputs) }
}

/// The transform of outputs that are one probability per class, labelled from 0.
pub(crate) fn numbered_classes(classes: usize) -> OutputTransform {
    let labels = (0..classes).map(|i| Label::Integer(i as i64)).collect();
    OutputTransform::Classes { labels, link: Link::Probabilities }
}
