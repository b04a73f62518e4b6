//! Attributes and constants of nodes, checked when they are read.

use super::proto::{AttributeProto, NodeProto, TensorProto, element};

/// A constant tensor, with numbers as f64.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constant {
    pub dims: Vec<usize>,
    pub values: Vec<f64>,
    /// The strings of a tensor of strings, whose `values` are empty.
    pub texts: Vec<String>,
}

impl Constant {
    /// A vector.
    pub(super) fn vector(values: Vec<f64>) -> Self {
        Self { dims: vec![values.len()], values, texts: Vec::new() }
    }

    /// Reads an initializer or attribute. The data must fill the dims and be in the file itself.
    pub(super) fn read(t: &TensorProto) -> Result<Self, String> {
        if t.data_location != 0 {
            return Err(format!("tensor {:?} keeps its data outside the file", t.name));
        }
        let dims: Vec<usize> = t
            .dims
            .iter()
            .map(|d| usize::try_from(*d).map_err(|_| format!("tensor {:?} has a negative size", t.name)))
            .collect::<Result<_, _>>()?;
        let size = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let fill = |n: usize| match size {
            Some(size) if size == n => Ok(()),
            _ => Err(format!("tensor {:?}: {n} values do not fill {dims:?}", t.name)),
        };
        if t.data_type == element::STRING {
            let texts: Vec<String> = t.string_data.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect();
            fill(texts.len())?;
            return Ok(Self { dims, values: Vec::new(), texts });
        }
        let raw = |size: usize, read: fn(&[u8]) -> f64| t.raw_data.chunks_exact(size).map(read).collect::<Vec<f64>>();
        let values: Vec<f64> = match (t.data_type, t.raw_data.is_empty()) {
            (element::FLOAT, true) => t.float_data.iter().map(|v| f64::from(*v)).collect(),
            (element::FLOAT, false) => raw(4, |b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            (element::DOUBLE, true) => t.double_data.clone(),
            (element::DOUBLE, false) => raw(8, |b| f64::from_le_bytes(fixed(b))),
            (element::INT64, true) => t.int64_data.iter().map(|v| *v as f64).collect(),
            (element::INT64, false) => raw(8, |b| i64::from_le_bytes(fixed(b)) as f64),
            (element::INT32 | element::BOOL | element::UINT8, true) => {
                t.int32_data.iter().map(|v| f64::from(*v)).collect()
            }
            (element::INT32, false) => raw(4, |b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            (element::BOOL | element::UINT8, false) => raw(1, |b| f64::from(b[0])),
            (other, _) => return Err(format!("tensor {:?} has element type {other}, not supported", t.name)),
        };
        fill(values.len())?;
        Ok(Self { dims, values, texts: Vec::new() })
    }

    /// The values, if all are finite.
    pub(super) fn finite(&self) -> Result<&[f64], String> {
        if !self.texts.is_empty() {
            return Err("constant is text".to_owned());
        }
        match self.values.iter().find(|v| !v.is_finite()) {
            Some(bad) => Err(format!("constant holds {bad}")),
            None => Ok(&self.values),
        }
    }

    /// The numbers of rows and columns; a vector is one row.
    pub(super) fn matrix(&self) -> Result<(usize, usize), String> {
        match *self.dims.as_slice() {
            _ if self.dims.contains(&0) => Err("constant is empty".to_owned()),
            [] => Ok((1, 1)),
            [columns] => Ok((1, columns)),
            [rows, columns] => Ok((rows, columns)),
            _ => Err(format!("constant has shape {:?}, expected a matrix", self.dims)),
        }
    }
}

fn fixed(b: &[u8]) -> [u8; 8] {
    let mut raw = [0; 8];
    raw.copy_from_slice(&b[..8]);
    raw
}

impl NodeProto {
    /// `domain:Op`, or the name alone in the default domain.
    pub(super) fn kind(&self) -> String {
        if self.domain.is_empty() || self.domain == "ai.onnx" {
            self.op_type.clone()
        } else {
            format!("{}:{}", self.domain, self.op_type)
        }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|a| a.name == name)
    }

    /// Rejects an attribute that is NaN, as every result would be NaN. The marker of an imputer may be NaN: it is only
    /// compared.
    pub(super) fn check_numbers(&self) -> Result<(), String> {
        match self.attribute.iter().find(|a| a.f.is_nan() && a.name != "replaced_value_float") {
            Some(bad) => Err(format!("{} is NaN", bad.name)),
            None => Ok(()),
        }
    }

    /// The numbers of an attribute, which must be finite; empty if it is absent.
    pub(super) fn floats(&self, name: &str) -> Result<Vec<f64>, String> {
        // newer opsets have doubles as tensors
        let values: Vec<f64> = match self.attribute(name) {
            None => Vec::new(),
            Some(AttributeProto { t: Some(t), .. }) => Constant::read(t)?.values,
            Some(a) => a.floats.iter().map(|v| f64::from(*v)).collect(),
        };
        match values.iter().find(|v| !v.is_finite()) {
            Some(bad) => Err(format!("{name} holds {bad}")),
            None => Ok(values),
        }
    }

    /// As [`Self::floats`], or under the name of the f64 variant (`NAME_as_tensor`).
    pub(super) fn floats_or_tensor(&self, name: &str) -> Result<Vec<f64>, String> {
        let plain = self.floats(name)?;
        if plain.is_empty() { self.floats(&format!("{name}_as_tensor")) } else { Ok(plain) }
    }

    pub(super) fn ints(&self, name: &str) -> Vec<i64> {
        self.attribute(name).map(|a| a.ints.clone()).unwrap_or_default()
    }

    pub(super) fn strings(&self, name: &str) -> Vec<String> {
        let text = |s: &Vec<u8>| String::from_utf8_lossy(s).into_owned();
        self.attribute(name).map(|a| a.strings.iter().map(text).collect()).unwrap_or_default()
    }

    pub(super) fn float(&self, name: &str, default: f64) -> f64 {
        self.attribute(name).map_or(default, |a| f64::from(a.f))
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    pub(super) fn string(&self, name: &str, default: &str) -> String {
        self.attribute(name).map_or_else(|| default.to_owned(), |a| String::from_utf8_lossy(&a.s).into_owned())
    }
}
