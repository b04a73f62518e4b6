//! Layers packed for the kernel, and the loops over them.
//!
//! Outputs are grouped in panels of two vectors; the weights of a panel are ordered by input. A tile of six rows, or of
//! twelve where there are enough registers, keeps its sums in registers while it iterates over the inputs. Rows pass
//! through all layers in blocks, so that the output of one layer is still in the L1 cache when the next one reads it.
//! The sums of a row are formed in the same order in every tile and with vectors of every width.

use std::fmt::Debug;

use pulp::NullaryFnOnce;
use pulp::x86::{V3, V4};

use super::DenseLayer;
use super::kernel::{Real, Vectors};

/// The number of rows in a tile.
const TILE: usize = 6;
/// The number of rows in a tall tile.
const TALL: usize = 2 * TILE;
/// The number of rows that pass through all layers together.
const BLOCK: usize = 4 * TALL;
/// Layers with at most this many outputs are computed output by output: a panel would be mostly empty.
const FEW: usize = 3;

/// A sequence of layers, packed for the widest vectors of this processor.
#[derive(Debug)]
pub(crate) struct PackedLayers<T>(Box<dyn RunLayers<T>>);

trait RunLayers<T>: Debug + Send + Sync {
    fn width(&self) -> usize;
    fn outputs(&self) -> usize;
    fn run(&self, rows: &[T], out: &mut [T]);
}

impl<T: Real> PackedLayers<T> {
    /// Packs the layers, if this processor has the instructions that the kernel needs.
    pub(super) fn new(dense: &[DenseLayer]) -> Option<Self>
    where
        V3: Vectors<T>,
        V4: Vectors<T>,
    {
        Self::packed::<V4>(dense).or_else(|| Self::packed::<V3>(dense))
    }

    fn packed<V: Vectors<T>>(dense: &[DenseLayer]) -> Option<Self> {
        Some(Self(Box::new(VectorLayers::<T, V>::new(dense)?)))
    }

    pub(super) fn width(&self) -> usize {
        self.0.width()
    }

    pub(super) fn outputs(&self) -> usize {
        self.0.outputs()
    }

    /// Computes `outputs()` values for each of `rows`, row-major, into `out`.
    pub(super) fn run(&self, rows: &[T], out: &mut [T]) {
        self.0.run(rows, out);
    }
}

#[derive(Debug)]
struct VectorLayers<T: Real, V: Vectors<T>> {
    token: V,
    layers: Vec<PackedLayer<T, V>>,
    width: usize,
    outputs: usize,
    /// The length of the longest padded row between layers.
    widest: usize,
}

#[derive(Debug)]
struct PackedLayer<T: Real, V: Vectors<T>> {
    inputs: usize,
    /// The lengths of a padded row of inputs and of outputs.
    strides: (usize, usize),
    rectified: bool,
    bias: Vec<[V::Vector; 2]>,
    weights: Weights<T, V>,
}

#[derive(Debug)]
enum Weights<T: Real, V: Vectors<T>> {
    /// `[panel][input]`
    Panels(Vec<[V::Vector; 2]>),
    /// `[output][padded input]`, and one bias per output.
    Few(Vec<T::Short>, Vec<T>),
}

impl<T: Real, V: Vectors<T>> VectorLayers<T, V> {
    fn new(dense: &[DenseLayer]) -> Option<Self> {
        let token = V::find()?;
        let (first, last) = (dense.first()?, dense.last()?);
        let layers: Vec<PackedLayer<T, V>> = dense.iter().map(PackedLayer::new).collect();
        let widest = layers.iter().map(|layer| layer.strides.0.max(layer.strides.1)).max()?;
        Some(Self { token, layers, width: first.inputs, outputs: last.outputs, widest })
    }

    #[inline(always)]
    fn blocks(&self, rows: &[T], out: &mut [T]) {
        let block = (rows.len() / self.width).min(BLOCK) * self.widest;
        let (mut from, mut to) = (vec![T::default(); block], vec![T::default(); block]);
        let padded = self.width.next_multiple_of(V::LANES);
        for (rows, out) in rows.chunks(BLOCK * self.width).zip(out.chunks_mut(BLOCK * self.outputs)) {
            let n = rows.len() / self.width;
            for (from, row) in from.chunks_exact_mut(padded).zip(rows.chunks_exact(self.width)) {
                let (values, padding) = from.split_at_mut(self.width);
                values.copy_from_slice(row);
                padding.fill(T::default());
            }
            let mut stride = padded;
            for layer in &self.layers {
                layer.run(self.token, n, &from, &mut to);
                std::mem::swap(&mut from, &mut to);
                stride = layer.strides.1;
            }
            for (out, row) in out.chunks_exact_mut(self.outputs).zip(from.chunks_exact(stride)) {
                out.copy_from_slice(&row[..self.outputs]);
            }
        }
    }
}

impl<T: Real, V: Vectors<T>> RunLayers<T> for VectorLayers<T, V> {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn run(&self, rows: &[T], out: &mut [T]) {
        self.token.run(RunBlocks { layers: self, rows, out });
    }
}

/// The loops as a value that `pulp` can compile for other instructions.
struct RunBlocks<'r, T: Real, V: Vectors<T>> {
    layers: &'r VectorLayers<T, V>,
    rows: &'r [T],
    out: &'r mut [T],
}

impl<T: Real, V: Vectors<T>> NullaryFnOnce for RunBlocks<'_, T, V> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.layers.blocks(self.rows, self.out);
    }
}

