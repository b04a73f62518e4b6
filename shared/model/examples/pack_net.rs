//! Packs a net's weights into one burnpack file with its architecture in the metadata.
//!
//! usage: pack_net WEIGHTS.json MODEL.bpk
//!
//! `WEIGHTS.json`: `{"features": [..], "activation": "relu", "layers": [{"weight": [[..]], "bias": [..]}]}`, weights
//! as `[inputs][outputs]`.

use anyhow::{Context, Result, ensure};
use burn::store::burn_pack::{Bytes, DType, Tensor, Writer};
use forebay_model::ARCHITECTURE_KEY;
use serde::Deserialize;

#[derive(Deserialize)]
struct Weights {
    features: Vec<String>,
    activation: String,
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    weight: Vec<Vec<f64>>,
    bias: Vec<f64>,
}

fn tensor(name: String, shape: Vec<usize>, values: impl Iterator<Item = f64>) -> Tensor {
    let bytes: Vec<u8> = values.flat_map(|v| (v as f32).to_le_bytes()).collect();
    Tensor::new(name, DType::F32, shape, None, Bytes::from_bytes_vec(bytes))
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(input), Some(output)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: pack_net WEIGHTS.json MODEL.bpk");
    };
    let text = std::fs::read_to_string(&input).with_context(|| input.clone())?;
    let weights: Weights = serde_json::from_str(&text).with_context(|| input.clone())?;
    let (mut layers, mut tensors) = (Vec::new(), Vec::new());
    for (i, layer) in weights.layers.iter().enumerate() {
        let (inputs, outputs) = (layer.weight.len(), layer.bias.len());
        ensure!(layer.weight.iter().all(|row| row.len() == outputs), "layer {i} is ragged");
        if i > 0 {
            layers.push(serde_json::json!({"activation": weights.activation}));
        }
        let name = format!("layers.{}", layers.len());
        tensors.push(tensor(format!("{name}.weight"), vec![inputs, outputs], layer.weight.iter().flatten().copied()));
        tensors.push(tensor(format!("{name}.bias"), vec![outputs], layer.bias.iter().copied()));
        layers.push(serde_json::json!({"linear": name}));
    }
    let architecture = serde_json::json!({
        "width": weights.features.len(),
        "features": weights.features,
        "task": "regression",
        "layers": layers,
    });
    Writer::new(tensors).with_metadata(ARCHITECTURE_KEY, &architecture.to_string()).write_to_file(&output)?;
    Ok(())
}
