//! Reads imputers of numbers.

use std::sync::Arc;

use super::step::column;
use crate::python::View;
use crate::step::{Guess, Impute, ImputeIteratively, ImputeNearest, ImputeValues, Indicate, Round, Step};
use crate::{ColumnKind, Fault, Value};

/// The value that counts as missing; `None` is NaN.
fn marker(view: &View<'_>) -> Result<Option<f64>, Fault> {
    // pandas' missing value arrives here as NaN; Python's None, absent from a view, is NaN in a column of numbers
    let Some(marker) = view.opt("missing_values") else { return Ok(None) };
    Ok(Some(marker.number()?).filter(|m| !m.is_nan()))
}

/// The input columns that an imputer's own indicator flags.
fn indicated(view: &View<'_>, width: usize) -> Result<Vec<usize>, Fault> {
    let Some(indicator) = view.opt("indicator_") else { return Ok(Vec::new()) };
    let columns = indicator.attr("features_")?;
    columns.numbers()?.iter().map(|c| column(&columns, *c, width)).collect()
}

/// A SimpleImputer without its indicator.
fn constants(view: &View<'_>, width: usize) -> Result<Impute, Fault> {
    let statistics = view.attr("statistics_")?;
    let fill = statistics.numbers()?;
    if fill.len() != width {
        return Err(statistics.fault(format!("has {} values, expected {width}", fill.len())));
    }
    let keep_empty = view.opt("keep_empty_features").map(|k| k.flag()).transpose()?.unwrap_or(false);
    let kept: Vec<(usize, f64)> = fill.into_iter().enumerate().filter(|(_, f)| keep_empty || !f.is_nan()).collect();
    if let Some((column, value)) = kept.iter().find(|(_, f)| !f.is_finite()) {
        return Err(statistics.fault(format!("value {column} is {value}, not finite")));
    }
    if kept.is_empty() {
        return Err(statistics.fault("leaves no column"));
    }
    Ok(Impute { missing: marker(view)?, kept, indicator: Vec::new() })
}

/// Whether an imputer fills in text or replaces it.
fn is_of_text(view: &View<'_>) -> Result<bool, Fault> {
    if view.opt("missing_values").is_some_and(|m| m.text().is_ok()) {
        return Ok(true);
    }
    Ok(view.attr("statistics_")?.values()?.iter().any(|v| matches!(v, Value::Text(_))))
}

/// A SimpleImputer on values of any type.
fn of_values(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let statistics = view.attr("statistics_")?;
    let fill = statistics.values()?;
    if fill.len() != width {
        return Err(statistics.fault(format!("has {} values, expected {width}", fill.len())));
    }
    let marker = match view.opt("missing_values") {
        Some(marker) => Some(marker.value()?).filter(|m| !m.is_missing()),
        None => None,
    };
    let keep_empty = view.opt("keep_empty_features").map(|k| k.flag()).transpose()?.unwrap_or(false);
    let kind = |v: &Value| match v {
        Value::Text(_) | Value::Missing => ColumnKind::Text,
        Value::Boolean(_) => ColumnKind::Boolean,
        Value::Integer(_) | Value::Float(_) => ColumnKind::Float,
    };
    let kinds = fill.iter().map(kind).collect();
    // a column whose most frequent value is None is no empty one: what is missing there stays so
    let none: Vec<bool> = statistics.items().unwrap_or_default().iter().map(View::is_none).collect();
    let stays = |(column, fill): &(usize, Value)| keep_empty || !fill.is_missing() || none.get(*column) == Some(&true);
    let kept: Vec<(usize, Value)> = fill.into_iter().enumerate().filter(stays).collect();
    if kept.is_empty() {
        return Err(statistics.fault("leaves no column"));
    }
    Ok(Step::Other(Arc::new(ImputeValues {
        marker,
        kept,
        indicator: indicated(view, width)?,
        kinds,
        keeps_none: vec![false; width],
    })))
}

/// A SimpleImputer.
pub(super) fn simple(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    if is_of_text(view)? {
        return of_values(view, width);
    }
    Ok(Step::Impute(Impute { indicator: indicated(view, width)?, ..constants(view, width)? }))
}

