//! One version as this stage serves it: the shape of its rows, its preprocessing artefact, its cache keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use forebay_contract::{CacheKeyBuilder, ColumnKind as WireKind, Features, Problem, RowFormat, Value};
use forebay_registry::{ColumnKind, Output, PrepareError, Preprocessing, VersionMeta, unnamed_features};

use crate::answer_rules::AnswerRules;
use crate::row::{RowRules, RowShape, invalid};

/// What is known of a version: the files beside its model, and what prediction reports once it has loaded it.
#[derive(Debug, Clone)]
pub struct DescribedVersion {
    /// What the files beside the model say.
    pub meta: VersionMeta,
    /// Names of the values of a raw row in order.
    pub features: Vec<String>,
    /// Kinds of the values; empty when all are floats.
    pub kinds: Vec<ColumnKind>,
    /// Which values may be missing even if `accepts_missing` is not true; empty when none.
    pub optional: Vec<bool>,
    /// Whether a raw row may have missing values; `None` while only the model could say, and no replica has loaded it.
    pub accepts_missing: Option<bool>,
}

impl DescribedVersion {
    /// Completes `meta` by what a prediction replica reports. `None` while the features are unknown: there is no
    /// signature, and no replica has loaded the version.
    pub(crate) fn new(meta: VersionMeta, reported: Option<&RowFormat>) -> Option<Self> {
        let features = match (meta.inputs.names(), reported) {
            (Some(names), _) => names,
            (None, Some(reported)) => reported.features.clone(),
            // a tensor has no names; a model that was fitted with names reports them
            (None, None) => unnamed_features(meta.inputs.width()?),
        };
        let reported_kinds = || reported.map(|reported| reported.kinds().map(kind).collect()).unwrap_or_default();
        let kinds = meta.inputs.kinds().unwrap_or_else(reported_kinds);
        let optional = reported.map(|reported| reported.optional.clone()).unwrap_or_default();
        let accepts_missing = match &meta.preprocessing {
            Some(artefact) if artefact.admits_missing(true) == artefact.admits_missing(false) => {
                Some(artefact.admits_missing(true))
            }
            _ => reported.map(|reported| reported.accepts_missing),
        };
        Some(Self { meta, features, kinds, optional, accepts_missing })
    }
}

/// The kind of a column as a replica reports it.
fn kind(reported: WireKind) -> ColumnKind {
    match reported {
        WireKind::Float => ColumnKind::Float,
        WireKind::Integer => ColumnKind::Integer,
        WireKind::Boolean => ColumnKind::Boolean,
        WireKind::Text => ColumnKind::Text,
    }
}

/// One version, compiled once and used for every row that is pinned to it.
#[derive(Debug)]
pub struct ServedVersion {
    pub(crate) model: String,
    pub(crate) version: u32,
    /// `v<N>`
    pub(crate) label: String,
    pub(crate) shape: RowShape,
    pub(crate) keys: CacheKeyBuilder,
    /// First 16 bytes of the content digest in `keys`, shared by the rows.
    pub(crate) digest: Bytes,
    /// Identifies the preprocessing artefact; empty without one.
    pub(crate) preprocessing_id: String,
    /// What answers hold.
    answers: AnswerRules,
    names: Vec<String>,
    preprocessing: Option<Arc<Preprocessing>>,
}

impl ServedVersion {
    /// Compiles what is known of a version. While it is unknown whether missing values are accepted they are passed on:
    /// prediction checks them again, and a row that could have been answered must not be refused.
    pub fn new(described: DescribedVersion, rules: &RowRules) -> Self {
        let DescribedVersion { meta, features, kinds, optional, accepts_missing } = described;
        let preprocessing_id = meta.preprocessing.as_ref().map(|it| it.id().to_owned()).unwrap_or_default();
        Self {
            shape: RowShape::new(&meta.name, features.clone(), accepts_missing.unwrap_or(true), rules)
                .with_columns(kinds, optional),
            keys: CacheKeyBuilder::new(&meta.name, meta.version, &meta.digest, &preprocessing_id),
            digest: Features::digest_of(&meta.digest),
            label: format!("v{}", meta.version),
            answers: AnswerRules::new(&meta.name, meta.version, meta.output, meta.params),
            model: meta.name,
            version: meta.version,
            preprocessing_id,
            names: features,
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

    /// What the answer to a request that names `requested`, or nothing, holds; empty for `predict`.
    ///
    /// # Errors
    /// As [`AnswerRules::output`].
    pub(crate) fn output(&self, requested: &str) -> Result<&'static str, Problem> {
        let output = self.answers.output(requested)?;
        Ok(if output == Output::Predict { "" } else { output.name() })
    }

    /// Checks the parameters of a request.
    ///
    /// # Errors
    /// As [`AnswerRules::check_params`].
    pub(crate) fn check_params(&self, params: &BTreeMap<String, Value>) -> Result<(), Problem> {
        self.answers.check_params(params)
    }

    fn refused(&self, error: &PrepareError) -> Problem {
        match error {
            PrepareError::Infinite { index } => {
                let name = self.names.get(*index).map_or("of the row", String::as_str);
                invalid(format!("feature {name} is not finite"))
            }
            error => {
                let reason = error.describe(&self.names);
                invalid(format!("preprocessing of {} {}: {reason}", self.model, self.label))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_registry::Inputs;

    fn meta(inputs: Inputs) -> VersionMeta {
        VersionMeta {
            name: "m".into(),
            version: 1,
            stage: None,
            flavor: "sklearn".into(),
            digest: [1; 32],
            inputs,
            preprocessing: None,
            output: Ok(Output::Predict),
            params: Vec::new(),
        }
    }

    #[test]
    fn a_tensor_signature_needs_no_report_and_no_signature_needs_one() {
        let tensor = DescribedVersion::new(meta(Inputs::Tensor { width: 2, kind: ColumnKind::Float }), None).unwrap();
        assert_eq!((tensor.features, tensor.accepts_missing), (vec!["f0".to_owned(), "f1".to_owned()], None));
        assert!(DescribedVersion::new(meta(Inputs::Unknown), None).is_none());
        let reported = RowFormat { features: vec!["age".into()], accepts_missing: true, ..RowFormat::default() };
        for inputs in [Inputs::Tensor { width: 1, kind: ColumnKind::Float }, Inputs::Unknown] {
            let described = DescribedVersion::new(meta(inputs), Some(&reported)).unwrap();
            assert_eq!((described.features, described.accepts_missing), (vec!["age".to_owned()], Some(true)));
        }
    }

    #[test]
    fn kinds_come_from_the_signature_and_then_from_the_model() {
        let reported = RowFormat {
            features: vec!["age".into()],
            kinds: vec![WireKind::Text.into()],
            optional: vec![true],
            ..RowFormat::default()
        };
        let described = |inputs| DescribedVersion::new(meta(inputs), Some(&reported)).unwrap();
        assert_eq!(described(Inputs::Unknown).kinds, [ColumnKind::Text]);
        let tensor = described(Inputs::Tensor { width: 1, kind: ColumnKind::Integer });
        assert_eq!((tensor.kinds, tensor.optional), (vec![ColumnKind::Integer], vec![true]));
    }
}
