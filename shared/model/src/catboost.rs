//! CatBoost models (`.cbm`, JSON): splits on f32, sums in f64, as CatBoost computes them.

mod binary;
mod city;
mod classes;
mod ctr;
mod flat;
mod json;
mod parts;
mod splits;
mod trees;

use std::sync::Arc;

use forebay_artefact::Allowance;

use self::classes::Finish;
use self::parts::Parts;
use self::splits::Splits;
use self::trees::Forest;
use crate::booster::{Booster, Coder, Coding, Compiled};
use crate::document::Value;
use crate::head::Head;
use crate::mlmodel::{MAX_WIDTH, unnamed_features};
use crate::{Fault, Rows};

/// The most outputs of a model.
const MAX_OUTPUTS: usize = 1 << 16;
/// The most levels of a symmetric tree, as in CatBoost.
const MAX_DEPTH: usize = 16;
/// Bytes that a model takes for each byte of a binary file.
const BYTES_RATIO: usize = 2;
/// The number of rows that are predicted together.
const LANES: usize = 32;

/// A model: bytes of splits, leaves of trees, scale and bias.
#[derive(Debug)]
struct Catboost {
    width: usize,
    dimension: usize,
    splits: Splits,
    forest: Forest,
    scale: f64,
    bias: Vec<f64>,
    finish: Finish,
    loss: String,
    coder: Option<Coder>,
}

/// Whether a file is a binary model of CatBoost.
pub(crate) fn owns(bytes: &[u8]) -> bool {
    bytes.starts_with(binary::MAGIC)
}

/// Whether a document is a model of CatBoost.
pub(crate) fn owns_document(document: &Value<'_>) -> bool {
    document.get("features_info").is_some()
}

/// Compiles a `.cbm` file. `class` is the Python class that it was saved from.
///
/// # Errors
/// A [`Fault`] that says what is wrong.
pub(crate) fn compile(bytes: &[u8], class: Option<&str>, allowance: &Allowance) -> Result<Compiled, Fault> {
    allowance.spend(bytes.len().saturating_mul(BYTES_RATIO)).map_err(|e| Fault::new("", e))?;
    binary::read(bytes, allowance).and_then(|parts| assemble(parts, class)).map_err(|e| Fault::new("", e))
}

/// As [`compile`], for a document.
pub(crate) fn compile_document(
    document: &Value<'_>,
    class: Option<&str>,
    allowance: &Allowance,
) -> Result<Compiled, Fault> {
    json::read(document, allowance).and_then(|parts| assemble(parts, class)).map_err(|e| Fault::new("", e))
}

fn assemble(mut parts: Parts, class: Option<&str>) -> Result<Compiled, String> {
    let columns =
        parts.floats.iter().map(|f| (f.column, &f.name)).chain(parts.cats.iter().map(|c| (c.column, &c.name)));
    let width = columns.clone().map(|(column, _)| column.saturating_add(1)).max().unwrap_or(0);
    if width == 0 || width > MAX_WIDTH || parts.dimension == 0 || parts.dimension > MAX_OUTPUTS {
        return Err(format!("takes {width} values and gives {}", parts.dimension));
    }
    let mut features = unnamed_features(width);
    columns.filter(|(_, name)| !name.is_empty()).for_each(|(column, name)| features[column].clone_from(name));
    if parts.bias.is_empty() {
        parts.bias = vec![0.0; parts.dimension];
    }
    if parts.bias.len() != parts.dimension || parts.bias.iter().chain([&parts.scale]).any(|v| !v.is_finite()) {
        return Err(format!("scale or bias of {} outputs is not finite or not there", parts.dimension));
    }
    let (finish, transform) = parts.info.transform(parts.dimension, class)?;
    let mut codings: Vec<Coding> = features.iter().map(|_| Coding::Number).collect();
    parts.cats.iter().for_each(|cat| codings[cat.column] = Coding::Hash(city::category));
    let coder = Coder::of(codings);
    let splits = Splits::of(&mut parts)?;
    let forest = Forest::of(&mut parts, splits.count())?;
    let Parts { dimension, scale, bias, info, .. } = parts;
    let model = Catboost { width, dimension, splits, forest, scale, bias, finish, loss: info.loss, coder };
    Ok(Compiled { features, head: Head::Booster(Arc::new(model)), transform })
}

impl Catboost {
    /// Sums the leaves of up to `L` rows at a time.
    fn sum<const L: usize>(&self, rows: &[f64], sums: &mut [f64]) {
        let mut holds = vec![[0u8; L]; self.splits.count()];
        for (rows, sums) in rows.chunks(L * self.width).zip(sums.chunks_mut(L * self.dimension)) {
            self.splits.fill(rows, self.width, &mut holds);
            self.forest.sum(&holds, sums);
        }
    }
}

impl Booster for Catboost {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.finish.outputs(self.dimension)
    }

    fn predict(&self, rows: Rows<'_>) -> Vec<f64> {
        let mut sums = vec![0.0; rows.len() * self.dimension];
        // few rows do not fill the lanes
        if rows.len() < LANES / 4 {
            self.sum::<1>(rows.values(), &mut sums)
        } else {
            self.sum::<LANES>(rows.values(), &mut sums)
        }
        for row in sums.chunks_exact_mut(self.dimension) {
            row.iter_mut().zip(&self.bias).for_each(|(sum, bias)| *sum = *sum * self.scale + bias);
        }
        self.finish.apply(sums)
    }

    fn coder(&self) -> Option<&Coder> {
        self.coder.as_ref()
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn name(&self) -> String {
        format!("CatBoost({}, {}, {} splits)", self.loss, self.forest.name(), self.splits.count())
    }
}