pub(super) fn indicator(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let features = view.attr("features_")?;
    let columns = features.numbers()?.iter().map(|c| column(&features, *c, width)).collect::<Result<_, _>>()?;
    // "auto" is as sparse as the rows are
    let sparse = view.opt("sparse").and_then(|s| s.flag().ok());
    Ok(Step::Other(Arc::new(Indicate { missing: marker(view)?, columns, sparse })))
}

/// A KNNImputer.
pub(super) fn nearest(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let metric = view.attr("metric")?;
    if metric.text() != Ok("nan_euclidean") {
        return Err(metric.fault("is not nan_euclidean"));
    }
    let weights = view.attr("weights")?;
    let by_distance = match weights.text() {
        Ok("uniform") => false,
        Ok("distance") => true,
        _ => return Err(weights.fault("is neither uniform nor distance")),
    };
    let missing = marker(view)?;
    let fit = view.attr("_fit_X")?;
    let (mut rows, [_, columns]) = fit.matrix()?;
    if columns != width || rows.is_empty() {
        return Err(fit.fault(format!("has {columns} columns, expected {width}")));
    }
    if let Some(marker) = missing {
        rows.iter_mut().filter(|x| **x == marker).for_each(|x| *x = f64::NAN);
    }
    let valid = view.attr("_valid_mask")?.vector(width)?;
    let keep_empty = view.opt("keep_empty_features").map(|k| k.flag()).transpose()?.unwrap_or(false);
    let kept: Vec<usize> = (0..width).filter(|c| keep_empty || valid[*c] != 0.0).collect();
    if kept.is_empty() {
        return Err(view.fault("leaves no column"));
    }
    let neighbours = view.attr("n_neighbors")?.count(1 << 24)?;
    let indicator = indicated(view, width)?;
    Ok(Step::Other(Arc::new(ImputeNearest { missing, rows, width, neighbours, by_distance, kept, indicator })))
}

/// The model of a column by as many others.
fn guess(model: &View<'_>, others: usize) -> Result<Guess, Fault> {
    // those of generalised linear models have a link
    let linear = model.class().starts_with("sklearn.linear_model.") && !model.class().contains("._glm.");
    let (weights, intercept) = (model.opt("coef_"), model.opt("intercept_"));
    if let (true, Some(weights), Some(intercept)) = (linear, weights, intercept) {
        return Ok(Guess::Linear { weights: weights.vector(others)?, intercept: intercept.number()? });
    }
    model.estimators()?.regressor(model, others).map(Guess::Other)
}

/// An IterativeImputer.
pub(super) fn iterative(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    if view.attr("sample_posterior")?.flag()? {
        return Err(view.fault("draws random values (sample_posterior)"));
    }
    let initial = view.attr("initial_imputer_")?;
    let keep_empty = view.opt("keep_empty_features").map(|k| k.flag()).transpose()?.unwrap_or(false);
    let mut first = constants(&initial, width)?;
    if !keep_empty && let Some(empty) = view.opt("_is_empty_feature") {
        let empty = empty.vector(width)?;
        first.kept.retain(|(c, _)| empty[*c] == 0.0);
    }
    if first.kept.is_empty() {
        return Err(view.fault("leaves no column"));
    }
    let count = first.kept.len();
    let bound = |name: &str, otherwise: f64| -> Result<Vec<f64>, Fault> {
        let values = view.opt(name).map(|v| v.numbers()).transpose()?.unwrap_or_default();
        Ok(match values.len() {
            0 => vec![otherwise; count],
            1 => vec![values[0]; count],
            _ if values.len() == count => values,
            n => return Err(view.fault(format!("{n} bounds for {count} columns"))),
        })
    };
    let (low, high) = (bound("_min_value", f64::NEG_INFINITY)?, bound("_max_value", f64::INFINITY)?);
    let mut rounds = Vec::new();
    for triplet in view.attr("imputation_sequence_")?.items()? {
        let parts = triplet.items()?;
        let [target, others_view, model] = parts.as_slice() else { return Err(triplet.fault("is not a triplet")) };
        let target = column(target, target.number()?, count)?;
        let others: Vec<usize> =
            others_view.numbers()?.iter().map(|c| column(others_view, *c, count)).collect::<Result<_, _>>()?;
        let guess = guess(model, others.len())?;
        rounds.push(Round { column: target, others, guess, range: (low[target], high[target]) });
    }
    Ok(Step::Other(Arc::new(ImputeIteratively { first, rounds, indicator: indicated(view, width)? })))
}
