//! Transforms the raw outputs of a head to scores: links, labels, probabilities.

use std::sync::Arc;

mod inverse;

pub(crate) use inverse::{Inverse, Part as InversePart};

use crate::{Label, Scores, Task};

/// The meaning of a head's raw outputs.
#[derive(Debug, Clone)]
pub(crate) enum OutputTransform {
    /// One output, which is the prediction.
    Number,
    /// This many outputs, all of which are the prediction.
    Several(usize),
    /// One output, whose `exp` is the prediction (log link).
    Exp,
    /// One output; `output * scale + center` is the prediction.
    Scaled { scale: f64, center: f64 },
    /// What an inverse transform makes of the outputs of a regressor.
    Inverted { base: Box<OutputTransform>, inverse: Arc<Inverse> },
    /// The classes `labels`, which `link` computes from the outputs.
    Classes { labels: Arc<[Label]>, link: Link },
    /// Several outputs with classes of their own; the raw outputs of each follow each other.
    Each(Vec<(Arc<[Label]>, Link)>),
    /// As `Each`, for labels that a row has or not: the probabilities are those that it has them.
    Present(Vec<(Arc<[Label]>, Link)>),
}

/// How raw outputs become class probabilities and a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Link {
    /// Outputs are probabilities, one per class. The first of the highest wins.
    Probabilities,
    /// One output, a log-odds. The second class wins above zero, and at zero if `zero_wins`.
    Logit { zero_wins: bool },
    /// One output, a log-odds. The second class wins above this one.
    LogitAbove(f64),
    /// One output, the score of the second class, which the first has with the other sign; their softmax are the
    /// probabilities.
    Opposites,
    /// One score per class; each goes through a sigmoid.
    Sigmoids,
    /// One output, half a log-odds (exponential loss).
    HalfLogit,
    /// One score per class; their softmax are the probabilities.
    Softmax,
    /// One score per class; each goes through a sigmoid, and the results are normalised to a sum of one.
    OneVsRest,
    /// Distances, clipped to -1..1 and mapped to probabilities (modified Huber loss). As many outputs as `Decision`
    /// has.
    Clipped,
    /// Scores without probabilities: one output for two classes, otherwise one per class.
    Decision,
    /// The index of the class, then the probability of each class.
    Chosen,
    /// The index of the class alone.
    Index,
    /// The only class, whatever the output is.
    Only,
}

impl OutputTransform {
    /// The task of the model.
    pub(crate) fn task(&self) -> Task {
        match self {
            Self::Classes { .. } | Self::Each(_) | Self::Present(_) => Task::Classification,
            _ => Task::Regression,
        }
    }

    /// The class labels; empty for regression and for several outputs.
    pub(crate) fn labels(&self) -> Vec<Label> {
        match self {
            Self::Classes { labels, .. } => labels.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Whether the outputs are the scores, without a function in between.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Number | Self::Several(_) | Self::Classes { link: Link::Probabilities, .. })
    }

    /// Whether there are probabilities.
    pub(crate) fn has_probabilities(&self) -> bool {
        let has = |link: &Link| !matches!(link, Link::Decision | Link::Index);
        match self {
            Self::Classes { link, .. } => has(link),
            Self::Each(outputs) | Self::Present(outputs) => outputs.iter().all(|(_, link)| has(link)),
            _ => false,
        }
    }

    /// The number of raw outputs per row.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Number | Self::Exp | Self::Scaled { .. } => 1,
            Self::Several(outputs) => *outputs,
            Self::Inverted { base, .. } => base.outputs(),
            Self::Classes { labels, link } => link.outputs(labels.len()),
            Self::Each(outputs) | Self::Present(outputs) => {
                outputs.iter().map(|(labels, link)| link.outputs(labels.len())).sum()
            }
        }
    }

    /// The number of values in a row's prediction.
    pub(crate) fn values(&self) -> usize {
        match self {
            Self::Several(outputs) => *outputs,
            Self::Inverted { base, .. } => base.values(),
            Self::Each(outputs) | Self::Present(outputs) => outputs.len(),
            _ => 1,
        }
    }

    /// Checks the number of labels against the link.
    pub(crate) fn check(&self) -> Result<(), String> {
        let check = |labels: &[Label], link: &Link| {
            let two = matches!(link, Link::Logit { .. } | Link::LogitAbove(_) | Link::HalfLogit | Link::Opposites);
            let two = two || matches!(self, Self::Present(_));
            if labels.is_empty() || (two && labels.len() != 2) || (*link == Link::Only && labels.len() != 1) {
                return Err(format!("has {} classes", labels.len()));
            }
            Ok(())
        };
        match self {
            Self::Classes { labels, link } => check(labels, link),
            Self::Each(outputs) | Self::Present(outputs) if outputs.is_empty() => Err("has no outputs".to_owned()),
            Self::Each(outputs) | Self::Present(outputs) => {
                outputs.iter().try_for_each(|(labels, link)| check(labels, link))
            }
            Self::Several(0) => Err("has no outputs".to_owned()),
            Self::Inverted { base, inverse } => inverse.check(base),
            _ => Ok(()),
        }
    }

    /// The scores of raw outputs, which are row-major `rows x outputs()`.
    pub(crate) fn scores(&self, mut raw: Vec<f64>) -> Scores {
        match self {
            Self::Number => Scores::regression(raw),
            Self::Several(outputs) => Scores::several(*outputs, raw),
            Self::Exp => {
                raw.iter_mut().for_each(|v| *v = v.exp());
                Scores::regression(raw)
            }
            Self::Scaled { scale, center } => {
                raw.iter_mut().for_each(|v| *v = *v * scale + center);
                Scores::regression(raw)
            }
            Self::Inverted { base, inverse } => {
                let mut scores = base.scores(raw);
                inverse.apply(scores.outputs, &mut scores.values);
                scores
            }
            Self::Classes { labels, link } => {
                let rows = raw.len() / self.outputs();
                let mut classes = Vec::with_capacity(rows);
                let mut probabilities = Vec::with_capacity(rows * labels.len());
                for row in raw.chunks_exact(self.outputs()) {
                    classes.push(link.read(row, &mut probabilities));
                }
                Scores::classification(labels.clone(), classes, probabilities)
            }
            Self::Each(outputs) | Self::Present(outputs) => {
                let (mut classes, mut probabilities) = (Vec::new(), Vec::new());
                for mut row in raw.chunks_exact(self.outputs().max(1)) {
                    for (labels, link) in outputs {
                        let (own, rest) = row.split_at(link.outputs(labels.len()));
                        classes.push(link.read(own, &mut probabilities));
                        row = rest;
                    }
                }
                if !self.has_probabilities() {
                    probabilities.clear();
                }
                let labels = outputs.iter().map(|(labels, _)| labels.clone()).collect();
                let scores = Scores::multi_label(labels, classes, probabilities);
                if matches!(self, Self::Present(_)) { scores.of_present() } else { scores }
            }
        }
    }
}

