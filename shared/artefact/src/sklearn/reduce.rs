//! Reads decompositions, projections and feature maps.

use std::sync::Arc;

use super::kernel;
use crate::Fault;
use crate::python::View;
use crate::step::{Centring, Kernel, OutputCurve, Projection, Similarities, Step};

/// The names that [`reduce`] reads.
pub(super) const CLASSES: &[&str] = &[
    "PCA",
    "IncrementalPCA",
    "TruncatedSVD",
    "FastICA",
    "FactorAnalysis",
    "GaussianRandomProjection",
    "SparseRandomProjection",
    "PLSRegression",
    "PLSCanonical",
    "CCA",
    "PLSSVD",
    "LinearDiscriminantAnalysis",
    "NeighborhoodComponentsAnalysis",
    "RBFSampler",
    "Nystroem",
    "KernelPCA",
    "KMeans",
    "MiniBatchKMeans",
    "BisectingKMeans",
    "Birch",
    "SparsePCA",
    "MiniBatchSparsePCA",
    "BernoulliRBM",
];

/// The step of a class in [`CLASSES`].
pub(super) fn reduce(view: &View<'_>, name: &str, width: usize) -> Result<Step, Fault> {
    Ok(Step::Other(match name {
        "Nystroem" | "KernelPCA" => Arc::new(similarities(view, name, width)?),
        "KMeans" | "MiniBatchKMeans" | "BisectingKMeans" => Arc::new(Similarities {
            label: "ClusterDistances",
            kernel: Kernel::Distance,
            width,
            rows: matrix(&view.attr("cluster_centers_")?, None, Some(width))?,
            centring: None,
            then: None,
        }),
        "Birch" => Arc::new(Similarities {
            label: "ClusterDistances",
            kernel: Kernel::Distance,
            width,
            rows: matrix(&view.attr("subcluster_centers_")?, None, Some(width))?,
            centring: None,
            then: None,
        }),
        _ => Arc::new(projection(view, name, width)?),
    }))
}

/// The values of a dense matrix with this many rows and columns.
pub(super) fn matrix(view: &View<'_>, rows: Option<usize>, columns: Option<usize>) -> Result<Vec<f64>, Fault> {
    let (values, [r, c]) = view.matrix()?;
    if r == 0 || c == 0 || rows.is_some_and(|n| n != r) || columns.is_some_and(|n| n != c) {
        return Err(view.fault(format!("has shape [{r}, {c}]")));
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(view.fault(format!("value {i} is {}, not finite", values[i]))),
        None => Ok(values),
    }
}

/// A projection by a matrix that is `width` high.
fn by_weight(label: &'static str, view: &View<'_>, width: usize) -> Result<Projection, Fault> {
    let weight = matrix(view, Some(width), None)?;
    let outputs = weight.len() / width;
    let empty = Projection::by_components(label, 0, &[]);
    Ok(Projection { outputs, weight, ..empty })
}

