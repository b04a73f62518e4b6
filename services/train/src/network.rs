//! A fitted net as plain numbers, computed in f64: how fits are judged, and what the written file is checked against.

use forebay_model::{Dense, NetFile, NetLayer, Task};

use crate::samples::Scaling;

/// Linear layers with relu between them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    pub(crate) layers: Vec<Dense>,
}

/// A net with the scaling it was fitted under.
#[derive(Debug, Clone)]
pub(crate) struct Fitted {
    pub(crate) scaling: Scaling,
    pub(crate) network: Network,
}

impl Network {
    /// Outputs for one prepared row.
    pub(crate) fn outputs(&self, row: &[f64]) -> Vec<f64> {
        let mut values = row.to_vec();
        for (i, Dense { inputs, outputs, weight, bias }) in self.layers.iter().enumerate() {
            if i > 0 {
                values.iter_mut().for_each(|v| *v = v.max(0.0));
            }
            let mut next = if bias.is_empty() { vec![0.0; *outputs] } else { bias.clone() };
            for (input, value) in values.iter().enumerate().take(*inputs) {
                let weights = &weight[input * outputs..(input + 1) * outputs];
                next.iter_mut().zip(weights).for_each(|(sum, w)| *sum += value * w);
            }
            values = next;
        }
        values
    }

    /// Whether all weights are finite; false after a fit that diverged.
    pub(crate) fn is_finite(&self) -> bool {
        self.layers.iter().all(|l| l.weight.iter().chain(&l.bias).all(|v| (*v as f32).is_finite()))
    }

    /// The same classifier with one output, the difference of two: the log-odds of the second class.
    fn as_logit(&self) -> Self {
        let mut layers = self.layers.clone();
        if let Some(last) = layers.last_mut() {
            last.weight = last.weight.chunks_exact(2).map(|w| w[1] - w[0]).collect();
            last.bias = last.bias.chunks_exact(2).map(|b| b[1] - b[0]).collect();
            last.outputs = 1;
        }
        Self { layers }
    }
}

impl Fitted {
    /// The prediction for a raw row: one number, or a probability per class.
    pub(crate) fn predict(&self, row: &[f64]) -> Vec<f64> {
        let mut prepared = Vec::with_capacity(row.len());
        self.scaling.prepare_into(row, &mut prepared);
        let mut out = self.network.outputs(&prepared);
        match self.scaling.target {
            Some(target) => out.iter_mut().for_each(|v| *v = *v * target.scale + target.center),
            None => softmax(&mut out),
        }
        out
    }

    /// The file this model is served from.
    pub(crate) fn net_file(&self, features: &[String], labels: &[String]) -> NetFile {
        let two = labels.len() == 2;
        let network = if two { self.network.as_logit() } else { self.network.clone() };
        let mut layers = Vec::new();
        for (i, dense) in network.layers.into_iter().enumerate() {
            if i > 0 {
                layers.push(NetLayer::Activation("relu".to_owned()));
            }
            layers.push(NetLayer::Linear(dense));
        }
        NetFile {
            features: features.to_vec(),
            task: if labels.is_empty() { Task::Regression } else { Task::Classification },
            labels: labels.to_vec(),
            prepare: Some(self.scaling.prepare.clone()),
            layers,
            target: self.scaling.target,
        }
    }
}

/// In place, without overflow.
pub(crate) fn softmax(values: &mut [f64]) {
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter_mut().for_each(|v| *v = (*v - highest).exp());
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|v| *v /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let dense = |inputs, outputs, weight: &[f64], bias: &[f64]| Dense {
            inputs,
            outputs,
            weight: weight.to_vec(),
            bias: bias.to_vec(),
        };
        Network {
            layers: vec![dense(1, 2, &[1.0, -1.0], &[0.0, 0.0]), dense(2, 2, &[1.0, 2.0, 0.5, -3.0], &[0.25, 0.5])],
        }
    }

    #[test]
    fn layers_follow_each_other() {
        // 2 -> (2, relu(-2) = 0) -> (2.25, 4.5)
        assert_eq!(network().outputs(&[2.0]), [2.25, 4.5]);
        assert_eq!(network().as_logit().outputs(&[2.0]), [2.25]);
        assert!(network().is_finite());
        let mut broken = network();
        broken.layers[1].bias[0] = f64::NAN;
        assert!(!broken.is_finite());
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut values = [1e3, 1e3, -1e3];
        softmax(&mut values);
        assert_eq!(values, [0.5, 0.5, 0.0]);
    }
}
