//! The numbers of a kernel: pairs of vectors of 256 bits, with fused multiplication and addition. Everything here is inlined into
//! a function that `pulp` compiles for processors with these instructions and enters only there.

use pulp::x86::V3;

/// A float and the vectors of it.
pub(crate) trait Real: Copy + Default + std::fmt::Debug + Send + Sync + 'static {
    /// Floats of a [`Pair`].
    const LANES: usize;
    /// One vector.
    type Vector: Copy + std::fmt::Debug + Send + Sync;

    fn of(value: f64) -> Self;

    /// A pair of vectors from `LANES` values.
    fn pair(value: impl Fn(usize) -> Self) -> [Self::Vector; 2];

    fn splat(v3: V3, value: Self) -> Self::Vector;

    /// `a * b + c`, rounded once.
    fn multiply_add(v3: V3, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// Zero where the value is below; what is not a number stays.
    fn rectify(v3: V3, value: Self::Vector) -> Self::Vector;

    /// Writes the pair to the first `LANES` of `out`.
    fn store(pair: [Self::Vector; 2], out: &mut [Self]);

    fn plus(self, other: Self) -> Self;

    /// Sum of products of two rows whose length is a multiple of `LANES`.
    fn dot(v3: V3, row: &[Self], weights: &[[Self::Vector; 2]]) -> Self;
}

macro_rules! real {
    ($float:ty, $vector:ident, $lanes:literal, $splat:ident, $fma:ident, $le:ident, $select:ident) => {
        impl Real for $float {
            const LANES: usize = 2 * $lanes;
            type Vector = pulp::$vector;

            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $float
            }

            #[inline(always)]
            fn pair(value: impl Fn(usize) -> Self) -> [Self::Vector; 2] {
                let array = |base: usize| -> [$float; $lanes] { std::array::from_fn(|i| value(base + i)) };
                [pulp::cast(array(0)), pulp::cast(array($lanes))]
            }

            #[inline(always)]
            fn splat(v3: V3, value: Self) -> Self::Vector {
                v3.$splat(value)
            }

            #[inline(always)]
            fn multiply_add(v3: V3, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                v3.$fma(a, b, c)
            }

            #[inline(always)]
            fn rectify(v3: V3, value: Self::Vector) -> Self::Vector {
                let zero = v3.$splat(0.0);
                v3.$select(v3.$le(value, zero), zero, value)
            }

            #[inline(always)]
            fn store(pair: [Self::Vector; 2], out: &mut [Self]) {
                let (low, high) = out.split_at_mut($lanes);
                low.copy_from_slice(&pulp::cast::<_, [$float; $lanes]>(pair[0]));
                high[..$lanes].copy_from_slice(&pulp::cast::<_, [$float; $lanes]>(pair[1]));
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }

            #[inline(always)]
            fn dot(v3: V3, row: &[Self], weights: &[[Self::Vector; 2]]) -> Self {
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

real!(f32, f32x8, 8, splat_f32x8, mul_add_f32x8, cmp_le_f32x8, select_f32x8);
real!(f64, f64x4, 4, splat_f64x4, mul_add_f64x4, cmp_le_f64x4, select_f64x4);