fn projection(view: &View<'_>, name: &str, width: usize) -> Result<Projection, Fault> {
    let components =
        |label| Ok(Projection::by_components(label, width, &matrix(&view.attr("components_")?, None, Some(width))?));
    match name {
        "PCA" | "IncrementalPCA" => {
            let mut p: Projection = components("PCA")?;
            p.center = Some(view.attr("mean_")?.vector(width)?);
            if view.attr("whiten")?.flag()? {
                let variance = view.attr("explained_variance_")?.vector(p.outputs)?;
                p.factor = Some(variance.iter().map(|v| 1.0 / v.sqrt().max(f64::EPSILON)).collect());
            }
            Ok(p)
        }
        "FastICA" => {
            let mut p: Projection = components("FastICA")?;
            p.center = view.opt("mean_").map(|m| m.vector(width)).transpose()?;
            Ok(p)
        }
        "FactorAnalysis" => factors(view, width),
        "SparsePCA" | "MiniBatchSparsePCA" => sparse_components(view, width),
        "BernoulliRBM" => {
            let mut p: Projection = components("BernoulliRBM")?;
            p.bias = Some(view.attr("intercept_hidden_")?.vector(p.outputs)?);
            p.curve = OutputCurve::Logistic;
            Ok(p)
        }
        "TruncatedSVD" => components("TruncatedSVD"),
        "GaussianRandomProjection" => components("RandomProjection"),
        "SparseRandomProjection" => {
            let dense = view.opt("dense_output").map_or(Ok(false), |d| d.flag())?;
            Ok(Projection { keeps_sparse: !dense, ..components("RandomProjection")? })
        }
        "NeighborhoodComponentsAnalysis" => components("NeighborhoodComponents"),
        "PLSRegression" | "PLSCanonical" | "CCA" | "PLSSVD" => {
            let rotations = if name == "PLSSVD" { "x_weights_" } else { "x_rotations_" };
            let mut p = by_weight("PLS", &view.attr(rotations)?, width)?;
            p.center = Some(view.attr("_x_mean")?.vector(width)?);
            p.scale = Some(view.attr("_x_std")?.vector(width)?);
            Ok(p)
        }
        "LinearDiscriminantAnalysis" => discriminants(view, width),
        _ => {
            let mut p = by_weight("RBFSampler", &view.attr("random_weights_")?, width)?;
            p.bias = Some(view.attr("random_offset_")?.vector(p.outputs)?);
            p.curve = OutputCurve::Cosine;
            p.factor = Some(vec![(2.0 / p.outputs as f64).sqrt(); p.outputs]);
            Ok(p)
        }
    }
}

/// Linear discriminants: the scalings, of which the first few are used.
fn discriminants(view: &View<'_>, width: usize) -> Result<Projection, Fault> {
    let mut p = by_weight("LinearDiscriminants", &view.attr("scalings_")?, width)?;
    if view.attr("solver")?.text()? == "svd" {
        p.center = Some(view.attr("xbar_")?.vector(width)?);
    }
    let kept = view.attr("_max_components")?.count(p.outputs.max(width))?.min(p.outputs);
    if kept == 0 {
        return Err(view.fault("keeps no component"));
    }
    p.weight = p.weight.chunks_exact(p.outputs).flat_map(|row| row[..kept].to_vec()).collect();
    p.outputs = kept;
    Ok(p)
}

/// Factor analysis: the expected factors, `(x - mean) Psi^-1 W' (I + W Psi^-1 W')^-1`.
fn factors(view: &View<'_>, width: usize) -> Result<Projection, Fault> {
    let components = matrix(&view.attr("components_")?, None, Some(width))?;
    let noise = view.attr("noise_variance_")?.vector(width)?;
    let n = components.len() / width;
    square_bytes(view, n)?;
    let scaled: Vec<f64> = components.iter().enumerate().map(|(i, w)| w / noise[i % width]).collect();
    let mut covariance = products(&scaled, &components, width);
    covariance.iter_mut().step_by(n + 1).for_each(|square| *square += 1.0);
    let inverse = invert(covariance, n).ok_or_else(|| view.fault("cannot be inverted"))?;
    let mut weight = vec![0.0; width * n];
    for c in 0..width {
        for b in 0..n {
            weight[c * n + b] = (0..n).map(|a| scaled[a * width + c] * inverse[a * n + b]).sum();
        }
    }
    let empty = Projection::by_components("FactorAnalysis", 0, &[]);
    Ok(Projection { outputs: n, weight, center: Some(view.attr("mean_")?.vector(width)?), ..empty })
}

/// Sparse components: the ridge regression of a row on them, `(x - mean) W' (W W' + alpha I)^-1`.
fn sparse_components(view: &View<'_>, width: usize) -> Result<Projection, Fault> {
    let components = matrix(&view.attr("components_")?, None, Some(width))?;
    let alpha = view.attr("ridge_alpha")?.number()?;
    let n = components.len() / width;
    square_bytes(view, n)?;
    let mut gram = products(&components, &components, width);
    gram.iter_mut().step_by(n + 1).for_each(|square| *square += alpha);
    let inverse = invert(gram, n).filter(|inverse| inverse.iter().all(|v| v.is_finite()));
    let inverse = inverse.ok_or_else(|| view.fault("cannot be inverted"))?;
    let entry = |i: usize| (0..n).map(|a| components[a * width + i / n] * inverse[a * n + i % n]).sum();
    let weight = (0..width * n).map(entry).collect();
    let empty = Projection::by_components("SparsePCA", 0, &[]);
    Ok(Projection { outputs: n, weight, center: Some(view.attr("mean_")?.vector(width)?), ..empty })
}

