//! The links of XGBoost's objectives, in f32 with the C library's `expf` and `logf`.

use crate::document::Value;

/// `kRtEps`, which keeps the base score of the logistic objectives away from 0 and 1.
const NEAR: f32 = 1e-6;

/// What an objective does to margins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objective {
    name: String,
    link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Identity,
    Logistic,
    /// Log-odds that are answered as they are, though the base score is a probability.
    LogisticRaw,
    Log,
    Hinge,
    Softmax,
    /// The index of the highest margin.
    Highest,
}

impl Objective {
    /// Reads `learner.objective`.
    pub(super) fn read(value: &Value<'_>) -> Result<Self, String> {
        Self::of_name(value.need("name")?.text()?)
    }

    /// The objective of a name.
    pub(super) fn of_name(name: &str) -> Result<Self, String> {
        let link = match name {
            "reg:squarederror"
            | "reg:linear"
            | "reg:squaredlogerror"
            | "reg:pseudohubererror"
            | "reg:absoluteerror"
            | "reg:quantileerror"
            | "reg:expectileerror"
            | "rank:pairwise"
            | "rank:ndcg"
            | "rank:map" => Link::Identity,
            "binary:logitraw" => Link::LogisticRaw,
            "reg:logistic" | "binary:logistic" => Link::Logistic,
            "reg:gamma" | "reg:tweedie" | "count:poisson" | "survival:cox" | "survival:aft" => Link::Log,
            "binary:hinge" => Link::Hinge,
            "multi:softprob" => Link::Softmax,
            "multi:softmax" => Link::Highest,
            _ => return Err(format!("{name:?} is not supported")),
        };
        Ok(Self { name: name.to_owned(), link })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The objective whose outputs are the probabilities of a classifier.
    pub(super) fn of_classifier(mut self) -> Self {
        if self.link == Link::Highest {
            self.link = Link::Softmax;
        }
        self
    }

    /// The number of outputs for this many groups of trees.
    pub(super) fn outputs(&self, groups: usize) -> usize {
        if self.link == Link::Highest { 1 } else { groups }
    }

    /// The margin of a base score.
    pub(super) fn margin(&self, base: f32) -> f32 {
        match self.link {
            Link::Logistic => {
                let base = base.clamp(NEAR, 1.0 - NEAR);
                -(1.0 / base - 1.0).ln()
            }
            Link::Log => base.ln(),
            _ => base,
        }
    }

    /// The predictions of margins, which are row-major `len x groups`.
    pub(super) fn apply(&self, mut margins: Vec<f32>, groups: usize) -> Vec<f32> {
        match self.link {
            Link::Identity | Link::LogisticRaw => {}
            Link::Logistic => margins.iter_mut().for_each(|m| *m = sigmoid(*m)),
            Link::Log => margins.iter_mut().for_each(|m| *m = m.exp()),
            Link::Hinge => margins.iter_mut().for_each(|m| *m = f32::from(u8::from(*m > 0.0))),
            Link::Softmax => margins.chunks_exact_mut(groups).for_each(softmax),
            Link::Highest => return margins.chunks_exact(groups).map(highest).collect(),
        }
        margins
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / ((-x).min(88.7).exp() + 1.0 + 1e-16)
}

fn softmax(row: &mut [f32]) {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for value in row.iter_mut() {
        *value = (*value - highest).exp();
        sum += f64::from(*value);
    }
    row.iter_mut().for_each(|value| *value /= sum as f32);
}

/// The index of the first of the highest values.
fn highest(row: &[f32]) -> f32 {
    let best = row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best });
    best as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerated_failure_times_are_exponentiated_in_f32() {
        let aft = Objective::of_name("survival:aft").unwrap();
        let margins: Vec<f32> = (0..20_000).map(|i| i as f32 / 7000.0 - 1.0).collect();
        let got = aft.apply(margins.clone(), 1);
        assert!(got.iter().zip(&margins).all(|(got, m)| got.to_bits() == m.exp().to_bits()));
        let double = |m: &f32| f64::from(*m).exp() as f32;
        assert!(got.iter().zip(&margins).any(|(got, m)| *got != double(m)), "f64 gives other bits");
    }
}