impl<T: Real, V: Vectors<T>> PackedLayer<T, V> {
    fn new(layer: &DenseLayer) -> Self {
        let DenseLayer { inputs, outputs, weight, bias, rectified } = layer;
        let pad = |n: usize| n.next_multiple_of(V::LANES);
        let bias = |o: usize| T::of(bias.get(o).copied().unwrap_or(0.0));
        let at = |i: usize, o: usize| {
            if i < *inputs && o < *outputs { T::of(weight[i * outputs + o]) } else { T::default() }
        };
        let panels = 0..outputs.div_ceil(V::LANES);
        let weights = if *outputs <= FEW {
            let short = |o, chunk: usize| T::short(|lane| at(chunk * T::SHORT + lane, o));
            let chunks = |o| (0..inputs.div_ceil(T::SHORT)).map(move |chunk| short(o, chunk));
            Weights::Few((0..*outputs).flat_map(chunks).collect(), (0..*outputs).map(bias).collect())
        } else {
            let panel = |p| (0..*inputs).map(move |i| V::pair(|lane| at(i, p * V::LANES + lane)));
            Weights::Panels(panels.clone().flat_map(panel).collect())
        };
        Self {
            inputs: *inputs,
            strides: (pad(*inputs), pad(*outputs)),
            rectified: *rectified,
            bias: panels.map(|p| V::pair(|lane| bias(p * V::LANES + lane))).collect(),
            weights,
        }
    }

    /// Computes `n` padded rows of outputs from padded rows of inputs.
    #[inline(always)]
    fn run(&self, token: V, n: usize, rows: &[T], out: &mut [T]) {
        let (taken, given) = self.strides;
        match &self.weights {
            Weights::Panels(weights) => {
                let mut at = 0;
                while V::TALL && at + TALL <= n {
                    self.tile::<TALL>(token, weights, &rows[at * taken..], &mut out[at * given..]);
                    at += TALL;
                }
                while at + TILE <= n {
                    self.tile::<TILE>(token, weights, &rows[at * taken..], &mut out[at * given..]);
                    at += TILE;
                }
                let (rows, out) = (&rows[at * taken..], &mut out[at * given..]);
                match n - at {
                    1 => self.tile::<1>(token, weights, rows, out),
                    2 => self.tile::<2>(token, weights, rows, out),
                    3 => self.tile::<3>(token, weights, rows, out),
                    4 => self.tile::<4>(token, weights, rows, out),
                    5 => self.tile::<5>(token, weights, rows, out),
                    _ => {}
                }
            }
            Weights::Few(weights, bias) => {
                let chunks = self.inputs.div_ceil(T::SHORT);
                for (row, out) in rows.chunks_exact(taken).zip(out.chunks_exact_mut(given)).take(n) {
                    let mut sums = [T::default(); FEW];
                    for ((sum, weights), bias) in sums.iter_mut().zip(weights.chunks_exact(chunks)).zip(bias) {
                        *sum = T::plus(T::dot(token.narrow(), row, weights), *bias);
                    }
                    let pair = V::pair(|lane| sums.get(lane).copied().unwrap_or_default());
                    V::store(if self.rectified { pair.map(|v| token.rectify(v)) } else { pair }, out);
                }
            }
        }
    }

    /// Computes `R` rows, panel by panel.
    #[inline(always)]
    fn tile<const R: usize>(&self, token: V, weights: &[[V::Vector; 2]], rows: &[T], out: &mut [T]) {
        let (taken, given) = self.strides;
        let inputs = self.inputs;
        let rows: [&[T]; R] = std::array::from_fn(|r| &rows[r * taken..][..inputs]);
        for (p, (weights, bias)) in weights.chunks_exact(inputs).zip(&self.bias).enumerate() {
            let weights = &weights[..inputs];
            let mut sums = [*bias; R];
            for i in 0..inputs {
                let [low, high] = weights[i];
                for r in 0..R {
                    let x = token.splat(rows[r][i]);
                    sums[r] = [token.multiply_add(x, low, sums[r][0]), token.multiply_add(x, high, sums[r][1])];
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                let sums = if self.rectified { sums.map(|v| token.rectify(v)) } else { sums };
                V::store(sums, &mut out[r * given + p * V::LANES..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{dense, numbers};
    use super::*;

    fn same<T: Real + PartialEq>()
    where
        V3: Vectors<T>,
        V4: Vectors<T>,
    {
        for widths in [&[10, 64, 64, 1][..], &[3, 5, 2], &[7, 33, 17, 4], &[20, 16, 40]] {
            let dense = dense(widths);
            let packed = [PackedLayers::<T>::packed::<V4>(&dense), PackedLayers::<T>::packed::<V3>(&dense)];
            // a processor without the instructions has nothing to compare
            let [Some(wide), Some(narrow)] = packed else { return };
            for n in 1..40 {
                let rows: Vec<T> = numbers(n * widths[0], 3.0).into_iter().map(T::of).collect();
                let answer = |layers: &PackedLayers<T>| {
                    let mut out = vec![T::default(); n * layers.outputs()];
                    layers.run(&rows, &mut out);
                    out
                };
                assert!(answer(&wide) == answer(&narrow), "{n} rows through {widths:?}");
            }
        }
    }

    #[test]
    fn vectors_of_every_width_compute_the_same_bits() {
        same::<f32>();
        same::<f64>();
    }
}
