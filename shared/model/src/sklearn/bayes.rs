//! Naive Bayes, discriminant analysis and mixtures: densities of classes.

use std::f64::consts::TAU;
use std::sync::Arc;

use forebay_artefact::special::digamma;

use super::{Estimator, class_indices, forest, matrix};
use crate::artefact::View;
use crate::head::Head;
use crate::learner::{CategoryTables, Densities, Density, Learner, Linear};
use crate::output_transform::{Link, OutputTransform};
use crate::{Fault, step};

/// Classes whose raw outputs are log-likelihoods.
fn softmax(view: &View<'_>, learner: Arc<dyn Learner>) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let transform = OutputTransform::Classes { labels, link: Link::Softmax };
    Ok(Estimator { head: Head::Learner(learner), transform, takes_missing: false })
}

/// GaussianNB.
pub(super) fn gaussian(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let priors = view.attr("class_prior_")?.finite()?;
    let n = priors.len();
    let means = matrix(&view.attr("theta_")?, n, width)?;
    // the attribute was renamed in 1.0
    let variances = view.opt("var_").map_or_else(|| view.attr("sigma_"), Ok)?;
    let variances = matrix(&variances, n, width)?;
    let classes = means.chunks_exact(width).zip(variances.chunks_exact(width)).zip(&priors);
    let classes = classes
        .map(|((mean, variance), prior)| Density {
            mean: mean.to_vec(),
            axes: Arc::default(),
            precision: variance.iter().map(|v| 1.0 / v).collect(),
            constant: prior.ln() - 0.5 * variance.iter().map(|v| (TAU * v).ln()).sum::<f64>(),
        })
        .collect();
    softmax(view, Arc::new(Densities { label: "GaussianBayes", width, classes, mixture: false }))
}

/// MultinomialNB, ComplementNB and BernoulliNB, which are linear in the (binarised) values.
pub(super) fn discrete(view: &View<'_>, name: &str, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let n = labels.len();
    let mut weights = matrix(&view.attr("feature_log_prob_")?, n, width)?;
    let mut bias = view.attr("class_log_prior_")?.vector(n)?;
    let mut threshold = None;
    match name {
        "ComplementNB" if n > 1 => bias.fill(0.0),
        "BernoulliNB" => {
            threshold = view.opt("binarize").map(|b| b.number()).transpose()?;
            for (line, bias) in weights.chunks_exact_mut(width).zip(&mut bias) {
                for weight in line {
                    let absent = (1.0 - weight.exp()).ln();
                    *weight -= absent;
                    *bias += absent;
                }
            }
        }
        _ => {}
    }
    let linear = Linear::new(width, &weights, bias).map_err(|e| view.fault(e))?.binarised(threshold);
    softmax(view, Arc::new(linear))
}

/// CategoricalNB.
pub(super) fn categorical(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let priors = view.attr("class_log_prior_")?.finite()?;
    let lists = view.attr("feature_log_prob_")?.items()?;
    if lists.len() != width {
        return Err(view.fault(format!("has tables of {} columns, expected {width}", lists.len())));
    }
    let table = |list: &View<'_>| {
        let (values, [classes, _]) = list.matrix()?;
        if classes == priors.len() && !values.is_empty() { Ok(values) } else { Err(list.fault("has another shape")) }
    };
    let tables = lists.iter().map(table).collect::<Result<_, _>>()?;
    softmax(view, Arc::new(CategoryTables { tables, priors }))
}

/// LinearDiscriminantAnalysis.
pub(super) fn linear_discriminants(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let two = labels.len() == 2;
    let bias = view.attr("intercept_")?.finite()?;
    let weights = view.attr("coef_")?.finite()?;
    let linear = Linear::new(width, &weights, bias).map_err(|e| view.fault(e))?;
    let link = if two { Link::Logit { zero_wins: false } } else { Link::Softmax };
    let transform = OutputTransform::Classes { labels, link };
    Ok(Estimator { head: Head::Learner(Arc::new(linear)), transform, takes_missing: false })
}

/// QuadraticDiscriminantAnalysis.
pub(super) fn quadratic_discriminants(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let priors = view.attr("priors_")?.finite()?;
    let means = matrix(&view.attr("means_")?, priors.len(), width)?;
    let (rotations, scalings) = (view.attr("rotations_")?.items()?, view.attr("scalings_")?.items()?);
    if rotations.len() != priors.len() || scalings.len() != priors.len() {
        return Err(view.fault(format!("{} rotations for {} classes", rotations.len(), priors.len())));
    }
    let mut classes = Vec::with_capacity(priors.len());
    for (i, mean) in means.chunks_exact(width).enumerate() {
        let scaling = scalings[i].finite()?;
        let axes = matrix(&rotations[i], width, scaling.len())?;
        let constant = priors[i].ln() - 0.5 * scaling.iter().map(|s| s.ln()).sum::<f64>();
        let precision = scaling.iter().map(|s| 1.0 / s).collect();
        classes.push(Density { mean: mean.to_vec(), axes: axes.into(), precision, constant });
    }
    softmax(view, Arc::new(Densities { label: "QuadraticDiscriminants", width, classes, mixture: false }))
}

