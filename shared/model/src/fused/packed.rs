//! Layers packed for the kernel, and the walk over them.
//!
//! Outputs stand in panels of two vectors, a panel's weights one input after another. A tile of six rows keeps its twelve sums in
//! registers while the inputs go by. Rows travel through all layers a block at a time, so that what one layer gives is still in the
//! nearest cache when the next one takes it. The sums of a row are formed in the same order in every tile.

use pulp::NullaryFnOnce;
use pulp::x86::V3;

use super::Stage;
use super::kernel::Real;

/// Rows of a tile.
const TILE: usize = 6;
/// Rows that go through all layers together.
const BLOCK: usize = 8 * TILE;
/// Layers with so few outputs are computed output by output; a panel would be mostly empty.
const FEW: usize = 3;

/// A run of layers.
#[derive(Debug)]
pub(crate) struct Layers<T: Real> {
    v3: V3,
    layers: Vec<Layer<T>>,
    width: usize,
    outputs: usize,
    /// Longest padded row between layers.
    widest: usize,
}

#[derive(Debug)]
struct Layer<T: Real> {
    inputs: usize,
    /// Length of a padded row of inputs, and of outputs.
    strides: (usize, usize),
    rectified: bool,
    bias: Vec<[T::Vector; 2]>,
    weights: Weights<T>,
}

#[derive(Debug)]
enum Weights<T: Real> {
    /// `[panel][input]`
    Panels(Vec<[T::Vector; 2]>),
    /// `[output][padded input]`, and one bias an output.
    Few(Vec<[T::Vector; 2]>, Vec<T>),
}

impl<T: Real> Layers<T> {
    /// Packs the stages, if this processor has what the kernel needs.
    pub(super) fn new(stages: &[Stage]) -> Option<Self> {
        let v3 = V3::try_new()?;
        let (first, last) = (stages.first()?, stages.last()?);
        let layers: Vec<Layer<T>> = stages.iter().map(Layer::new).collect();
        let widest = layers.iter().map(|layer| layer.strides.0.max(layer.strides.1)).max()?;
        Some(Self { v3, layers, width: first.inputs, outputs: last.outputs, widest })
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Answers `rows`, row-major, into `out`, `outputs()` a row.
    pub(super) fn run(&self, rows: &[T], out: &mut [T]) {
        self.v3.vectorize(Run { layers: self, rows, out });
    }

    #[inline(always)]
    fn blocks(&self, rows: &[T], out: &mut [T]) {
        let block = (rows.len() / self.width).min(BLOCK) * self.widest;
        let (mut from, mut to) = (vec![T::default(); block], vec![T::default(); block]);
        let padded = self.width.next_multiple_of(T::LANES);
        for (rows, out) in rows.chunks(BLOCK * self.width).zip(out.chunks_mut(BLOCK * self.outputs)) {
            let n = rows.len() / self.width;
            for (from, row) in from.chunks_exact_mut(padded).zip(rows.chunks_exact(self.width)) {
                let (values, padding) = from.split_at_mut(self.width);
                values.copy_from_slice(row);
                padding.fill(T::default());
            }
            let mut stride = padded;
            for layer in &self.layers {
                layer.run(self.v3, n, &from, &mut to);
                std::mem::swap(&mut from, &mut to);
                stride = layer.strides.1;
            }
            for (out, row) in out.chunks_exact_mut(self.outputs).zip(from.chunks_exact(stride)) {
                out.copy_from_slice(&row[..self.outputs]);
            }
        }
    }
}

/// The walk as something that can be compiled for other instructions.
struct Run<'r, T: Real> {
    layers: &'r Layers<T>,
    rows: &'r [T],
    out: &'r mut [T],
}

impl<T: Real> NullaryFnOnce for Run<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.layers.blocks(self.rows, self.out);
    }
}

