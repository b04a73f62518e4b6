//! Reads feature selections: which columns they keep.

use std::sync::Arc;

use super::importance;
use crate::Fault;
use crate::python::View;
use crate::sklearn::Importances;
use crate::step::{Missing, Select, Step};

/// The names that [`select`] reads.
pub(super) const CLASSES: &[&str] = &[
    "VarianceThreshold",
    "RFE",
    "RFECV",
    "SequentialFeatureSelector",
    "SelectFromModel",
    "SelectKBest",
    "SelectPercentile",
    "SelectFpr",
    "SelectFdr",
    "SelectFwe",
    "GenericUnivariateSelect",
];

/// The selection that a fitted selector of a class in [`CLASSES`] makes, as a step.
pub(super) fn select(view: &View<'_>, name: &str, width: usize) -> Result<Step, Fault> {
    let mask = match name {
        "VarianceThreshold" => {
            let threshold = view.attr("threshold")?.number()?;
            view.attr("variances_")?.numbers()?.iter().map(|v| *v > threshold).collect()
        }
        "RFE" | "RFECV" | "SequentialFeatureSelector" => flags(&view.attr("support_")?)?,
        "SelectFromModel" => from_model(view, width)?,
        "GenericUnivariateSelect" => {
            let mode = view.attr("mode")?;
            univariate(view, mode.text()?, &view.attr("param")?)?
        }
        "SelectKBest" => univariate(view, "k_best", &view.attr("k")?)?,
        "SelectPercentile" => univariate(view, "percentile", &view.attr("percentile")?)?,
        "SelectFpr" => univariate(view, "fpr", &view.attr("alpha")?)?,
        "SelectFdr" => univariate(view, "fdr", &view.attr("alpha")?)?,
        _ => univariate(view, "fwe", &view.attr("alpha")?)?,
    };
    if mask.len() != width {
        return Err(view.fault(format!("selects among {} columns, expected {width}", mask.len())));
    }
    let columns: Vec<usize> = (0..width).filter(|c| mask[*c]).collect();
    if columns.is_empty() {
        return Err(view.fault("keeps no column"));
    }
    // the univariate tests refuse missing values; the others leave them to the next step
    let passes =
        matches!(name, "VarianceThreshold" | "RFE" | "RFECV" | "SequentialFeatureSelector" | "SelectFromModel");
    let missing = if passes { Missing::Pass } else { Missing::Refused };
    Ok(Step::Other(Arc::new(Select { columns, missing })))
}

fn flags(view: &View<'_>) -> Result<Vec<bool>, Fault> {
    Ok(view.numbers()?.iter().map(|v| *v != 0.0).collect())
}

fn univariate(view: &View<'_>, mode: &str, parameter: &View<'_>) -> Result<Vec<bool>, Fault> {
    if mode == "k_best" || mode == "percentile" {
        let scores = view.attr("scores_")?.numbers()?;
        if parameter.text() == Ok("all") {
            return Ok(vec![true; scores.len()]);
        }
        // NaN counts as the lowest score
        let scores: Vec<f64> = scores.iter().map(|s| if s.is_nan() { f64::MIN } else { *s }).collect();
        let limit = parameter.number()?;
        return Ok(if mode == "k_best" { best(&scores, limit as usize) } else { percentile(&scores, limit) });
    }
    let alpha = parameter.number()?;
    let p_values = view.attr("pvalues_")?.numbers()?;
    let n = p_values.len() as f64;
    match mode {
        "fpr" => Ok(p_values.iter().map(|p| *p < alpha).collect()),
        "fwe" => Ok(p_values.iter().map(|p| *p < alpha / n).collect()),
        "fdr" => {
            let mut sorted = p_values.clone();
            sorted.sort_by(f64::total_cmp);
            let passed =
                sorted.iter().enumerate().filter(|(i, p)| **p <= alpha / n * (*i as f64 + 1.0)).map(|(_, p)| *p);
            let highest = passed.fold(f64::NEG_INFINITY, f64::max);
            Ok(p_values.iter().map(|p| *p <= highest).collect())
        }
        other => Err(view.fault(format!("mode {other:?} is not supported"))),
    }
}

/// The `k` highest scores; of equal ones, the last.
fn best(scores: &[f64], k: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut mask = vec![false; scores.len()];
    order[scores.len().saturating_sub(k)..].iter().for_each(|i| mask[*i] = true);
    mask
}

