//! What one version takes: the shape of its rows, its preprocessing artefact, its cache keys.

use std::sync::Arc;

use forebay_contract::{CacheKeyBuilder, Problem};
use forebay_model::{PrepareError, Preprocessing, VersionMeta};

use crate::row::{RowShape, Rules, invalid};

/// One version, compiled once and used for every row that is pinned to it.
#[derive(Debug)]
pub struct Plan {
    pub(crate) model: String,
    pub(crate) version: u32,
    /// `v<N>`
    pub(crate) label: String,
    pub(crate) shape: RowShape,
    pub(crate) keys: CacheKeyBuilder,
    /// Id of the artefact, empty without one.
    pub(crate) preprocessing_id: String,
    names: Vec<String>,
    preprocessing: Option<Arc<Preprocessing>>,
}

impl Plan {
    /// Compiles what the registry says of a version.
    pub fn new(meta: VersionMeta, rules: &Rules) -> Self {
        let preprocessing_id = meta.preprocessing.as_ref().map(|it| it.id().to_owned()).unwrap_or_default();
        Self {
            shape: RowShape::new(&meta.name, meta.signature.features.clone(), meta.accepts_missing, rules),
            keys: CacheKeyBuilder::new(&meta.name, meta.version, &meta.digest, &preprocessing_id),
            label: format!("v{}", meta.version),
            model: meta.name,
            version: meta.version,
            preprocessing_id,
            names: meta.signature.features,
            preprocessing: meta.preprocessing,
        }
    }

    /// The row as the version's model wants it; empty when that is the raw row itself, to the bit.
    ///
    /// # Errors
    /// `invalid_features` when the artefact refuses the row or makes it infinite.
    pub(crate) fn prepared(&self, raw: &[f64]) -> Result<Vec<f64>, Problem> {
        let Some(preprocessing) = &self.preprocessing else { return Ok(Vec::new()) };
        let mut row = Vec::with_capacity(preprocessing.output_width().max(raw.len()));
        preprocessing.prepare(raw, &mut row).map_err(|error| self.refused(&error))?;
        if row.iter().any(|value| value.is_infinite()) {
            return Err(invalid(format!(
                "a feature is too large for the preprocessing of {} {}",
                self.model, self.label
            )));
        }
        let same = row.len() == raw.len() && row.iter().zip(raw).all(|(a, b)| a.to_bits() == b.to_bits());
        Ok(if same { Vec::new() } else { row })
    }

    fn refused(&self, error: &PrepareError) -> Problem {
        match error {
            PrepareError::Infinite { index } => {
                let name = self.names.get(*index).map_or("of the row", String::as_str);
                invalid(format!("feature {name} is not finite"))
            }
            error => invalid(format!("preprocessing of {} {}: {error}", self.model, self.label)),
        }
    }
}
