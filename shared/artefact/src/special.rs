//! Functions of the normal distribution, as Cephes and SciPy compute them.

use std::f64::consts::SQRT_2;

/// A polynomial, highest power first.
fn polynomial(x: f64, coefficients: &[f64]) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

const P0: [f64; 5] = [
    -5.996_335_010_141_079e1,
    9.800_107_541_859_997e1,
    -5.667_628_574_690_703e1,
    1.393_126_093_872_798e1,
    -1.239_165_838_673_812_6,
];
const Q0: [f64; 9] = [
    1.0,
    1.954_488_583_381_417_6,
    4.676_279_128_988_815,
    8.636_024_213_908_905e1,
    -2.254_626_878_541_193_8e2,
    2.002_602_123_800_606_6e2,
    -8.203_722_561_683_334e1,
    1.590_562_251_262_117e1,
    -1.183_316_211_213_3,
];
const P1: [f64; 9] = [
    4.055_448_923_059_624_5,
    3.152_510_945_998_938_7e1,
    5.716_281_922_464_213e1,
    4.408_050_738_932_008e1,
    1.468_495_619_288_580_2e1,
    2.186_633_068_507_902_7,
    -1.402_560_791_713_544_6e-1,
    -3.504_246_268_278_482e-2,
    -8.574_567_851_546_854e-4,
];
const Q1: [f64; 9] = [
    1.0,
    1.577_998_832_564_667_5e1,
    4.539_076_351_288_792e1,
    4.131_720_382_546_72e1,
    1.504_253_856_929_075e1,
    2.504_649_462_083_094,
    -1.421_829_228_547_877_9e-1,
    -3.808_064_076_915_783e-2,
    -9.332_594_808_954_574e-4,
];
const P2: [f64; 9] = [
    3.237_748_917_769_460_4,
    6.915_228_890_689_842,
    3.938_810_252_924_744,
    1.333_034_608_158_076,
    2.014_853_895_491_790_8e-1,
    1.237_166_348_178_200_3e-2,
    3.015_815_535_082_354e-4,
    2.658_069_746_867_375_5e-6,
    6.239_745_391_849_833e-9,
];
const Q2: [f64; 9] = [
    1.0,
    6.024_270_393_647_42,
    3.679_835_638_561_609,
    1.377_020_994_890_813_3,
    2.162_369_935_944_966e-1,
    1.342_040_060_885_431_8e-2,
    3.280_144_646_821_277e-4,
    2.892_478_647_453_806_8e-6,
    6.790_194_080_099_813e-9,
];

/// The value below which a standard normal variable lies with probability `p` (Cephes' `ndtri`).
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return if p == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
    }
    if p >= 1.0 {
        return if p == 1.0 { f64::INFINITY } else { f64::NAN };
    }
    // exp(-2)
    let tail = 0.135_335_283_236_612_7;
    let (y, negative) = if p > 1.0 - tail { (1.0 - p, false) } else { (p, true) };
    if y > tail {
        let y = y - 0.5;
        let y2 = y * y;
        let x = y + y * (y2 * polynomial(y2, &P0) / polynomial(y2, &Q0));
        return x * 2.506_628_274_631_000_7;
    }
    let x = (-2.0 * y.ln()).sqrt();
    let x0 = x - x.ln() / x;
    let z = 1.0 / x;
    let x1 =
        if x < 8.0 { z * polynomial(z, &P1) / polynomial(z, &Q1) } else { z * polynomial(z, &P2) / polynomial(z, &Q2) };
    if negative { -(x0 - x1) } else { x0 - x1 }
}

/// The probability that a standard normal variable is below `x`.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x / SQRT_2)
}

/// The complementary error function to about one part in 1e15: a series near zero, a continued fraction beyond.
pub fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.5 {
        return 1.0 - erf_series(x);
    }
    if x > 27.0 {
        return 0.0;
    }
    let mut fraction = 0.0;
    for k in (1..=80).rev() {
        fraction = 0.5 * f64::from(k) / (x + fraction);
    }
    (-x * x).exp() / ((x + fraction) * std::f64::consts::PI.sqrt())
}

fn erf_series(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
        if term < sum * 1e-18 {
            break;
        }
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

/// The error function.
pub fn erf(x: f64) -> f64 {
    1.0 - erfc(x)
}

/// The digamma function of a positive number: the derivative of the logarithm of the gamma function.
pub fn digamma(x: f64) -> f64 {
    /// Coefficients of the asymptotic series in `1 / x^2`: the Bernoulli numbers of even index over the index.
    const SERIES: [f64; 7] =
        [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0];
    if x.is_nan() || x <= 0.0 {
        return f64::NAN;
    }
    let (mut x, mut sum) = (x, 0.0);
    while x < 12.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = SERIES.iter().rev().fold(0.0, |rest, coefficient| square * (coefficient + rest));
    sum + x.ln() - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_scipy() {
        for (p, x) in [
            (1e-7, -5.199337582192816),
            (0.025, -1.9599639845400545),
            (0.3, -0.5244005127080409),
            (0.5, 0.0),
            (0.9, 1.2815515655446004),
            (1e-300, -37.0470962993612),
        ] {
            assert!((normal_quantile(p) - x).abs() < 1e-13 * x.abs().max(1.0), "{p}: {}", normal_quantile(p));
        }
        for (x, p) in [
            (-5.0, 2.866515718791933e-7),
            (-1.0, 0.15865525393145707),
            (0.3, 0.6179114221889526),
            (4.0, 0.9999683287581669),
        ] {
            assert!((normal_cdf(x) - p).abs() < 1e-15 + 1e-13 * p, "{x}: {}", normal_cdf(x));
        }
        for (x, value) in [
            (0.01, -100.560_885_457_868_68),
            (0.5, -1.963_510_026_021_423_5),
            (1.0, -0.577_215_664_901_532_9),
            (3.7, 1.167_153_539_361_511_3),
            (12.0, 2.442_661_679_975_812_3),
            (1e6, 13.815_510_057_964_19),
        ] {
            assert!((digamma(x) - value).abs() < 4e-15 * f64::max(value.abs(), 1.0), "{x}: {}", digamma(x));
        }
        assert!(digamma(0.0).is_nan() && digamma(-1.0).is_nan());
    }
}