fn percentile(scores: &[f64], share: f64) -> Vec<bool> {
    if share >= 100.0 {
        return vec![true; scores.len()];
    }
    if share <= 0.0 || scores.is_empty() {
        return vec![false; scores.len()];
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let threshold = quantile(&sorted, (100.0 - share) / 100.0);
    let mut mask: Vec<bool> = scores.iter().map(|s| *s > threshold).collect();
    let wanted = (scores.len() as f64 * share / 100.0) as usize;
    let mut left = wanted.saturating_sub(mask.iter().filter(|m| **m).count());
    for (keep, score) in mask.iter_mut().zip(scores) {
        if *score == threshold && left > 0 {
            *keep = true;
            left -= 1;
        }
    }
    mask
}

/// NumPy's linear quantile of sorted values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, share) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    let (a, b) = (sorted[low], sorted[high]);
    if share >= 0.5 { b - (b - a) * (1.0 - share) } else { a + (b - a) * share }
}

/// SelectFromModel: the columns whose importance in a fitted estimator reaches a threshold.
fn from_model(view: &View<'_>, width: usize) -> Result<Vec<bool>, Fault> {
    let estimator = view.opt("estimator_").map_or_else(|| view.attr("estimator"), Ok)?;
    let order = view.opt("norm_order").map(|o| o.number()).transpose()?.unwrap_or(1.0);
    let getter = view.opt("importance_getter");
    let getter = getter.as_ref().map(|g| g.text()).transpose()?.unwrap_or("auto");
    let importances = importance::of(&estimator, getter, order, width)?;
    let threshold = threshold(view, &estimator, &importances)?;
    let scores = importances.values;
    let mut mask = vec![true; scores.len()];
    if view.opt("max_features").is_some() {
        let limit = view.opt("max_features_").or_else(|| view.opt("max_features"));
        let limit = limit.ok_or_else(|| view.fault("has no max_features_"))?.count(width)?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order[limit.min(order.len())..].iter().for_each(|i| mask[*i] = false);
    }
    mask.iter_mut().zip(&scores).filter(|(_, s)| **s < threshold).for_each(|(m, _)| *m = false);
    Ok(mask)
}

fn threshold(view: &View<'_>, estimator: &View<'_>, importances: &Importances) -> Result<f64, Fault> {
    let scores = &importances.values;
    // what is compared with values in single precision, or is the mean of them, is rounded to it
    let round = |threshold: f64| if importances.single { f64::from(threshold as f32) } else { threshold };
    let given = view.opt("threshold");
    let text = match &given {
        Some(given) => match given.text() {
            Ok(text) => text,
            Err(_) => return given.number().map(round),
        },
        None if is_sparse_fit(estimator) => return Ok(round(1e-5)),
        None => "mean",
    };
    let (scale, reference) = match text.split_once('*') {
        Some((scale, reference)) => {
            let scale = scale.trim().parse::<f64>();
            (scale.map_err(|_| view.fault(format!("threshold {text:?} is not supported")))?, reference.trim())
        }
        None => (1.0, text),
    };
    let mut sorted = scores.clone();
    sorted.sort_by(f64::total_cmp);
    match reference {
        "mean" => Ok(round(scale * round(scores.iter().sum::<f64>() / scores.len() as f64))),
        "median" if !sorted.is_empty() => {
            let middle = sorted.len() / 2;
            let odd = sorted.len() % 2 == 1;
            Ok(round(scale * round(if odd { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 })))
        }
        _ => Err(view.fault(format!("threshold {text:?} is not supported"))),
    }
}

/// Whether an estimator was fitted with an L1 penalty, which makes most coefficients zero.
fn is_sparse_fit(estimator: &View<'_>) -> bool {
    let name = estimator.class().rsplit('.').next().unwrap_or("");
    let one = |attribute: &str| {
        let ratios = estimator.opt(attribute).and_then(|r| r.numbers().ok());
        ratios.is_some_and(|r| r.iter().all(|r| (r - 1.0).abs() <= 1e-5))
    };
    estimator.opt("penalty").is_some_and(|p| p.text() == Ok("l1"))
        || name.contains("Lasso")
        || (matches!(name, "ElasticNet" | "LogisticRegression") && one("l1_ratio"))
        || (matches!(name, "ElasticNetCV" | "LogisticRegressionCV") && one("l1_ratio_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_kept_as_scikit_learn_keeps_them() {
        assert_eq!(best(&[1.0, 2.0, 2.0, 2.0], 2), [false, false, true, true]);
        assert_eq!(percentile(&[1.0, 2.0, 2.0, 2.0], 50.0), [false, true, true, false]);
        assert_eq!(percentile(&[4.0, 3.0, 1.0, 2.0], 25.0), [true, false, false, false]);
    }
}
