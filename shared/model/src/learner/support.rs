//! Support vector classification, as libsvm computes it.

use forebay_artefact::Frame;

use super::{Learner, each_row};
use crate::ModelError;
use crate::output_transform::argmax;
use crate::step::Kernel;

/// The slopes and intercepts of the sigmoids that turn the scores of pairs of classes into probabilities.
#[derive(Debug)]
pub(crate) struct Platt {
    pub slopes: Vec<f64>,
    pub intercepts: Vec<f64>,
}

/// Pairs of classes, each with a machine of its own. Its raw outputs are the index of the class with the most votes,
/// and the probabilities if there are any.
#[derive(Debug)]
pub(crate) struct SupportClassifier {
    pub kernel: Kernel,
    pub width: usize,
    /// Row-major, class by class.
    pub vectors: Vec<f64>,
    /// The number of vectors of each class.
    pub counts: Vec<usize>,
    /// Row-major `(classes - 1) x vectors`.
    pub weights: Vec<f64>,
    /// One per pair.
    pub intercepts: Vec<f64>,
    pub platt: Option<Platt>,
    /// Whether `decision_function` has one score per class instead of one per pair.
    pub one_vs_rest: bool,
    pub break_ties: bool,
}

impl SupportClassifier {
    fn classes(&self) -> usize {
        self.counts.len()
    }

    /// One score per pair of classes; above zero the first class wins.
    fn pairs(&self, row: &[f64]) -> Vec<f64> {
        let similarities: Vec<f64> = self.vectors.chunks_exact(self.width).map(|v| self.kernel.of(row, v)).collect();
        let total = similarities.len();
        let mut starts = vec![0];
        self.counts.iter().for_each(|n| starts.push(starts[starts.len() - 1] + n));
        let mut out = Vec::with_capacity(self.intercepts.len());
        for i in 0..self.classes() {
            for j in i + 1..self.classes() {
                let sum = |class: usize, line: usize| {
                    let range = starts[class]..starts[class + 1];
                    range.map(|v| self.weights[line * total + v] * similarities[v]).sum::<f64>()
                };
                out.push(sum(i, j - 1) + sum(j, i) + self.intercepts[out.len()]);
            }
        }
        out
    }

    fn scores(&self, pairs: &[f64]) -> Vec<f64> {
        if self.classes() == 2 {
            return vec![-pairs[0]];
        }
        if !self.one_vs_rest {
            return pairs.to_vec();
        }
        let wins: Vec<bool> = pairs.iter().map(|p| *p < 0.0).collect();
        let confidences: Vec<f64> = pairs.iter().map(|p| -p).collect();
        votes(self.classes(), &wins, &confidences)
    }

    fn winner(&self, pairs: &[f64]) -> usize {
        if self.break_ties && self.one_vs_rest && self.classes() > 2 {
            return argmax(&self.scores(pairs)) as usize;
        }
        let mut votes = vec![0.0; self.classes()];
        let mut pair = 0;
        for i in 0..self.classes() {
            for j in i + 1..self.classes() {
                votes[if pairs[pair] > 0.0 { i } else { j }] += 1.0;
                pair += 1;
            }
        }
        argmax(&votes) as usize
    }

    fn probabilities(&self, platt: &Platt, pairs: &[f64]) -> Vec<f64> {
        let n = self.classes();
        let mut shares = vec![0.0; n * n];
        let mut pair = 0;
        for i in 0..n {
            for j in i + 1..n {
                let x = pairs[pair] * platt.slopes[pair] + platt.intercepts[pair];
                let p = if x >= 0.0 { (-x).exp() / (1.0 + (-x).exp()) } else { 1.0 / (1.0 + x.exp()) };
                let p = p.clamp(1e-7, 1.0 - 1e-7);
                (shares[i * n + j], shares[j * n + i]) = (p, 1.0 - p);
                pair += 1;
            }
        }
        coupled(n, &shares)
    }
}

/// libsvm's coupling of the probabilities of pairs (the second method of Wu, Lin and Weng).
fn coupled(n: usize, r: &[f64]) -> Vec<f64> {
    let mut q = vec![0.0; n * n];
    for t in 0..n {
        for j in (0..n).filter(|j| *j != t) {
            q[t * n + t] += r[j * n + t] * r[j * n + t];
            q[t * n + j] = if j < t { q[j * n + t] } else { -r[j * n + t] * r[t * n + j] };
        }
    }
    let mut p = vec![1.0 / n as f64; n];
    let enough = 0.005 / n as f64;
    for _ in 0..n.max(100) {
        let mut qp: Vec<f64> = (0..n).map(|t| (0..n).map(|j| q[t * n + j] * p[j]).fold(0.0, |s, v| s + v)).collect();
        let mut total: f64 = p.iter().zip(&qp).map(|(p, q)| p * q).fold(0.0, |s, v| s + v);
        if qp.iter().map(|v| (v - total).abs()).fold(0.0, f64::max) < enough {
            break;
        }
        for t in 0..n {
            let own = q[t * n + t];
            let change = (total - qp[t]) / own;
            p[t] += change;
            total = (total + change * (change * own + 2.0 * qp[t])) / (1.0 + change) / (1.0 + change);
            for j in 0..n {
                qp[j] = (qp[j] + change * q[t * n + j]) / (1.0 + change);
                p[j] /= 1.0 + change;
            }
        }
    }
    p
}

/// The votes of all pairs of classes, with their confidences to break ties: for each pair, whether the second class
/// won, and how clearly.
pub(crate) fn votes(classes: usize, second_wins: &[bool], confidences: &[f64]) -> Vec<f64> {
    let (mut votes, mut sums) = (vec![0.0; classes], vec![0.0; classes]);
    let mut pair = 0;
    for i in 0..classes {
        for j in i + 1..classes {
            sums[i] -= confidences[pair];
            sums[j] += confidences[pair];
            votes[if second_wins[pair] { j } else { i }] += 1.0;
            pair += 1;
        }
    }
    votes.iter().zip(&sums).map(|(v, s)| v + s / (3.0 * (s.abs() + 1.0))).collect()
}

impl Learner for SupportClassifier {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        1 + if self.platt.is_some() { self.classes() } else { 0 }
    }

    fn name(&self) -> String {
        let vectors = self.vectors.len() / self.width.max(1);
        format!("SupportClassifier({:?}, {vectors} vectors, {} classes)", self.kernel, self.classes())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        each_row(frame, |row, out| {
            let pairs = self.pairs(row);
            out.push(self.winner(&pairs) as f64);
            if let Some(platt) = &self.platt {
                out.extend(self.probabilities(platt, &pairs));
            }
        })
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        Some(each_row(frame, |row, out| out.extend(self.scores(&self.pairs(row)))))
    }
}
