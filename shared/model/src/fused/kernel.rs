//! The numbers of a kernel: pairs of vectors of 256 or 512 bits, with fused multiplication and addition. Everything
//! here is inlined into a function that `pulp` compiles for processors with these instructions and enters only there.

use std::fmt::Debug;

use pulp::NullaryFnOnce;
use pulp::x86::{V3, V4};

/// A float, and sums of products in one order on every processor: over pairs of the narrowest vectors.
pub(crate) trait Real: Copy + Default + Debug + Send + Sync + 'static {
    /// A pair of the narrowest vectors.
    type Short: Copy + Debug + Send + Sync;
    /// The number of floats in it.
    const SHORT: usize;

    fn of(value: f64) -> Self;

    fn plus(self, other: Self) -> Self;

    /// A pair from `SHORT` values.
    fn short(value: impl Fn(usize) -> Self) -> Self::Short;

    /// The sum of products of two rows; the first is padded to a multiple of `SHORT`.
    fn dot(v3: V3, row: &[Self], weights: &[Self::Short]) -> Self;
}

/// The instructions of a processor for vectors of `T`.
pub(crate) trait Vectors<T: Real>: Copy + Debug + Send + Sync + 'static {
    /// The number of floats in a pair.
    const LANES: usize;
    /// Whether there are enough registers for the sums of a tall tile.
    const TALL: bool;
    /// One vector.
    type Vector: Copy + Debug + Send + Sync;

    /// The token of the instructions, if this processor has them.
    fn find() -> Option<Self>;

    /// Runs `work`, compiled for these instructions.
    fn run<W: NullaryFnOnce>(self, work: W) -> W::Output;

    /// A pair of vectors from `LANES` values.
    fn pair(value: impl Fn(usize) -> T) -> [Self::Vector; 2];

    fn splat(self, value: T) -> Self::Vector;

    /// `a * b + c`, rounded once.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// Replaces negative values by zero; NaN stays NaN.
    fn rectify(self, value: Self::Vector) -> Self::Vector;

    /// Writes the pair to the first `LANES` of `out`.
    fn store(pair: [Self::Vector; 2], out: &mut [T]);

    /// The instructions for the narrowest vectors.
    fn narrow(self) -> V3;
}

macro_rules! vectors {
    ($float:ty, $token:ident, $vector:ident, $lanes:literal, $tall:literal, $splat:ident, $fma:ident, $le:ident, $select:ident) => {
        impl Vectors<$float> for $token {
            const LANES: usize = 2 * $lanes;
            const TALL: bool = $tall;
            type Vector = pulp::$vector;

            fn find() -> Option<Self> {
                Self::try_new()
            }

            #[inline(always)]
            fn run<W: NullaryFnOnce>(self, work: W) -> W::Output {
                self.vectorize(work)
            }

            #[inline(always)]
            fn pair(value: impl Fn(usize) -> $float) -> [Self::Vector; 2] {
                let array = |base: usize| -> [$float; $lanes] { std::array::from_fn(|i| value(base + i)) };
                [pulp::cast(array(0)), pulp::cast(array($lanes))]
            }

            #[inline(always)]
            fn splat(self, value: $float) -> Self::Vector {
                self.$splat(value)
            }

            #[inline(always)]
            fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                self.$fma(a, b, c)
            }

            #[inline(always)]
            fn rectify(self, value: Self::Vector) -> Self::Vector {
                let zero = self.$splat(0.0);
                self.$select(self.$le(value, zero), zero, value)
            }

            #[inline(always)]
            fn store(pair: [Self::Vector; 2], out: &mut [$float]) {
                let (low, high) = out.split_at_mut($lanes);
                low.copy_from_slice(&pulp::cast::<_, [$float; $lanes]>(pair[0]));
                high[..$lanes].copy_from_slice(&pulp::cast::<_, [$float; $lanes]>(pair[1]));
            }

            #[inline(always)]
            fn narrow(self) -> V3 {
                let narrow: &V3 = &self;
                *narrow
            }
        }
    };
}

macro_rules! real {
    ($float:ty, $vector:ident, $lanes:literal, $splat:ident, $fma:ident) => {
        impl Real for $float {
            type Short = [pulp::$vector; 2];
            const SHORT: usize = 2 * $lanes;

            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $float
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }

            #[inline(always)]
            fn short(value: impl Fn(usize) -> Self) -> Self::Short {
                <V3 as Vectors<Self>>::pair(value)
            }

            #[inline(always)]
            fn dot(v3: V3, row: &[Self], weights: &[Self::Short]) -> Self {
                let mut sums = [v3.$splat(0.0); 2];
                for (x, w) in row.as_chunks::<{ 2 * $lanes }>().0.iter().zip(weights) {
                    let x: [[$float; $lanes]; 2] = pulp::cast(*x);
                    sums[0] = v3.$fma(pulp::cast(x[0]), w[0], sums[0]);
                    sums[1] = v3.$fma(pulp::cast(x[1]), w[1], sums[1]);
                }
                let [low, high] = sums.map(|sum| pulp::cast::<_, [$float; $lanes]>(sum));
                let mut both: [$float; $lanes] = std::array::from_fn(|i| low[i] + high[i]);
                let mut left = $lanes / 2;
                while left > 0 {
                    for i in 0..left {
                        both[i] += both[i + left];
                    }
                    left /= 2;
                }
                both[0]
            }
        }
    };
}

real!(f32, f32x8, 8, splat_f32x8, mul_add_f32x8);
real!(f64, f64x4, 4, splat_f64x4, mul_add_f64x4);
vectors!(f32, V3, f32x8, 8, false, splat_f32x8, mul_add_f32x8, cmp_le_f32x8, select_f32x8);
vectors!(f64, V3, f64x4, 4, false, splat_f64x4, mul_add_f64x4, cmp_le_f64x4, select_f64x4);
vectors!(f32, V4, f32x16, 16, true, splat_f32x16, mul_add_f32x16, cmp_le_f32x16, select_f32x16);
vectors!(f64, V4, f64x8, 8, true, splat_f64x8, mul_add_f64x8, cmp_le_f64x8, select_f64x8);
