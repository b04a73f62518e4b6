//! Compiles a burnpack file to a plan.

use std::collections::HashSet;

use burn::tensor::DType;
use burn_pack::{Bytes, DType as PackType, Header, Reader, Tensor};

use super::architecture::{ARCHITECTURE_KEY, Architecture, LayerSpec, Layout, TaskName};
use crate::head::Head;
use crate::mlmodel::MAX_WIDTH;
use crate::mlmodel::unnamed_features;
use crate::net::{Activation, Dense, Net, NetBuilder};
use crate::output_transform::{Link, OutputTransform};
use crate::plan::Plan;
use crate::{Fault, Label};

/// The most layers of a net.
const MAX_LAYERS: usize = 1000;
/// The most bytes of metadata: decoded, their smallest entries take about sixteen times as much.
const MAX_METADATA: u32 = 2 << 20;

/// Reads a burnpack model.
///
/// # Errors
/// A [`Fault`] when the container is broken, the architecture is missing or wrong, or a tensor is missing, has another
/// shape or is not finite.
pub(crate) fn read(bytes: &[u8]) -> Result<Plan, Fault> {
    if Header::from_bytes(bytes).is_ok_and(|header| header.metadata_size > MAX_METADATA) {
        return Err(Fault::new("metadata", format!("is larger than {MAX_METADATA} bytes")));
    }
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes.to_vec()))
        .map_err(|e| Fault::new("", format!("is not a burnpack file: {e}")))?;
    let json = reader.metadata().get(ARCHITECTURE_KEY).cloned();
    let json = json.ok_or_else(|| Fault::new("metadata", format!("has no {ARCHITECTURE_KEY}")))?;
    let tensors = reader.into_tensors().map_err(|e| Fault::new("tensors", e.to_string()))?;
    compile(&json, |name| tensors.iter().find(|t| t.name == name).map(read_tensor).transpose())
}

/// The shape and the values of a tensor.
pub(crate) type Values = (Vec<usize>, Vec<f64>);

/// Compiles the JSON of an architecture to a plan. `find` looks up a tensor by name, whatever the container.
///
/// # Errors
/// A [`Fault`] when the architecture is wrong, a tensor is missing, has another shape or is not finite, and those of
/// `find`.
pub(crate) fn compile(json: &str, mut find: impl FnMut(&str) -> Result<Option<Values>, Fault>) -> Result<Plan, Fault> {
    let fault = |reason: String| Fault::new(ARCHITECTURE_KEY, reason);
    let spec: Architecture = serde_json::from_str(json).map_err(|e| fault(e.to_string()))?;
    if spec.width == 0 || spec.width > MAX_WIDTH || spec.layers.len() > MAX_LAYERS {
        return Err(fault(format!("width {} with {} layers", spec.width, spec.layers.len())));
    }
    let net = read_net(&spec, &mut find)?;
    let transform = match (spec.task, spec.target) {
        (TaskName::Regression, None) => OutputTransform::Number,
        (TaskName::Regression, Some(target)) => {
            let target = target.check().map_err(fault)?;
            OutputTransform::Scaled { scale: target.scale, center: target.center }
        }
        (TaskName::Classification, None) => {
            let link = if net.outputs() == 1 { Link::Logit { zero_wins: false } } else { Link::Softmax };
            OutputTransform::Classes { labels: Label::of_texts(&spec.labels).into(), link }
        }
        (TaskName::Classification, Some(_)) => return Err(fault("a classifier has no target scale".to_owned())),
    };
    let features = if spec.features.is_empty() { unnamed_features(spec.width) } else { spec.features };
    if features.len() != spec.width {
        return Err(fault(format!("{} names for width {}", features.len(), spec.width)));
    }
    let steps = spec.prepare.map_or_else(|| Ok(Vec::new()), |p| p.steps(spec.width)).map_err(fault)?;
    Plan::new(features, steps, Head::Net(net), transform, false).map_err(fault)
}

fn read_net(spec: &Architecture, find: &mut impl FnMut(&str) -> Result<Option<Values>, Fault>) -> Result<Net, Fault> {
    let fault = |reason: String| Fault::new(ARCHITECTURE_KEY, reason);
    let mut net = NetBuilder::new(spec.width, DType::F32);
    let mut used = HashSet::new();
    for (i, layer) in spec.layers.iter().enumerate() {
        let place = |reason: String| fault(format!("layer {i}: {reason}"));
        match layer {
            LayerSpec::Activation(name) => {
                net.activation(Activation::named(name).ok_or_else(|| place(format!("unknown activation {name:?}")))?);
            }
            LayerSpec::Linear(name) => {
                // otherwise a small file could describe a huge net
                if !used.insert(name) {
                    return Err(place(format!("uses {name} again")));
                }
                let (shape, weight) =
                    find(&format!("{name}.weight"))?.ok_or_else(|| place(format!("no tensor {name}.weight")))?;
                let [rows, columns] = shape[..] else { return Err(place(format!("weight has shape {shape:?}"))) };
                let (inputs, outputs, weight) = match spec.layout {
                    Layout::InOut => (rows, columns, weight),
                    Layout::OutIn => (columns, rows, transposed(&weight, columns)),
                };
                let bias = find(&format!("{name}.bias"))?.map(|(_, b)| b).unwrap_or_default();
                net.linear(Dense { inputs, outputs, weight, bias }).map_err(place)?;
            }
        }
    }
    net.finish().map_err(fault)
}

/// Transposes a row-major matrix with `columns` columns.
fn transposed(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns)).copied().collect()
}

fn read_tensor(tensor: &Tensor) -> Result<Values, Fault> {
    let fault = |reason: String| Fault::new(format!("tensor {}", tensor.name), reason);
    if tensor.dtype != PackType::F32 {
        return Err(fault(format!("has type {:?}, expected F32", tensor.dtype)));
    }
    let bytes = tensor.to_bytes().map_err(|e| fault(e.to_string()))?;
    let values = bytes.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect();
    Ok((tensor.shape.to_vec(), values))
}
