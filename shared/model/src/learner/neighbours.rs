//! Nearest neighbours: the training rows that are nearest to a row, or all within a radius, vote or are averaged.

use forebay_artefact::{Frame, RowRefusal};

use super::{Learner, each_row};
use crate::{ModelError, Value};

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
            Self::Euclidean => pairs().map(|(x, y)| (x - y) * (x - y)).sum(),
            Self::Manhattan => pairs().map(|(x, y)| (x - y).abs()).sum(),
            Self::Chebyshev => pairs().map(|(x, y)| (x - y).abs()).fold(0.0, f64::max),
            Self::Minkowski(p) => pairs().map(|(x, y)| (x - y).abs().powf(*p)).sum(),
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
}

/// Stored rows and how they are searched.
#[derive(Debug)]
pub(crate) struct Search {
    pub width: usize,
    /// Row-major.
    pub rows: Vec<f64>,
    pub metric: Metric,
}

impl Search {
    /// The distance and index of the `k` nearest rows, nearest first; of equally near ones, the first.
    pub(crate) fn nearest(&self, row: &[f64], k: usize) -> Vec<(f64, usize)> {
        let stored = self.rows.chunks_exact(self.width);
        let mut all: Vec<(f64, usize)> = stored.enumerate().map(|(i, s)| (self.metric.rank(row, s), i)).collect();
        let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if k < all.len() {
            all.select_nth_unstable_by(k, order);
            all.truncate(k);
        }
        all.sort_unstable_by(order);
        all.iter_mut().for_each(|(rank, _)| *rank = self.metric.distance(*rank));
        all
    }

    /// The distance and index of the rows within `radius`, in their own order.
    fn within(&self, row: &[f64], radius: f64) -> Vec<(f64, usize)> {
        let stored = self.rows.chunks_exact(self.width).enumerate();
        let measured = stored.map(|(i, s)| (self.metric.distance(self.metric.rank(row, s)), i));
        measured.filter(|(d, _)| *d <= radius).collect()
    }

    /// The number of stored rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() / self.width.max(1)
    }
}

/// Which rows are neighbours.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    Count(usize),
    Radius(f64),
}

/// What neighbours have to say.
#[derive(Debug)]
pub(crate) enum Targets {
    /// Row-major, as many values per stored row.
    Numbers { outputs: usize, values: Vec<f64> },
    /// Row-major class indices; the number of classes of each output; the class of a row without neighbours.
    Classes { counts: Vec<usize>, indices: Vec<u32>, outlier: Vec<Option<usize>> },
}

/// A classifier or regressor by neighbours. A classifier's raw outputs are the probabilities of each output's classes.
#[derive(Debug)]
pub(crate) struct Neighbours {
    pub search: Search,
    pub reach: Reach,
    /// Whether near rows weigh more.
    pub by_distance: bool,
    pub targets: Targets,
}

impl Neighbours {
    fn weights(&self, found: &[(f64, usize)]) -> Vec<f64> {
        if !self.by_distance {
            return vec![1.0; found.len()];
        }
        if found.iter().any(|(d, _)| *d == 0.0) {
            return found.iter().map(|(d, _)| f64::from(u8::from(*d == 0.0))).collect();
        }
        found.iter().map(|(d, _)| 1.0 / d).collect()
    }

    fn answer(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), &'static str> {
        let found = match self.reach {
            Reach::Count(k) => self.search.nearest(row, k),
            Reach::Radius(radius) => self.search.within(row, radius),
        };
        let weights = self.weights(&found);
        match &self.targets {
            Targets::Numbers { outputs, values } => {
                let total: f64 = weights.iter().sum();
                for output in 0..*outputs {
                    let terms = found.iter().zip(&weights).map(|((_, i), w)| values[i * outputs + output] * w);
                    out.push(terms.sum::<f64>() / total);
                }
            }
            Targets::Classes { counts, indices, outlier } => {
                for (output, classes) in counts.iter().enumerate() {
                    let start = out.len();
                    out.resize(start + classes, 0.0);
                    if found.is_empty() {
                        let class = outlier.get(output).copied().flatten();
                        out[start + class.ok_or("has no neighbours within the radius")?] = 1.0;
                    }
                    for ((_, i), weight) in found.iter().zip(&weights) {
                        out[start + indices[i * counts.len() + output] as usize] += weight;
                    }
                    let total: f64 = out[start..].iter().sum();
                    if total != 0.0 {
                        out[start..].iter_mut().for_each(|p| *p /= total);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Learner for Neighbours {
    fn sample(&self) -> Option<Vec<Option<Value>>> {
        let first = self.search.rows.get(..self.search.width)?;
        Some(first.iter().map(|value| Some(Value::from(*value))).collect())
    }

    fn is_partial(&self) -> bool {
        // a row without neighbours
        matches!(self.reach, Reach::Radius(_))
    }

    fn width(&self) -> usize {
        self.search.width
    }

    fn outputs(&self) -> usize {
        match &self.targets {
            Targets::Numbers { outputs, .. } => *outputs,
            Targets::Classes { counts, .. } => counts.iter().sum(),
        }
    }

    fn name(&self) -> String {
        format!("Neighbours({:?} of {} rows, {:?})", self.reach, self.search.len(), self.search.metric)
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let mut refused = Ok(());
        let out = each_row(frame, |row, out| {
            if let Err(e) = self.answer(row, out) {
                refused = Err(ModelError::Row(RowRefusal::of_row(e)));
            }
        })?;
        refused.map(|()| out)
    }
}
