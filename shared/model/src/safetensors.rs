//! `model.safetensors`: weights as PyTorch and burn save them, with the architecture in the file's `__metadata__`.
//!
//! Metadata key `forebay.architecture` holds the same JSON as in a burnpack model (see `burnpack`). PyTorch stores the
//! weight of a linear layer as `[out, in]`, which `"layout": "out_in"` declares. Tensors are f32, f64, f16 or bf16;
//! they are converted to f32.

use burn::tensor::{bf16, f16};
use forebay_artefact::{Allowance, LoadBudget, OverBudget};
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};

use crate::Fault;
use crate::burnpack::{ARCHITECTURE_KEY, Values, compile};
use crate::formats::FACTOR;
use crate::plan::Plan;

/// Bytes of the length of the header, which comes first.
const LENGTH_BYTES: usize = 8;
/// Bytes of a text of the header in memory besides its content, and of another value.
const TEXT_BYTES: usize = 112;
const VALUE_BYTES: usize = 16;

/// Reads a safetensors model.
///
/// # Errors
/// A [`Fault`] when the container is broken, the architecture is missing or wrong, or a tensor is missing, has another
/// shape or is not finite.
pub(crate) fn read(bytes: &[u8], budget: &LoadBudget) -> Result<Plan, Fault> {
    account(bytes, &budget.allowance(bytes.len(), FACTOR)).map_err(|e| Fault::new("header", e))?;
    let broken = |e: safetensors::SafeTensorError| Fault::new("", format!("is not a safetensors file: {e}"));
    let (header_bytes, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let json = header.metadata().as_ref().and_then(|m| m.get(ARCHITECTURE_KEY));
    let json = json.ok_or_else(|| Fault::new("metadata", format!("has no {ARCHITECTURE_KEY}")))?;
    let data = bytes.get(LENGTH_BYTES + header_bytes..).unwrap_or_default();
    compile(json, |name| header.info(name).map(|tensor| values(name, tensor, data)).transpose())
}

/// Accounts for what parsing the header will allocate, from the texts in it.
fn account(bytes: &[u8], allowance: &Allowance) -> Result<(), OverBudget> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(()) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let header = &rest[..length.min(rest.len())];
    let quotes = header.iter().filter(|byte| **byte == b'"').count();
    let commas = header.iter().filter(|byte| **byte == b',').count();
    allowance.spend(quotes / 2 * TEXT_BYTES + commas * VALUE_BYTES + header.len())
}

/// A tensor of the file, whose data lie in `data`.
fn values(name: &str, tensor: &TensorInfo, data: &[u8]) -> Result<Values, Fault> {
    let (start, end) = tensor.data_offsets;
    let data = data.get(start..end).ok_or_else(|| Fault::new(format!("tensor {name}"), "lies outside the file"))?;
    let pair = |c: &[u8]| [c[0], c[1]];
    let numbers = match tensor.dtype {
        Dtype::F32 => data.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect(),
        Dtype::F64 => {
            data.chunks_exact(8).map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])).collect()
        }
        Dtype::F16 => data.chunks_exact(2).map(|c| f16::from_le_bytes(pair(c)).to_f64()).collect(),
        Dtype::BF16 => data.chunks_exact(2).map(|c| bf16::from_le_bytes(pair(c)).to_f64()).collect(),
        other => return Err(Fault::new(format!("tensor {name}"), format!("has type {other:?}, expected a float"))),
    };
    Ok((tensor.shape.clone(), numbers))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::TensorView;

    use super::*;
    use crate::{Model as _, Rows};

    fn read(bytes: &[u8]) -> Result<Plan, Fault> {
        super::read(bytes, &LoadBudget::default())
    }

    /// `relu(x W + b) V`, three inputs, two hidden.
    fn file(architecture: Option<&str>, tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
        let views = tensors.iter().map(|(n, d, s, b)| (*n, TensorView::new(*d, s.clone(), b).unwrap()));
        let metadata = architecture.map(|a| HashMap::from([(ARCHITECTURE_KEY.to_owned(), a.to_owned())]));
        safetensors::serialize(views, metadata).unwrap()
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn json(layout: &str) -> String {
        format!(
            r#"{{"width": 3, "task": "regression", {layout}
                "layers": [{{"linear": "net.0"}}, {{"activation": "relu"}}, {{"linear": "net.2"}}]}}"#
        )
    }

    fn answer(bytes: &[u8]) -> f64 {
        read(bytes).unwrap().predict(Rows::new(3, &[1.0, 2.0, -3.0]).unwrap()).unwrap().values[0]
    }

    #[test]
    fn both_layouts_and_every_float() {
        let bias = ("net.0.bias", Dtype::F32, vec![2], f32s(&[0.5, -100.0]));
        let last =
            |shape| ("net.2.weight", Dtype::F64, shape, [2.0f64, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect());
        // columns of W are (1, 2, 1) and (1, 1, 1)
        let rows = ("net.0.weight", Dtype::F32, vec![3, 2], f32s(&[1.0, 1.0, 2.0, 1.0, 1.0, 1.0]));
        assert_eq!(
            answer(&file(Some(&json("")), &[rows, bias.clone(), last(vec![2, 1])])),
            2.0 * (1.0 + 4.0 - 3.0 + 0.5)
        );
        for (dtype, bytes) in [
            (
                Dtype::F16,
                [1.0f32, 2.0, 1.0, 1.0, 1.0, 1.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            ),
            (
                Dtype::BF16,
                [1.0f32, 2.0, 1.0, 1.0, 1.0, 1.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            ),
        ] {
            let columns = ("net.0.weight", dtype, vec![2, 3], bytes);
            let bytes = file(Some(&json(r#""layout": "out_in","#)), &[columns, bias.clone(), last(vec![1, 2])]);
            assert_eq!(answer(&bytes), 5.0);
        }
    }

    #[test]
    fn files_that_are_not_models_are_refused() {
        let weight = |dtype, bytes| [("net.0.weight", dtype, vec![3, 1], bytes)];
        let one = r#"{"width": 3, "task": "regression", "layers": [{"linear": "net.0"}]}"#;
        for (bytes, what) in [
            (b"nonsense".to_vec(), "not a safetensors"),
            (Vec::new(), "not a safetensors"),
            (0xffff_ffff_ffffu64.to_le_bytes().to_vec(), "not a safetensors"),
            (file(None, &weight(Dtype::F32, f32s(&[1.0; 3]))), "has no forebay.architecture"),
            (file(Some("{"), &[]), "EOF"),
            (file(Some(one), &[]), "no tensor net.0.weight"),
            (file(Some(one), &weight(Dtype::I32, vec![0; 12])), "has type I32"),
            (file(Some(one), &weight(Dtype::F32, f32s(&[1.0, f32::NAN, 0.0]))), "not finite"),
            (file(Some(&json("")), &weight(Dtype::F32, f32s(&[1.0; 3]))), "no tensor net.2.weight"),
        ] {
            let fault = read(&bytes).unwrap_err().to_string();
            assert!(fault.contains(what), "{fault}");
        }
    }
}
