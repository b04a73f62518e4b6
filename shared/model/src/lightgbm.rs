//! LightGBM models in their text format, computed in f64 as LightGBM does.

mod categories;
mod importance;
mod linear;
mod objective;
mod text;
mod trees;

use std::sync::Arc;

use forebay_artefact::Allowance;

pub(crate) use self::importance::importances;
use self::linear::LinearLeaves;
use self::objective::Objective;
use self::text::Header;
use crate::booster::{Booster, Coder, Compiled, Meaning, numbered_classes, numbers};
use crate::forest::Forest;
use crate::head::Head;
use crate::{Fault, Rows};

/// A model: sums of leaves, then the link of its objective.
#[derive(Debug)]
struct Lightgbm {
    width: usize,
    groups: usize,
    sums: Sums,
    objective: Objective,
    /// What the raw scores are a multiple of: the rounds of a random forest, whose prediction is their mean; else 1.
    scale: f64,
    /// Whether the single output is answered as the probabilities of two classes.
    two_classes: bool,
    coder: Option<Coder>,
}

#[derive(Debug)]
enum Sums {
    Constant(Box<Forest>),
    Linear(Box<LinearLeaves>),
    /// A model without trees.
    Zero,
}

/// Whether a file is a model of LightGBM.
pub(crate) fn owns(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(64)];
    head.starts_with(b"tree\n") || head.starts_with(b"tree\r\n")
}

/// Compiles a model file. `class` is the Python class that it was saved from.
///
/// # Errors
/// A [`Fault`] that names the line or the tree.
pub(crate) fn compile(bytes: &[u8], class: Option<&str>, allowance: &Allowance) -> Result<Compiled, Fault> {
    let meaning = class.map_or(Meaning::Booster, Meaning::of_class);
    compile_text(bytes, meaning, None, allowance)
}

/// Compiles a model, using its first `rounds` rounds or all.
pub(crate) fn compile_text(
    bytes: &[u8],
    meaning: Meaning,
    rounds: Option<usize>,
    allowance: &Allowance,
) -> Result<Compiled, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|e| Fault::new("", e.to_string()))?;
    let (header, blocks) = text::read(text, allowance)?;
    let objective = Objective::read(header.objective).map_err(|e| Fault::new("objective", e))?;
    let groups = header.trees_per_iteration;
    let used = rounds.map_or(blocks.len(), |rounds| rounds.saturating_mul(groups).min(blocks.len()));
    let sums = trees::read(&header, &blocks[..used], allowance)?;
    let scale = if header.averages { used as f64 / groups as f64 } else { 1.0 };
    let custom = objective.is_custom();
    let two_classes = meaning == Meaning::Classifier && groups == 1 && !custom;
    let Header { width, features, .. } = header;
    let coder = categories::coder(text, &features, allowance).map_err(|e| Fault::new("pandas_categorical", e))?;
    let model = Lightgbm { width, groups, sums, objective, scale, two_classes, coder };
    let transform = match model.outputs() {
        outputs if meaning == Meaning::Classifier && !custom => numbered_classes(outputs),
        outputs => numbers(outputs),
    };
    Ok(Compiled { features, head: Head::Booster(Arc::new(model)), transform })
}

impl Lightgbm {
    /// The sums of leaves, row-major `len x groups`.
    fn sums(&self, rows: Rows<'_>) -> Vec<f64> {
        let mut sums = vec![0.0; rows.len() * self.groups];
        match &self.sums {
            Sums::Constant(forest) => forest.sum(rows.values(), &mut sums),
            Sums::Linear(leaves) => leaves.sum(rows.values(), &mut sums),
            Sums::Zero => {}
        }
        sums
    }
}

impl Booster for Lightgbm {
    fn ignores_names(&self) -> bool {
        true
    }

    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        if self.two_classes { 2 } else { self.groups }
    }

    fn predict(&self, rows: Rows<'_>) -> Vec<f64> {
        let mut sums = self.sums(rows);
        self.objective.apply(&mut sums, self.groups);
        if self.two_classes { sums.iter().flat_map(|p| [1.0 - p, *p]).collect() } else { sums }
    }

    fn margins(&self, rows: Rows<'_>) -> Option<Vec<f64>> {
        let mut sums = self.sums(rows);
        // the raw scores of a random forest are no means
        sums.iter_mut().for_each(|sum| *sum *= self.scale);
        Some(sums)
    }

    fn coder(&self) -> Option<&Coder> {
        self.coder.as_ref()
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn name(&self) -> String {
        let trees = match &self.sums {
            Sums::Constant(forest) => forest.name(),
            Sums::Linear(leaves) => leaves.name(),
            Sums::Zero => "no trees".to_owned(),
        };
        format!("LightGBM({}, {trees})", self.objective.name())
    }
}