/// The product of each row of `left` with each of `right`: `rows of left x rows of right`, row-major.
pub(super) fn products(left: &[f64], right: &[f64], width: usize) -> Vec<f64> {
    let product = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(x, y)| x * y).sum();
    let pairs = left.chunks_exact(width).flat_map(|a| right.chunks_exact(width).map(move |b| (a, b)));
    pairs.map(product).collect()
}

/// Accounts for square matrices of `n` components, of which there are two at most.
pub(super) fn square_bytes(view: &View<'_>, n: usize) -> Result<(), Fault> {
    /// The most components whose matrix is inverted: the time grows with their third power.
    const MAX_COMPONENTS: usize = 2048;
    if n > MAX_COMPONENTS {
        return Err(view.fault(format!("has {n} components, at most {MAX_COMPONENTS}")));
    }
    view.spend_work(n * n * n)?;
    view.allocate(2 * n * n * size_of::<f64>())
}

/// The inverse of an `n x n` matrix, by elimination with pivots.
fn invert(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    let mut out = vec![0.0; n * n];
    (0..n).for_each(|i| out[i * n + i] = 1.0);
    for c in 0..n {
        let pivot = (c..n).max_by(|x, y| a[x * n + c].abs().total_cmp(&a[y * n + c].abs()))?;
        if a[pivot * n + c] == 0.0 {
            return None;
        }
        for k in 0..n {
            a.swap(c * n + k, pivot * n + k);
            out.swap(c * n + k, pivot * n + k);
        }
        let by = a[c * n + c];
        for k in 0..n {
            a[c * n + k] /= by;
            out[c * n + k] /= by;
        }
        for r in (0..n).filter(|r| *r != c) {
            let by = a[r * n + c];
            for k in 0..n {
                a[r * n + k] -= by * a[c * n + k];
                out[r * n + k] -= by * out[c * n + k];
            }
        }
    }
    Some(out)
}

fn similarities(view: &View<'_>, name: &str, width: usize) -> Result<Similarities, Fault> {
    if name == "Nystroem" {
        let rows = matrix(&view.attr("components_")?, None, Some(width))?;
        let count = rows.len() / width;
        let kernel = kernel::read(view, width, None)?;
        let normalization = matrix(&view.attr("normalization_")?, Some(count), Some(count))?;
        let then = Some(Projection::by_components("Nystroem", count, &normalization));
        return Ok(Similarities { label: "Nystroem", kernel, width, rows, centring: None, then });
    }
    let rows = matrix(&view.attr("X_fit_")?, None, Some(width))?;
    let count = rows.len() / width;
    let gamma = view.opt("gamma_").map(|g| g.number()).transpose()?;
    let kernel = kernel::read(view, width, gamma)?;
    let values = view.attr("eigenvalues_")?.finite()?;
    let vectors = matrix(&view.attr("eigenvectors_")?, Some(count), Some(values.len()))?;
    view.allocate(size_of_val(vectors.as_slice()))?;
    let scale = |v: f64| if v == 0.0 { 0.0 } else { 1.0 / v.sqrt() };
    let weight = vectors.iter().enumerate().map(|(i, v)| v * scale(values[i % values.len()])).collect();
    let empty = Projection::by_components("KernelPCA", 0, &[]);
    let then = Some(Projection { outputs: values.len(), weight, ..empty });
    let centerer = view.attr("_centerer")?;
    let centring =
        Centring { rows: centerer.attr("K_fit_rows_")?.vector(count)?, all: centerer.attr("K_fit_all_")?.number()? };
    Ok(Similarities { label: "KernelPCA", kernel, width, rows, centring: Some(centring), then })
}
