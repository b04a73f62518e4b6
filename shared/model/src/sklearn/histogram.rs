//! Histogram gradient boosting: f64 thresholds, and a direction for missing values at every split.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Estimator, forest};
use crate::Fault;
use crate::artefact::View;
use crate::forest::{Aggregate, ForestBuilder, Precision, RawTree};
use crate::head::Head;
use crate::output_transform::{Link, OutputTransform};
use crate::step::Step;

/// The number of 32-bit words in a set of categories; categories are 0 to 255.
const SET_WORDS: usize = 8;
const MAX_CATEGORIES: usize = 32 * SET_WORDS;
/// Bytes of a set besides its members.
const SET_BYTES: usize = 48;

/// A fitted histogram booster. If it has categorical columns, it adds a step that encodes them.
pub(super) fn boosting(
    view: &View<'_>,
    width: usize,
    classifies: bool,
    steps: &mut Vec<Step>,
) -> Result<Estimator, Fault> {
    if let Some(preprocessor) = view.opt("_preprocessor") {
        // scikit-learn's own step encodes the categorical columns, which come first, and only validates the others
        let step = super::step::columns(&preprocessor, width, Some("numerical"))?;
        let after = step.output_width(width);
        if after != width {
            return Err(preprocessor.fault(format!("gives {after} values, expected {width}")));
        }
        steps.push(step);
    }
    let known = known_categories(view, width)?;
    let start = view.attr("_baseline_prediction")?.finite()?;
    let outputs = start.len();
    let mut forest = ForestBuilder::new(width, 1, Precision::Double).within(view.allowance());
    for iteration in view.attr("_predictors")?.items()? {
        let trees = iteration.items()?;
        if trees.len() != outputs {
            return Err(iteration.fault(format!("{} trees for {outputs} outputs", trees.len())));
        }
        for tree in &trees {
            push(tree, &known, &mut forest)?;
        }
    }
    let forest = forest.finish(outputs, Aggregate::Sum(start)).map_err(|e| view.fault(e))?;
    let loss = view.attr("loss")?;
    let transform = match (loss.text()?, classifies) {
        ("squared_error" | "least_squares" | "absolute_error" | "least_absolute_deviation" | "quantile", false) => {
            OutputTransform::Number
        }
        ("poisson" | "gamma", false) => OutputTransform::Exp,
        // "auto" until 1.0
        ("log_loss" | "auto" | "binary_crossentropy" | "categorical_crossentropy", true) => {
            let link = if outputs == 1 { Link::Logit { zero_wins: false } } else { Link::Softmax };
            OutputTransform::Classes { labels: forest::labels(view)?, link }
        }
        (name, _) => return Err(loss.fault(format!("loss {name:?} is not supported"))),
    };
    Ok(Estimator { head: Head::Forest(Arc::new(forest)), transform, takes_missing: true })
}

/// The codes of each column's categories that the binning knows; empty for numeric columns.
fn known_categories(view: &View<'_>, width: usize) -> Result<Vec<Vec<f64>>, Fault> {
    let none = || vec![Vec::new(); width];
    let Some(mapper) = view.opt("_bin_mapper") else { return Ok(none()) };
    let Some(categorical) = mapper.opt("is_categorical_") else { return Ok(none()) };
    let columns = mapper.attr("bin_thresholds_")?.items()?;
    let categorical = categorical.vector(width)?;
    if columns.len() != width {
        return Err(mapper.fault(format!("bins {} columns, expected {width}", columns.len())));
    }
    let known = |(column, is): (&View<'_>, &f64)| {
        if *is == 0.0 {
            return Ok(Vec::new());
        }
        let codes = column.finite()?;
        // a set has no place for others
        if codes.len() > MAX_CATEGORIES || codes.iter().any(|code| !(0.0..MAX_CATEGORIES as f64).contains(code)) {
            return Err(column.fault(format!("has codes that are not below {MAX_CATEGORIES}")));
        }
        Ok(codes)
    };
    columns.iter().zip(&categorical).map(known).collect()
}

/// Whether a number is in a set: bit `v % 32` of word `v / 32`.
fn is_member(words: &[f64], v: usize) -> bool {
    (words[v / 32] as u32) >> (v % 32) & 1 == 1
}

/// The numbers in a set.
fn members(words: &[f64]) -> Vec<f64> {
    (0..32 * words.len()).filter(|v| is_member(words, *v)).map(|v| v as f64).collect()
}

fn push(tree: &View<'_>, known: &[Vec<f64>], forest: &mut ForestBuilder) -> Result<(), Fault> {
    let view = tree.attr("nodes")?;
    let left_before = view.allowance().left();
    let integers = |name| view.records()?.integers(name);
    let leaf = integers("is_leaf")?;
    let (mut left, mut right) = (integers("left")?, integers("right")?);
    left.iter_mut().zip(&leaf).filter(|(_, leaf)| **leaf != 0).for_each(|(l, _)| *l = -1);
    let mut missing_left: Vec<bool> = integers("missing_go_to_left")?.iter().map(|m| *m != 0).collect();
    let (feature, mut threshold) = (integers("feature_idx")?, view.records()?.numbers("num_threshold")?);
    let mut sets = HashMap::new();
    let categorical = integers("is_categorical")?;
    if categorical.iter().zip(&leaf).any(|(c, leaf)| *c != 0 && *leaf == 0) {
        let words_view = tree.attr("raw_left_cat_bitsets")?;
        let (words, places) = (words_view.finite()?, integers("bitset_idx")?);
        for at in (0..leaf.len()).filter(|at| categorical[*at] != 0 && leaf[*at] == 0) {
            let words = usize::try_from(places[at]).ok().and_then(|p| words.chunks_exact(SET_WORDS).nth(p));
            let words = words.ok_or_else(|| words_view.fault(format!("has no set {}", places[at])))?;
            threshold[at] = 0.0;
            // codes that the binning does not know are missing values
            let set: Vec<f64> = if std::mem::replace(&mut missing_left[at], false) {
                let column = usize::try_from(feature[at]).ok().and_then(|f| known.get(f));
                let known = column.ok_or_else(|| view.fault(format!("node {at}: feature {}", feature[at])))?;
                std::mem::swap(&mut left[at], &mut right[at]);
                known.iter().copied().filter(|v| !is_member(words, *v as usize)).collect()
            } else {
                members(words)
            };
            view.allocate(SET_BYTES + set.capacity() * size_of::<f64>())?;
            sets.insert(at, set);
        }
    }
    let raw = RawTree {
        left: &left,
        right: &right,
        feature: &feature,
        threshold: &threshold,
        missing_left: &missing_left,
        rules: &[],
        sets: Some(&sets),
        values: &view.records()?.numbers("value")?,
    };
    // the fields are gone once the tree is in the forest, which accounts for its own tables
    let taken = left_before.saturating_sub(view.allowance().left());
    forest.push(&raw, 1.0).map_err(|e| tree.fault(e))?;
    view.allowance().give_back(taken);
    Ok(())
}
