//! The baseline beside the net: ridge regression, and for classes logistic regression with the same penalty.

use forebay_model::Dense;

use crate::network::{Network, softmax};
use crate::samples::Samples;

/// Penalty on the squared weights, in units of rows as scikit-learn's `Ridge(alpha)` and
/// `LogisticRegression(C=1/alpha)` have it. Columns are standardised, so one value suits all.
pub(crate) const ALPHA: f64 = 1.0;
/// Steps of the logistic fit.
const MAX_STEPS: usize = 2000;
/// The logistic fit stops when no slope is steeper, per row.
const FLAT: f64 = 1e-7;

/// Fits the baseline: closed form for numbers, accelerated gradient descent (Nesterov) for classes.
///
/// # Errors
/// Columns so alike that the normal equations have no solution in f64.
pub(crate) fn fit(samples: &Samples, numbers: bool) -> Result<Network, String> {
    let dense = if numbers { ridge(samples)? } else { logistic(samples) };
    Ok(Network { layers: vec![dense] })
}

/// `(X'X + alpha I) w = X'y` by Cholesky; inputs and target are centred, the intercept is zero.
fn ridge(samples: &Samples) -> Result<Dense, String> {
    let width = samples.width;
    let mut gram = vec![0.0; width * width];
    let mut weight = vec![0.0; width];
    for i in 0..samples.len() {
        let (x, y) = (samples.input(i), samples.output(i)[0]);
        for (a, xa) in x.iter().enumerate() {
            weight[a] += xa * y;
            gram[a * width..=a * width + a].iter_mut().zip(x).for_each(|(g, xb)| *g += xa * xb);
        }
    }
    (0..width).for_each(|a| gram[a * width + a] += ALPHA);
    solve(&mut gram, &mut weight)?;
    Ok(Dense { inputs: width, outputs: 1, weight, bias: vec![0.0] })
}

/// Cholesky in place; `gram` holds the lower triangle, `b` becomes the solution.
fn solve(gram: &mut [f64], b: &mut [f64]) -> Result<(), String> {
    let n = b.len();
    for row in 0..n {
        for column in 0..=row {
            let (upper, lower) = (&gram[column * n..column * n + column], &gram[row * n..row * n + column]);
            let dot: f64 = upper.iter().zip(lower).map(|(a, b)| a * b).sum();
            let value = gram[row * n + column] - dot;
            gram[row * n + column] = if row != column {
                value / gram[column * n + column]
            } else if value > 0.0 {
                value.sqrt()
            } else {
                return Err(format!("the columns are not independent (column {row})"));
            };
        }
    }
    for row in 0..n {
        let dot: f64 = (0..row).map(|c| gram[row * n + c] * b[c]).sum();
        b[row] = (b[row] - dot) / gram[row * n + row];
    }
    for row in (0..n).rev() {
        let dot: f64 = (row + 1..n).map(|r| gram[r * n + row] * b[r]).sum();
        b[row] = (b[row] - dot) / gram[row * n + row];
    }
    Ok(())
}

/// Minimises mean cross-entropy plus `alpha / 2n |w|^2`; the intercept is not penalised.
fn logistic(samples: &Samples) -> Dense {
    let (width, classes, rows) = (samples.width, samples.classes, samples.len() as f64);
    // half the largest eigenvalue of X'X / n bounds the curvature; its trace bounds the eigenvalue, the 1 is the
    // intercept's
    let norms: f64 = samples.inputs.iter().map(|x| x * x).sum::<f64>() / rows;
    let largest = largest_eigenvalue(samples).min(norms) + 1.0;
    let step = 1.0 / (0.5 * largest + ALPHA / rows);
    let size = (width + 1) * classes;
    let (mut at, mut before) = (vec![0.0; size], vec![0.0; size]);
    for t in 0..MAX_STEPS {
        let momentum = t as f64 / (t as f64 + 3.0);
        let ahead: Vec<f64> = at.iter().zip(&before).map(|(a, b)| a + momentum * (a - b)).collect();
        let slope = slope(samples, &ahead);
        let next = ahead.iter().zip(&slope).map(|(w, s)| w - step * s).collect();
        before = std::mem::replace(&mut at, next);
        if slope.iter().all(|s| s.abs() < FLAT) {
            break;
        }
    }
    let bias = at.split_off(width * classes);
    Dense { inputs: width, outputs: classes, weight: at, bias }
}

/// Gradient at `w`: `[width x classes]` weights, then one intercept per class.
fn slope(samples: &Samples, w: &[f64]) -> Vec<f64> {
    let (width, classes, rows) = (samples.width, samples.classes, samples.len() as f64);
    let mut slope: Vec<f64> = w.iter().map(|w| w * ALPHA / rows).collect();
    slope[width * classes..].fill(0.0);
    let mut p = vec![0.0; classes];
    for i in 0..samples.len() {
        p.copy_from_slice(&w[width * classes..]);
        for (x, w) in samples.input(i).iter().zip(w.chunks_exact(classes)) {
            p.iter_mut().zip(w).for_each(|(p, w)| *p += x * w);
        }
        softmax(&mut p);
        p.iter_mut().zip(samples.output(i)).for_each(|(p, y)| *p = (*p - y) / rows);
        for (x, s) in samples.input(i).iter().chain(&[1.0]).zip(slope.chunks_exact_mut(classes)) {
            s.iter_mut().zip(&p).for_each(|(s, p)| *s += x * p);
        }
    }
    slope
}

/// An upper bound on the largest eigenvalue of `X'X / n`, by power iteration with a small margin.
fn largest_eigenvalue(samples: &Samples) -> f64 {
    let mut v = vec![1.0 / (samples.width as f64).sqrt(); samples.width];
    let mut value = 0.0;
    for _ in 0..50 {
        let mut next = vec![0.0; samples.width];
        for i in 0..samples.len() {
            let dot: f64 = samples.input(i).iter().zip(&v).map(|(x, v)| x * v).sum();
            next.iter_mut().zip(samples.input(i)).for_each(|(n, x)| *n += dot * x / samples.len() as f64);
        }
        value = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if value == 0.0 {
            return f64::INFINITY;
        }
        v = next.into_iter().map(|x| x / value).collect();
    }
    value * 1.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ridge_solves_its_normal_equations() {
        let inputs = vec![1.0, 0.5, -1.0, 0.25, 0.0, -0.75];
        let samples = Samples { width: 2, inputs, classes: 1, outputs: vec![1.0, -2.0, 1.0] };
        let w = fit(&samples, true).unwrap().layers.remove(0).weight;
        // gram [[2, .25], [.25, .875]] + I, X'y = [3, -.75]
        let (a, b) = (3.0 * w[0] + 0.25 * w[1], 0.25 * w[0] + 1.875 * w[1]);
        assert!((a - 3.0).abs() < 1e-12 && (b + 0.75).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn logistic_regression_ends_where_the_slope_is_flat() {
        let inputs: Vec<f64> = (0..40).map(|i| f64::from(i % 10) / 3.0 - 1.5).collect();
        let outputs = inputs.iter().enumerate().flat_map(|(i, x)| {
            let second = (*x > 0.0) != (i % 7 == 0);
            [f64::from(u8::from(!second)), f64::from(u8::from(second))]
        });
        let samples = Samples { width: 1, outputs: outputs.collect(), inputs, classes: 2 };
        let dense = fit(&samples, false).unwrap().layers.remove(0);
        let w = [dense.weight.clone(), dense.bias].concat();
        assert!(slope(&samples, &w).iter().all(|s| s.abs() < 1e-5));
        assert!(dense.weight[1] > 0.1);
    }
}