impl Link {
    /// The number of raw outputs per row for as many classes.
    pub(crate) fn outputs(self, classes: usize) -> usize {
        match self {
            Self::Logit { .. } | Self::LogitAbove(_) | Self::HalfLogit | Self::Opposites | Self::Index | Self::Only => {
                1
            }
            Self::Decision | Self::Clipped if classes == 2 => 1,
            Self::Chosen => classes + 1,
            _ => classes,
        }
    }

    /// The class of one row. Appends the probabilities, if there are any, to `out`.
    fn read(self, row: &[f64], out: &mut Vec<f64>) -> u32 {
        match self {
            Self::Probabilities => out.extend_from_slice(row),
            Self::Logit { zero_wins } => {
                let p = sigmoid(row[0]);
                out.extend([1.0 - p, p]);
                return u32::from(row[0] > 0.0 || (zero_wins && row[0] == 0.0));
            }
            Self::LogitAbove(border) => {
                let p = sigmoid(row[0]);
                out.extend([1.0 - p, p]);
                return u32::from(row[0] > border);
            }
            Self::Opposites => {
                softmax(&[-row[0], row[0]], out);
                return u32::from(row[0] > 0.0);
            }
            Self::Sigmoids => out.extend(row.iter().map(|v| sigmoid(*v))),
            Self::HalfLogit => {
                let p = sigmoid(2.0 * row[0]);
                out.extend([1.0 - p, p]);
                return u32::from(row[0] >= 0.0);
            }
            Self::Softmax => softmax(row, out),
            Self::OneVsRest => {
                let start = out.len();
                out.extend(row.iter().map(|v| sigmoid(*v)));
                let sum: f64 = out[start..].iter().sum();
                out[start..].iter_mut().for_each(|p| *p /= sum);
            }
            Self::Clipped if row.len() == 1 => {
                let p = (row[0].clamp(-1.0, 1.0) + 1.0) / 2.0;
                out.extend([1.0 - p, p]);
                return u32::from(row[0] > 0.0);
            }
            Self::Clipped => {
                let start = out.len();
                out.extend(row.iter().map(|v| (v.clamp(-1.0, 1.0) + 1.0) / 2.0));
                let sum: f64 = out[start..].iter().sum();
                let share = 1.0 / row.len() as f64;
                out[start..].iter_mut().for_each(|p| *p = if sum == 0.0 { share } else { *p / sum });
            }
            Self::Chosen => {
                out.extend_from_slice(&row[1..]);
                return row[0] as u32;
            }
            Self::Index => return row[0] as u32,
            Self::Only => {
                out.push(1.0);
                return 0;
            }
            Self::Decision if row.len() == 1 => return u32::from(row[0] > 0.0),
            Self::Decision => {}
        }
        argmax(row)
    }
}

/// The index of the first of the highest values.
pub(crate) fn argmax(row: &[f64]) -> u32 {
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if *v > row[best] {
            best = i;
        }
    }
    best as u32
}

/// The logistic function; it does not overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

pub(crate) fn softmax(row: &[f64], out: &mut Vec<f64>) {
    let start = out.len();
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    out.extend(row.iter().map(|v| (v - highest).exp()));
    let sum: f64 = out[start..].iter().sum();
    out[start..].iter_mut().for_each(|p| *p /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_give_labels_and_probabilities() {
        let classes = |link, n: usize| OutputTransform::Classes {
            labels: (0..n as i64).map(|i| Label::Integer(i * 10)).collect(),
            link,
        };
        let s = classes(Link::Logit { zero_wins: false }, 2).scores(vec![0.0, 800.0, -800.0]);
        assert_eq!((s.labels.as_slice(), s.values.as_slice()), ([0u32, 1, 0].as_slice(), [0., 10., 0.].as_slice()));
        assert_eq!(s.probabilities(1), [0.0, 1.0]);
        let s = classes(Link::Softmax, 3).scores(vec![1e3, 1e3, -1e3]);
        assert_eq!((s.label(0), s.probabilities(0)), (Some(&Label::Integer(0)), [0.5, 0.5, 0.0].as_slice()));
        let s = classes(Link::Decision, 3).scores(vec![0., 1., 2.]);
        assert_eq!((s.label(0), s.score(0).probabilities.len()), (Some(&Label::Integer(20)), 0));
        assert!(classes(Link::HalfLogit, 3).check().is_err());
    }
}
