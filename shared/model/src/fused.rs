//! Linear layers, their biases and rectifiers in one pass: bias and rectifier cost nothing while the sums are in
//! registers, whereas each tensor operation passes over memory once more. Most of the gain is for small networks.
//!
//! [`Fused::new`] returns `None` on processors without the instructions. Nets keep their tensors, which run all other
//! layers.

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod op;
#[cfg(target_arch = "x86_64")]
mod packed;

#[cfg(not(target_arch = "x86_64"))]
use absent as packed;
use burn::tensor::DType;

pub(crate) use op::fused_layers;

/// The most weights of a sequence of fused layers. Larger matrices do not fit the cache, where a general matrix
/// multiplication blocks better.
pub(crate) const MAX_WEIGHTS: usize = 1 << 17;

/// A linear layer, with or without a rectifier.
#[derive(Debug, Clone)]
pub(crate) struct DenseLayer {
    pub inputs: usize,
    pub outputs: usize,
    /// Row-major `[inputs, outputs]`.
    pub weight: Vec<f64>,
    /// One per output, or empty.
    pub bias: Vec<f64>,
    /// Whether negative outputs become zero.
    pub rectified: bool,
}

/// Layers packed for the kernel.
#[derive(Debug)]
pub(crate) enum Fused {
    Single(packed::PackedLayers<f32>),
    Double(packed::PackedLayers<f64>),
}

impl Fused {
    /// Packs layers whose widths match, to compute in `dtype`. Returns `None` where that gains nothing.
    pub(crate) fn new(dense: &[DenseLayer], dtype: DType) -> Option<Self> {
        let weights = dense.iter().try_fold(0usize, |sum, layer| sum.checked_add(layer.weight.len()))?;
        if dense.is_empty() || weights > MAX_WEIGHTS {
            return None;
        }
        match dtype {
            DType::F32 => packed::PackedLayers::new(dense).map(Self::Single),
            DType::F64 => packed::PackedLayers::new(dense).map(Self::Double),
            _ => None,
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Single(layers) => layers.width(),
            Self::Double(layers) => layers.width(),
        }
    }

    fn outputs(&self) -> usize {
        match self {
            Self::Single(layers) => layers.outputs(),
            Self::Double(layers) => layers.outputs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor, TensorData};

    /// Numbers between -1 and 1 that look like weights.
    pub(super) fn numbers(count: usize, seed: f64) -> Vec<f64> {
        (0..count).map(|i| ((i as f64).mul_add(12.9898, seed).sin() * 43_758.545).fract()).collect()
    }

    pub(super) fn dense(widths: &[usize]) -> Vec<DenseLayer> {
        let pairs = widths.windows(2).enumerate();
        pairs
            .map(|(i, w)| DenseLayer {
                inputs: w[0],
                outputs: w[1],
                weight: numbers(w[0] * w[1], i as f64),
                bias: if i == 1 { Vec::new() } else { numbers(w[1], 0.5 + i as f64) },
                rectified: i + 2 < widths.len(),
            })
            .collect()
    }

    fn plain(dense: &[DenseLayer], row: &[f64]) -> Vec<f64> {
        dense.iter().fold(row.to_vec(), |x, s| {
            let sum = |o: usize| x.iter().enumerate().map(|(i, v)| v * s.weight[i * s.outputs + o]).sum::<f64>();
            let out = (0..s.outputs).map(|o| sum(o) + s.bias.get(o).copied().unwrap_or(0.0));
            out.map(|v| if s.rectified { v.max(0.0) } else { v }).collect()
        })
    }

    #[test]
    fn layers_equal_plain_sums_for_every_batch_size() {
        for widths in [&[10, 64, 64, 1][..], &[3, 5, 2], &[1, 1], &[7, 33, 17, 4], &[20, 16, 40]] {
            let dense = dense(widths);
            for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-12)] {
                // a processor without the instructions has nothing to test
                let Some(fused) = Fused::new(&dense, dtype) else { continue };
                let fused = std::sync::Arc::new(fused);
                let rows = numbers(101 * widths[0], 9.0);
                let answer = |rows: &[f64]| -> Vec<f64> {
                    let shape = [rows.len() / widths[0], widths[0]];
                    let x =
                        Tensor::<2>::from_data(TensorData::new(rows.to_vec(), shape), (&Device::flex(), DType::F64));
                    fused_layers(x.cast(dtype), fused.clone()).cast(DType::F64).into_data().try_into_vec().unwrap()
                };
                let all = answer(&rows);
                for (row, got) in rows.chunks(widths[0]).zip(all.chunks(widths[widths.len() - 1])) {
                    for (got, expected) in got.iter().zip(plain(&dense, row)) {
                        assert!((got - expected).abs() <= tolerance * (1.0 + expected.abs()), "{got} {expected}");
                    }
                    assert_eq!(answer(row), got, "a row is answered alike in every batch, to the bit");
                }
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        let dense = dense(&[2, 8, 1]);
        let Some(Fused::Double(layers)) = Fused::new(&dense, DType::F64) else { return };
        let mut out = [0.0; 2];
        layers.run(&[f64::NAN, 1.0, 0.5, 1.0], &mut out);
        assert!(out[0].is_nan() && out[1].is_finite());
    }

    #[test]
    fn large_layers_are_left_to_the_tensors() {
        assert!(Fused::new(&dense(&[400, 400]), DType::F32).is_none());
        assert!(Fused::new(&[], DType::F32).is_none());
        assert!(Fused::new(&dense(&[4, 4]), DType::F16).is_none());
    }
}
