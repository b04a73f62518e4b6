//! Classifiers by the density of each class, whose raw outputs are log-likelihoods, and clusters.

use std::sync::Arc;

use forebay_artefact::{Frame, RowRefusal};

use super::search::Search;
use super::{Learner, each_row};
use crate::ModelError;
use crate::output_transform::{argmax, softmax};

/// One class of a [`Densities`].
#[derive(Debug)]
pub(crate) struct Density {
    pub mean: Vec<f64>,
    /// Row-major `width x axes`, which classes may share; empty if each column is scaled by itself.
    pub axes: Arc<[f64]>,
    /// The inverse variance along each axis.
    pub precision: Vec<f64>,
    /// What is added to minus half the squared distance.
    pub constant: f64,
}

impl Density {
    fn log_likelihood(&self, row: &[f64]) -> f64 {
        let apart = |c: usize| row[c] - self.mean[c];
        let square: f64 = if self.axes.is_empty() {
            self.precision.iter().enumerate().map(|(c, p)| apart(c) * apart(c) * p).sum()
        } else {
            let axes = self.precision.len();
            let along = |a: usize| (0..row.len()).map(|c| apart(c) * self.axes[c * axes + a]).sum::<f64>();
            self.precision.iter().enumerate().map(|(a, p)| along(a) * along(a) * p).sum()
        };
        self.constant - 0.5 * square
    }
}

/// Gaussian densities: GaussianNB, QuadraticDiscriminantAnalysis, GaussianMixture.
#[derive(Debug)]
pub(crate) struct Densities {
    pub label: &'static str,
    pub width: usize,
    pub classes: Vec<Density>,
    /// Whether the logarithm of the sum of the densities is what `score_samples` answers.
    pub mixture: bool,
}

impl Learner for Densities {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.classes.len()
    }

    fn name(&self) -> String {
        format!("{}({} classes)", self.label, self.classes.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        each_row(frame, |row, out| out.extend(self.classes.iter().map(|c| c.log_likelihood(row))))
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        let raw = self.run(frame);
        let two = self.classes.len() == 2;
        Some(raw.map(|raw| if two { raw.chunks_exact(2).map(|c| c[1] - c[0]).collect() } else { raw }))
    }

    fn score_samples(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        let total = |row: &[f64]| {
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter().map(|v| (v - highest).exp()).sum::<f64>().ln() + highest
        };
        let raw = self.run(frame);
        Some(raw.map(|raw| raw.chunks_exact(self.classes.len()).map(total).collect()))
    }

    fn scores_samples(&self) -> bool {
        self.mixture
    }
}

/// CategoricalNB: a table of log-probabilities for each column.
#[derive(Debug)]
pub(crate) struct CategoryTables {
    /// For each column, row-major `classes x categories`.
    pub tables: Vec<Vec<f64>>,
    pub priors: Vec<f64>,
}

impl Learner for CategoryTables {
    fn width(&self) -> usize {
        self.tables.len()
    }

    fn outputs(&self) -> usize {
        self.priors.len()
    }

    fn name(&self) -> String {
        format!("CategoricalBayes({} classes)", self.priors.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let classes = self.priors.len();
        let mut refused = Ok(());
        let out = each_row(frame, |row, out| {
            let start = out.len();
            out.extend_from_slice(&self.priors);
            for (column, (value, table)) in row.iter().zip(&self.tables).enumerate() {
                let categories = table.len() / classes;
                let index = value.trunc();
                if !(index >= 0.0 && index < categories as f64) {
                    let reason = format!("has {value}, which is not one of {categories} categories");
                    refused = Err(ModelError::Row(RowRefusal::at(column, reason)));
                    continue;
                }
                let index = index as usize;
                out[start..].iter_mut().enumerate().for_each(|(c, o)| *o += table[c * categories + index]);
            }
        })?;
        refused.map(|()| out)
    }
}

/// The index of the nearest centre: KMeans, NearestCentroid. With `densities` the probabilities of the classes follow
/// it.
#[derive(Debug)]
pub(crate) struct Centres {
    pub search: Search,
    pub densities: Option<Densities>,
    /// Whether the densities choose the class, instead of the distance.
    pub by_density: bool,
    /// The class of each centre; empty when it is the centre itself.
    pub classes: Vec<usize>,
}

impl Learner for Centres {
    fn width(&self) -> usize {
        self.search.width
    }

    fn outputs(&self) -> usize {
        1 + self.densities.as_ref().map_or(0, |d| d.classes.len())
    }

    fn name(&self) -> String {
        format!("Nearest({} centres)", self.search.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        each_row(frame, |row, out| {
            let nearest = self.search.nearest(row, 1).first().map_or(0, |(_, i)| *i);
            let nearest = self.classes.get(nearest).copied().unwrap_or(nearest);
            let Some(densities) = &self.densities else { return out.push(nearest as f64) };
            let scores: Vec<f64> = densities.classes.iter().map(|c| c.log_likelihood(row)).collect();
            out.push(if self.by_density { f64::from(argmax(&scores)) } else { nearest as f64 });
            softmax(&scores, out);
        })
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        self.densities.as_ref().and_then(|densities| densities.decision(frame))
    }
}

/// The same outputs for every row: DummyRegressor, DummyClassifier.
#[derive(Debug)]
pub(crate) struct Constant {
    pub width: usize,
    pub outputs: Vec<f64>,
}

impl Learner for Constant {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.outputs.len()
    }

    fn name(&self) -> String {
        "Constant".to_owned()
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        Ok(self.outputs.repeat(frame.rows()))
    }
}
