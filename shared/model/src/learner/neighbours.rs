//! Nearest neighbours: the training rows that are nearest to a row, or all within a radius, vote or are averaged.

use forebay_artefact::{Frame, RowRefusal};

use super::search::Search;
use super::{Learner, each_row};
use crate::{ModelError, Value};

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
