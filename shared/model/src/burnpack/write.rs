//! Writes a trained net to a burnpack file.

use burn_pack::{Bytes, DType as PackType, Tensor, Writer};

use super::architecture::{ARCHITECTURE_KEY, Architecture, LayerSpec, Layout, Prepare, TargetScale};
use crate::net::{Activation, Dense};
use crate::{Fault, Task};

/// A feed-forward net with everything that is needed to serve it, as the content of a `model.bpk`.
#[derive(Debug)]
pub struct NetFile {
    /// The names of the features, in the order of a row; their number is the width.
    pub features: Vec<String>,
    pub task: Task,
    /// The class labels; empty for regression.
    pub labels: Vec<String>,
    /// What is applied to raw rows before the first layer.
    pub prepare: Option<Prepare>,
    pub layers: Vec<NetLayer>,
    /// What is applied to the output of a regression.
    pub target: Option<TargetScale>,
}

/// A layer of a [`NetFile`].
#[derive(Debug)]
pub enum NetLayer {
    Linear(Dense),
    /// `relu`, `leaky_relu`, `tanh`, `sigmoid`, `gelu`, `silu` or `softmax`.
    Activation(String),
}

impl NetFile {
    /// The bytes of a `model.bpk`; the same net gives the same bytes. Weights are stored as f32.
    ///
    /// # Errors
    /// A [`Fault`] when the net could not be loaded again: shapes do not match, a value is not finite, or an activation
    /// is unknown.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Fault> {
        let (mut layers, mut tensors) = (Vec::new(), Vec::new());
        for (i, layer) in self.layers.iter().enumerate() {
            layers.push(match layer {
                NetLayer::Linear(dense) => {
                    let name = format!("layers.{i}");
                    let Dense { inputs, outputs, weight, bias } = dense;
                    tensors.push(tensor(format!("{name}.weight"), vec![*inputs, *outputs], weight));
                    if !bias.is_empty() {
                        tensors.push(tensor(format!("{name}.bias"), vec![bias.len()], bias));
                    }
                    LayerSpec::Linear(name)
                }
                NetLayer::Activation(name) => match Activation::named(name) {
                    Some(_) => LayerSpec::Activation(name.clone()),
                    None => return Err(Fault::new(format!("layer {i}"), format!("unknown activation {name:?}"))),
                },
            });
        }
        let architecture = Architecture {
            width: self.features.len(),
            features: self.features.clone(),
            task: self.task.into(),
            labels: self.labels.clone(),
            prepare: self.prepare.clone(),
            layers,
            layout: Layout::default(),
            target: self.target,
        };
        let failed = |e: &dyn std::fmt::Display| Fault::new("", e.to_string());
        let json = serde_json::to_string(&architecture).map_err(|e| failed(&e))?;
        let writer = Writer::new(tensors).with_metadata(ARCHITECTURE_KEY, &json);
        let bytes = writer.into_bytes().map_err(|e| failed(&e))?.to_vec();
        super::read(&bytes)?;
        Ok(bytes)
    }
}

fn tensor(name: String, shape: Vec<usize>, values: &[f64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
    Tensor::new(name, PackType::F32, shape, None, Bytes::from_bytes_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model as _, Rows};

    fn net() -> NetFile {
        let dense = |inputs, outputs, weight: &[f64], bias: &[f64]| {
            NetLayer::Linear(Dense { inputs, outputs, weight: weight.to_vec(), bias: bias.to_vec() })
        };
        NetFile {
            features: vec!["a".into(), "b".into()],
            task: Task::Regression,
            labels: Vec::new(),
            prepare: Some(Prepare { fill: Some(vec![3.0, 5.0]), center: vec![1.0, 5.0], scale: vec![2.0, 0.5] }),
            layers: vec![
                dense(2, 2, &[1.0, -1.0, 2.0, 0.0], &[0.0, 0.25]),
                NetLayer::Activation("relu".into()),
                dense(2, 1, &[1.0, 4.0], &[]),
            ],
            target: Some(TargetScale { scale: 100.0, center: 7.0 }),
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let bytes = net().to_bytes().unwrap();
        assert_eq!(bytes, net().to_bytes().unwrap(), "the same net gives the same bytes");
        let plan = super::super::read(&bytes).unwrap();
        assert_eq!(plan.signature().features, ["a", "b"]);
        assert_eq!(plan.ops(), ["Impute", "Scale", "Linear(2x2)", "Relu", "Linear(2x1)"]);
        assert!(plan.accepts_missing());
        // (3, 6) -> (1, 2) -> relu(5, -0.75) -> 5; a missing a is 3
        for a in [3.0, f64::NAN] {
            assert_eq!(plan.predict(Rows::new(2, &[a, 6.0]).unwrap()).unwrap().values, [507.0]);
        }
    }

    #[test]
    fn nothing_is_written_that_could_not_be_loaded() {
        let refused = |change: &dyn Fn(&mut NetFile)| {
            let mut net = net();
            change(&mut net);
            net.to_bytes().unwrap_err().reason
        };
        assert!(refused(&|n| n.prepare.as_mut().unwrap().scale[1] = 0.0).contains("scale holds 0"));
        assert!(refused(&|n| n.prepare.as_mut().unwrap().fill = Some(vec![f64::NAN, 0.0])).contains("null"));
        assert!(refused(&|n| n.prepare.as_mut().unwrap().center = vec![0.0]).contains("1 values for width 2"));
        assert!(refused(&|n| n.target = Some(TargetScale { scale: 0.0, center: 0.0 })).contains("target"));
        assert!(refused(&|n| n.layers[1] = NetLayer::Activation("sin".into())).contains("sin"));
        assert!(refused(&|n| n.features.push("c".into())).contains("2 values, the previous layer gives 3"));
        assert!(refused(&|n| n.task = Task::Classification).contains("target scale"));
    }

    #[test]
    fn a_model_without_fill_refuses_missing_values() {
        let mut net = net();
        net.prepare.as_mut().unwrap().fill = None;
        assert!(!super::super::read(&net.to_bytes().unwrap()).unwrap().accepts_missing());
    }
}
