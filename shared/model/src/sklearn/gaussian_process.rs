//! GaussianProcessRegressor and GaussianProcessClassifier.

use std::sync::Arc;

use super::{Estimator, forest, matrix};
use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::learner::{Covariance, GaussianProcess, LaplaceClassifier, Smoothness};
use crate::output_transform::{Link, OutputTransform};

/// How deep kernels may be nested.
const MAX_DEPTH: usize = 32;

/// The rows that a process was fitted on, and their number.
fn training_rows(view: &View<'_>, width: usize) -> Result<(Vec<f64>, usize), Fault> {
    let (rows, [count, columns]) = view.attr("X_train_")?.matrix()?;
    if columns != width || count == 0 || rows.iter().any(|v| !v.is_finite()) {
        return Err(view.fault(format!("was fitted on {columns} columns, expected {width}")));
    }
    Ok((rows, count))
}

/// The covariance that a process was fitted with.
fn fitted_covariance(view: &View<'_>, width: usize, rows: usize) -> Result<Covariance, Fault> {
    let kernel = view.attr("kernel_")?;
    let covariance = covariance(&kernel, 0, rows.saturating_mul(width))?;
    if !covariance.fits(width) {
        return Err(kernel.fault(format!("has length scales for another width than {width}")));
    }
    Ok(covariance)
}

/// A classifier of two classes.
pub(super) fn laplace(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let (rows, count) = training_rows(view, width)?;
    let labels = forest::labels(view)?;
    let classes = view.attr("y_train_")?.vector(count)?;
    if labels.len() != 2 || classes.iter().any(|y| *y != 0.0 && *y != 1.0) {
        return Err(view.fault(format!("has {} classes, expected 2", labels.len())));
    }
    let residuals = classes.iter().zip(view.attr("pi_")?.vector(count)?).map(|(y, p)| y - p).collect();
    let roots = view.attr("W_sr_")?.vector(count)?;
    let lower = view.attr("L_")?;
    let whole = matrix(&lower, count, count)?;
    view.allocate(whole.len() * size_of::<f64>())?;
    let triangle: Vec<f64> = whole.chunks_exact(count).enumerate().flat_map(|(i, line)| &line[..=i]).copied().collect();
    if (0..count).any(|i| whole[i * count + i] == 0.0) {
        return Err(lower.fault("has a zero on its diagonal"));
    }
    let covariance = fitted_covariance(view, width, count)?;
    let process = LaplaceClassifier { covariance, width, rows, residuals, roots, triangle };
    let transform = OutputTransform::Classes { labels, link: Link::Chosen };
    Ok(Estimator { head: Head::Learner(Arc::new(process)), transform, takes_missing: false })
}

/// A fitted regressor.
pub(super) fn regressor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let (rows, count) = training_rows(view, width)?;
    let weights_view = view.attr("alpha_")?;
    let weights = weights_view.finite()?;
    let outputs = weights.len() / count;
    if outputs == 0 || outputs * count != weights.len() {
        return Err(weights_view.fault(format!("has {} values for {count} rows", weights.len())));
    }
    let (means, deviations) = (view.attr("_y_train_mean")?.finite()?, view.attr("_y_train_std")?.finite()?);
    let of_output = |values: &[f64], i: usize| values.get(if values.len() == 1 { 0 } else { i }).copied();
    let target = |i: usize| of_output(&means, i).zip(of_output(&deviations, i));
    let targets: Option<Vec<(f64, f64)>> = (0..outputs).map(target).collect();
    let targets = targets.ok_or_else(|| view.fault(format!("has the means of {} targets", means.len())))?;
    let covariance = fitted_covariance(view, width, count)?;
    let process = GaussianProcess { covariance, width, rows, weights, targets };
    Ok(Estimator { head: Head::Learner(Arc::new(process)), transform: super::numbers(outputs), takes_missing: false })
}

/// Reads a kernel, of which each part goes through `values` values of the training rows for a row.
fn covariance(view: &View<'_>, depth: usize, values: usize) -> Result<Covariance, Fault> {
    if depth > MAX_DEPTH {
        return Err(view.fault("is nested too deep"));
    }
    view.spend_plan()?;
    // a part takes about as long as sixteen products
    view.spend_work(values.saturating_mul(16))?;
    let number = |name: &str| view.attr(name)?.number();
    let inner = |name: &str| Ok::<_, Fault>(Box::new(covariance(&view.attr(name)?, depth + 1, values)?));
    let name = view.class().strip_prefix("sklearn.gaussian_process.kernels.").unwrap_or("");
    Ok(match name {
        "ConstantKernel" => Covariance::Constant(number("constant_value")?),
        "WhiteKernel" => Covariance::White(number("noise_level")?),
        "RBF" => Covariance::Rbf(view.attr("length_scale")?.finite()?),
        "Matern" => {
            let lengths = view.attr("length_scale")?.finite()?;
            let nu = number("nu")?;
            match [0.5, 1.5, 2.5].iter().position(|known| *known == nu) {
                Some(0) => Covariance::Matern { lengths, nu: Smoothness::Half },
                Some(1) => Covariance::Matern { lengths, nu: Smoothness::ThreeHalves },
                Some(_) => Covariance::Matern { lengths, nu: Smoothness::FiveHalves },
                None if nu == f64::INFINITY => Covariance::Rbf(lengths),
                None => return Err(view.fault(format!("Matern with nu {nu} is not supported"))),
            }
        }
        "RationalQuadratic" => {
            Covariance::RationalQuadratic { length: number("length_scale")?, alpha: number("alpha")? }
        }
        "ExpSineSquared" => {
            Covariance::ExpSineSquared { length: number("length_scale")?, period: number("periodicity")? }
        }
        "DotProduct" => Covariance::DotProduct(number("sigma_0")?),
        "Sum" => Covariance::Sum(inner("k1")?, inner("k2")?),
        "Product" => Covariance::Product(inner("k1")?, inner("k2")?),
        "Exponentiation" => Covariance::Power(inner("kernel")?, number("exponent")?),
        _ => return Err(view.fault(format!("{} is not supported as a kernel", view.kind()))),
    })
}
