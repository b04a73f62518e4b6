//! The float types that the fast kernel compares in.

use super::Precision;

/// The float type that rows and thresholds are compared in.
pub(super) trait Lane: Copy + PartialOrd + Default + std::fmt::Debug + 'static {
    /// The precision of the forests that this type is right for.
    const PRECISION: Precision;
    /// Below every threshold.
    const LOWEST: Self;
    /// Not comparable.
    const NAN: Self;
    /// A feature value.
    fn of(value: f64) -> Self;
    /// The largest value that is not above `threshold`.
    fn floor(threshold: f64) -> Self;
    /// A finite number of at least 1 that encodes a leaf.
    fn leaf(ordinal: u32) -> Self;
    /// The leaf that [`Lane::leaf`] encoded.
    fn ordinal(self) -> u32;
}

/// Bits of 1.0f32; leaf ordinals are below 2^24, so `LEAF_BASE + ordinal` stays far from infinity.
const LEAF_BASE: u32 = 0x3f80_0000;

impl Lane for f32 {
    const PRECISION: Precision = Precision::Single;
    const LOWEST: Self = f32::NEG_INFINITY;
    const NAN: Self = f32::NAN;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    fn floor(threshold: f64) -> Self {
        let near = threshold as f32;
        if f64::from(near) > threshold { near.next_down() } else { near }
    }

    fn leaf(ordinal: u32) -> Self {
        f32::from_bits(LEAF_BASE + ordinal)
    }

    #[inline(always)]
    fn ordinal(self) -> u32 {
        self.to_bits().wrapping_sub(LEAF_BASE)
    }
}

impl Lane for f64 {
    const PRECISION: Precision = Precision::Double;
    const LOWEST: Self = f64::NEG_INFINITY;
    const NAN: Self = f64::NAN;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    fn floor(threshold: f64) -> Self {
        threshold
    }

    fn leaf(ordinal: u32) -> Self {
        1.0 + f64::from(ordinal)
    }

    #[inline(always)]
    fn ordinal(self) -> u32 {
        (self - 1.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Lane;

    #[test]
    fn rounded_thresholds_compare_as_before() {
        let thresholds = [0.1, -0.1, 1e-50, -1e-50, 1e300, -1e300, 0.0, f64::INFINITY, 16_777_217.0, 0.5];
        for t in thresholds {
            let f = <f32 as Lane>::floor(t);
            for x in [f, f.next_up(), f.next_down(), f32::MAX, f32::MIN, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(f64::from(x) <= t, x <= f, "{x} <= {t}");
            }
        }
    }
}