impl<T: Real> Layer<T> {
    fn new(stage: &Stage) -> Self {
        let Stage { inputs, outputs, weight, bias, rectified } = stage;
        let pad = |n: usize| n.next_multiple_of(T::LANES);
        let bias = |o: usize| T::of(bias.get(o).copied().unwrap_or(0.0));
        let at = |i: usize, o: usize| {
            if i < *inputs && o < *outputs { T::of(weight[i * outputs + o]) } else { T::default() }
        };
        let panels = 0..outputs.div_ceil(T::LANES);
        let weights = if *outputs <= FEW {
            let chunks =
                |o| (0..pad(*inputs) / T::LANES).map(move |chunk| T::pair(|lane| at(chunk * T::LANES + lane, o)));
            Weights::Few((0..*outputs).flat_map(chunks).collect(), (0..*outputs).map(bias).collect())
        } else {
            let panel = |p| (0..*inputs).map(move |i| T::pair(|lane| at(i, p * T::LANES + lane)));
            Weights::Panels(panels.clone().flat_map(panel).collect())
        };
        Self {
            inputs: *inputs,
            strides: (pad(*inputs), pad(*outputs)),
            rectified: *rectified,
            bias: panels.map(|p| T::pair(|lane| bias(p * T::LANES + lane))).collect(),
            weights,
        }
    }

    /// `n` padded rows to padded rows.
    #[inline(always)]
    fn run(&self, v3: V3, n: usize, rows: &[T], out: &mut [T]) {
        let (taken, given) = self.strides;
        match &self.weights {
            Weights::Panels(weights) => {
                let mut at = 0;
                while at + TILE <= n {
                    self.tile::<TILE>(v3, weights, &rows[at * taken..], &mut out[at * given..]);
                    at += TILE;
                }
                let (rows, out) = (&rows[at * taken..], &mut out[at * given..]);
                match n - at {
                    1 => self.tile::<1>(v3, weights, rows, out),
                    2 => self.tile::<2>(v3, weights, rows, out),
                    3 => self.tile::<3>(v3, weights, rows, out),
                    4 => self.tile::<4>(v3, weights, rows, out),
                    5 => self.tile::<5>(v3, weights, rows, out),
                    _ => {}
                }
            }
            Weights::Few(weights, bias) => {
                for (row, out) in rows.chunks_exact(taken).zip(out.chunks_exact_mut(given)).take(n) {
                    let mut sums = [T::default(); FEW];
                    for ((sum, weights), bias) in sums.iter_mut().zip(weights.chunks_exact(taken / T::LANES)).zip(bias)
                    {
                        *sum = T::plus(T::dot(v3, row, weights), *bias);
                    }
                    let pair = T::pair(|lane| sums.get(lane).copied().unwrap_or_default());
                    T::store(if self.rectified { pair.map(|v| T::rectify(v3, v)) } else { pair }, out);
                }
            }
        }
    }

    /// `R` rows through every panel.
    #[inline(always)]
    fn tile<const R: usize>(&self, v3: V3, weights: &[[T::Vector; 2]], rows: &[T], out: &mut [T]) {
        let (taken, given) = self.strides;
        let inputs = self.inputs;
        let rows: [&[T]; R] = std::array::from_fn(|r| &rows[r * taken..][..inputs]);
        for (p, (weights, bias)) in weights.chunks_exact(inputs).zip(&self.bias).enumerate() {
            let weights = &weights[..inputs];
            let mut sums = [*bias; R];
            for i in 0..inputs {
                let [low, high] = weights[i];
                for r in 0..R {
                    let x = T::splat(v3, rows[r][i]);
                    sums[r] = [T::multiply_add(v3, x, low, sums[r][0]), T::multiply_add(v3, x, high, sums[r][1])];
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                let sums = if self.rectified { sums.map(|v| T::rectify(v3, v)) } else { sums };
                T::store(sums, &mut out[r * given + p * T::LANES..]);
            }
        }
    }
}
