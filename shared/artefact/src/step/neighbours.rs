//! Imputation from similar rows (KNNImputer) and from the other columns (IterativeImputer).

use std::sync::Arc;

use super::partition::smallest;
use super::{Impute, Missing, Transform};
use crate::RowRefusal;
use crate::matrix::Matrix;
use crate::sklearn::Regressor;

/// KNNImputer: the mean of a column in the nearest training rows that have it.
#[derive(Debug, Clone)]
pub struct ImputeNearest {
    /// The value that counts as missing; `None` means NaN.
    pub missing: Option<f64>,
    /// The training rows, row-major, with NaN for missing values.
    pub rows: Vec<f64>,
    pub width: usize,
    pub neighbours: usize,
    /// Whether near rows weigh more.
    pub by_distance: bool,
    /// The columns that are kept, in order.
    pub kept: Vec<usize>,
    pub indicator: Vec<usize>,
}

impl ImputeNearest {
    fn distance(&self, a: &[f64], b: &[f64]) -> f64 {
        let (mut sum, mut present) = (0.0, 0usize);
        for (x, y) in a.iter().zip(b) {
            if !x.is_nan() && !y.is_nan() {
                sum += (x - y) * (x - y);
                present += 1;
            }
        }
        if present == 0 { f64::NAN } else { (sum / present as f64 * self.width as f64).sqrt() }
    }

    fn value(&self, distances: &[f64], column: usize) -> f64 {
        let mut donors: Vec<(f64, f64)> = Vec::new();
        for (row, distance) in self.rows.chunks_exact(self.width).zip(distances) {
            if !row[column].is_nan() {
                donors.push((*distance, row[column]));
            }
        }
        let mean = |of: &[(f64, f64)]| of.iter().map(|(_, v)| v).sum::<f64>() / of.len() as f64;
        if donors.is_empty() {
            return 0.0;
        }
        if donors.iter().all(|(d, _)| d.is_nan()) {
            return mean(&donors);
        }
        let distances: Vec<f64> = donors.iter().map(|(d, _)| *d).collect();
        let nearest = smallest(&distances, self.neighbours.max(1));
        let donors: Vec<(f64, f64)> = nearest.into_iter().map(|i| donors[i]).filter(|(d, _)| !d.is_nan()).collect();
        if !self.by_distance {
            return mean(&donors);
        }
        let exact: Vec<(f64, f64)> = donors.iter().copied().filter(|(d, _)| *d == 0.0).collect();
        if !exact.is_empty() {
            return mean(&exact);
        }
        let weights: f64 = donors.iter().map(|(d, _)| 1.0 / d).sum();
        donors.iter().map(|(d, v)| v / d).sum::<f64>() / weights
    }
}

impl Transform for ImputeNearest {
    fn width(&self) -> usize {
        self.kept.len() + self.indicator.len()
    }

    fn name(&self) -> String {
        format!("ImputeNearest({} of {} rows)", self.neighbours, self.rows.len() / self.width.max(1))
    }

    fn missing(&self) -> Missing {
        if self.missing.is_none() { Missing::Gone } else { Missing::Refused }
    }

    fn keeps_values(&self) -> bool {
        true
    }

    fn source(&self, column: usize) -> Option<usize> {
        self.kept.get(column).copied()
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        if let Some(marker) = self.missing {
            m.data.iter_mut().filter(|x| **x == marker).for_each(|x| *x = f64::NAN);
        }
        m.rebuild(self.width(), |row, out| {
            let mut distances = Vec::new();
            for column in &self.kept {
                let mut x = row[*column];
                if x.is_nan() {
                    if distances.is_empty() {
                        distances = self.rows.chunks_exact(self.width).map(|fit| self.distance(row, fit)).collect();
                    }
                    x = self.value(&distances, *column);
                }
                out.push(x);
            }
            out.extend(self.indicator.iter().map(|c| f64::from(u8::from(row[*c].is_nan()))));
        });
        Ok(())
    }
}

/// The model of a column by others.
#[derive(Debug, Clone)]
pub enum Guess {
    Linear { weights: Vec<f64>, intercept: f64 },
    Other(Arc<dyn Regressor>),
}

impl Guess {
    fn of(&self, row: &[f64]) -> Result<f64, RowRefusal> {
        match self {
            Self::Linear { weights, intercept } => {
                Ok(row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() + intercept)
            }
            Self::Other(regressor) => regressor.predict(row).map_err(|refusal| refusal.traced(|_| None)),
        }
    }
}

/// One round of an [`ImputeIteratively`].
#[derive(Debug, Clone)]
pub struct Round {
    pub column: usize,
    pub others: Vec<usize>,
    pub guess: Guess,
    /// The range that the result is clipped to.
    pub range: (f64, f64),
}

/// IterativeImputer: each missing value is predicted from the other columns, several times.
#[derive(Debug, Clone)]
pub struct ImputeIteratively {
    /// The first guess, which keeps the same columns.
    pub first: Impute,
    pub rounds: Vec<Round>,
    pub indicator: Vec<usize>,
}

impl Transform for ImputeIteratively {
    fn width(&self) -> usize {
        self.first.width() + self.indicator.len()
    }

    fn name(&self) -> String {
        format!("ImputeIteratively({} rounds)", self.rounds.len())
    }

    fn missing(&self) -> Missing {
        self.first.missing_values()
    }

    fn keeps_values(&self) -> bool {
        true
    }

    fn source(&self, column: usize) -> Option<usize> {
        self.first.kept.get(column).map(|(column, _)| *column)
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        let mut filled = vec![0.0; self.first.width()];
        let mut others = Vec::new();
        let mut refused = None;
        m.rebuild(self.width(), |row, out| {
            for (to, (column, fill)) in filled.iter_mut().zip(&self.first.kept) {
                *to = if self.first.is_missing(row[*column]) { *fill } else { row[*column] };
            }
            for round in &self.rounds {
                let (from, _) = self.first.kept[round.column];
                if self.first.is_missing(row[from]) {
                    others.clear();
                    others.extend(round.others.iter().map(|c| filled[*c]));
                    match round.guess.of(&others) {
                        Ok(x) => filled[round.column] = x.max(round.range.0).min(round.range.1),
                        Err(refusal) => refused = refused.take().or(Some(refusal)),
                    }
                }
            }
            out.extend_from_slice(&filled);
            out.extend(self.indicator.iter().map(|c| f64::from(u8::from(self.first.is_missing(row[*c])))));
        });
        refused.map_or(Ok(()), Err)
    }
}