/// GaussianMixture and BayesianGaussianMixture.
pub(super) fn mixture(view: &View<'_>, width: usize, bayesian: bool) -> Result<Estimator, Fault> {
    let weights = view.attr("weights_")?.finite()?;
    let n = weights.len();
    let logs = if bayesian { expected_logs(view, n, width)? } else { weights.iter().map(|w| w.ln()).collect() };
    let means = matrix(&view.attr("means_")?, n, width)?;
    let factors_view = view.attr("precisions_cholesky_")?;
    let factors = factors_view.finite()?;
    let kind = view.attr("covariance_type")?;
    let square = width * width;
    let expected = match kind.word()? {
        "full" => n.checked_mul(square),
        "tied" => Some(square),
        "diag" => Some(n * width),
        "spherical" => Some(n),
        other => return Err(kind.fault(format!("{other:?} is not supported"))),
    };
    if expected != Some(factors.len()) || n == 0 {
        return Err(factors_view.fault(format!("has {} values", factors.len())));
    }
    // what is not in the file as many times: the precisions, and the factors once more
    view.allocate((n * width).saturating_add(factors.len()).saturating_mul(size_of::<f64>()))?;
    let tied: Arc<[f64]> = if kind.text() == Ok("tied") { factors.as_slice().into() } else { Arc::default() };
    let mut classes = Vec::with_capacity(n);
    for (i, mean) in means.chunks_exact(width).enumerate() {
        let (axes, precision): (Arc<[f64]>, _) = match kind.word()? {
            "full" => (factors[i * square..(i + 1) * square].into(), vec![1.0; width]),
            "tied" => (Arc::clone(&tied), vec![1.0; width]),
            "diag" => (Arc::default(), factors[i * width..(i + 1) * width].iter().map(|f| f * f).collect()),
            _ => (Arc::default(), vec![factors[i] * factors[i]; width]),
        };
        let log_det: f64 = match axes.is_empty() {
            true => precision.iter().map(|p: &f64| 0.5 * p.ln()).sum(),
            false => (0..width).map(|c| axes[c * width + c].ln()).sum(),
        };
        let constant = logs[i] + log_det - 0.5 * width as f64 * TAU.ln();
        classes.push(Density { mean: mean.to_vec(), axes, precision, constant });
    }
    let learner = Arc::new(Densities { label: "GaussianMixture", width, classes, mixture: true });
    let transform = OutputTransform::Classes { labels: class_indices(n), link: Link::Softmax };
    Ok(Estimator { head: Head::Learner(learner), transform, takes_missing: false })
}

/// For each component of a Bayesian mixture the expected logarithm of its weight and what the uncertainty of its precision
/// adds to its density.
fn expected_logs(view: &View<'_>, n: usize, width: usize) -> Result<Vec<f64>, Fault> {
    let concentration = view.attr("weight_concentration_")?;
    let weights: Vec<f64> = match view.attr("weight_concentration_prior_type")?.word()? {
        "dirichlet_process" => {
            let pair = concentration.items()?;
            let [a, b] = pair.as_slice() else { return Err(concentration.fault("is not a pair")) };
            let (a, b) = (a.vector(n)?, b.vector(n)?);
            // sticks: what the components before leave
            let mut left = 0.0;
            let stick = |(a, b): (&f64, &f64)| {
                let whole = digamma(a + b);
                let log = digamma(*a) - whole + left;
                left += digamma(*b) - whole;
                log
            };
            a.iter().zip(&b).map(stick).collect()
        }
        "dirichlet_distribution" => {
            let all = concentration.vector(n)?;
            let whole = digamma(all.iter().sum());
            all.iter().map(|one| digamma(*one) - whole).collect()
        }
        other => return Err(concentration.fault(format!("{other:?} is not supported"))),
    };
    let freedom_view = view.attr("degrees_of_freedom_")?;
    let freedom = freedom_view.finite()?;
    if freedom.len() != n && freedom.len() != 1 {
        return Err(freedom_view.fault(format!("has {} values for {n} components", freedom.len())));
    }
    let precisions = view.attr("mean_precision_")?.vector(n)?;
    let columns = width as f64;
    let log = |i: usize| {
        let freedom = freedom[if freedom.len() == 1 { 0 } else { i }];
        let lambda: f64 = (0..width).map(|column| digamma(0.5 * (freedom - column as f64))).sum();
        let lambda = columns * std::f64::consts::LN_2 + lambda;
        weights[i] - 0.5 * columns * freedom.ln() + 0.5 * (lambda - columns / precisions[i])
    };
    let logs: Vec<f64> = (0..n).map(log).collect();
    match logs.iter().all(|log| log.is_finite()) {
        true => Ok(logs),
        false => Err(freedom_view.fault("gives components no finite density")),
    }
}

/// A kernel ridge regression.
pub(super) fn kernel_ridge(view: &View<'_>, width: usize, steps: &mut Vec<step::Step>) -> Result<Estimator, Fault> {
    let (rows, [count, columns]) = view.attr("X_fit_")?.matrix()?;
    if columns != width || count == 0 {
        return Err(view.fault(format!("was fitted on {columns} columns, expected {width}")));
    }
    let kernel = forebay_artefact::sklearn::kernel::read(view, width, None)?;
    let dual_view = view.attr("dual_coef_")?;
    let dual = dual_view.finite()?;
    let outputs = dual.len() / count;
    if outputs == 0 || outputs * count != dual.len() {
        return Err(dual_view.fault(format!("has {} values for {count} rows", dual.len())));
    }
    let coefficients: Vec<f64> = (0..dual.len()).map(|i| dual[(i % count) * outputs + i / count]).collect();
    let similar = step::Similarities { label: "Similarities", kernel, width, rows, centring: None, then: None };
    steps.push(step::Step::Other(Arc::new(similar)));
    let linear = Linear::new(count, &coefficients, vec![0.0; outputs]).map_err(|e| view.fault(e))?;
    Ok(Estimator { head: Head::Learner(Arc::new(linear)), transform: super::numbers(outputs), takes_missing: false })
}
