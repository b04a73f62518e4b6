//! Distances between rows.

/// How far apart two rows are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Metric {
    /// Compared as squares.
    Euclidean,
    Manhattan,
    Chebyshev,
    Minkowski(f64),
    Cosine,
    Canberra,
    BrayCurtis,
    Hamming,
    /// On a sphere, of latitudes and longitudes in radians. Ranked by the square of half the chord.
    Haversine,
    /// Each column's square is divided by its variance.
    Standardised(Vec<f64>),
    /// With the inverse of the covariance, row-major.
    Mahalanobis(Vec<f64>),
}

impl Metric {
    /// A number that grows with the distance.
    pub(crate) fn rank(&self, a: &[f64], b: &[f64]) -> f64 {
        let pairs = || a.iter().zip(b);
        match self {
            Self::Euclidean | Self::Manhattan | Self::Chebyshev | Self::Minkowski(_) => {
                self.rank_of_sides(pairs().map(|(x, y)| (x - y).abs()))
            }
            Self::Cosine => {
                let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
                let length = |v: &[f64]| if norm(v) == 0.0 { 1.0 } else { norm(v) };
                1.0 - pairs().map(|(x, y)| x * y).sum::<f64>() / length(a) / length(b)
            }
            Self::Canberra => {
                let term = |(x, y): (&f64, &f64)| {
                    let size = x.abs() + y.abs();
                    if size == 0.0 { 0.0 } else { (x - y).abs() / size }
                };
                pairs().map(term).sum()
            }
            Self::BrayCurtis => {
                let size: f64 = pairs().map(|(x, y)| x.abs() + y.abs()).sum();
                let apart: f64 = pairs().map(|(x, y)| (x - y).abs()).sum();
                if size == 0.0 { 0.0 } else { apart / size }
            }
            Self::Haversine => {
                let half = |i: usize| (0.5 * (a[i] - b[i])).sin();
                half(0) * half(0) + a[0].cos() * b[0].cos() * half(1) * half(1)
            }
            Self::Hamming => pairs().filter(|(x, y)| x != y).count() as f64 / a.len().max(1) as f64,
            Self::Mahalanobis(inverse) => {
                let apart: Vec<f64> = pairs().map(|(x, y)| x - y).collect();
                let line = |row: &[f64]| row.iter().zip(&apart).map(|(v, d)| v * d).sum::<f64>();
                inverse.chunks_exact(apart.len().max(1)).zip(&apart).map(|(row, d)| d * line(row)).sum()
            }
            Self::Standardised(variances) => pairs().zip(variances).map(|((x, y), v)| (x - y) * (x - y) / v).sum(),
        }
    }

    /// The distance of a rank.
    pub(crate) fn distance(&self, rank: f64) -> f64 {
        match self {
            Self::Euclidean | Self::Standardised(_) | Self::Mahalanobis(_) => rank.sqrt(),
            Self::Minkowski(p) => rank.powf(1.0 / p),
            Self::Haversine => 2.0 * rank.sqrt().asin(),
            _ => rank,
        }
    }

    /// The rank of a distance that is so long along each column; of metrics that add up columns.
    pub(crate) fn rank_of_sides(&self, sides: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::Chebyshev => sides.fold(0.0, f64::max),
            Self::Manhattan => sides.sum(),
            Self::Minkowski(p) => sides.map(|d| d.powf(*p)).sum(),
            _ => sides.map(|d| d * d).sum(),
        }
    }

    /// The rank of a distance.
    pub(crate) fn rank_of(&self, distance: f64) -> f64 {
        match self {
            Self::Euclidean | Self::Standardised(_) | Self::Mahalanobis(_) => distance * distance,
            Self::Minkowski(p) => distance.powf(*p),
            Self::Haversine => {
                let half_chord = (0.5 * distance).sin();
                half_chord * half_chord
            }
            _ => distance,
        }
    }
}
