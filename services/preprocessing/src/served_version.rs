//! One version as this stage serves it: the shape of its rows, its preprocessing artefact, its cache keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use forebay_contract::wire::value::Kind;
use forebay_contract::{
    CacheKeyBuilder, ColumnKind as WireKind, ErrorCode, Features, Problem, RowFormat, Value, list_names,
};
use forebay_registry::{
    ColumnKind, Output, Param, PrepareError, Preprocessing, UnknownOutput, VersionMeta, unnamed_features,
};

use crate::row::{NAMES_LISTED, RowRules, RowShape, invalid, quoted};

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
    /// What an answer holds when the request does not say.
    output: Result<Output, UnknownOutput>,
    /// The parameters of the signature, with their defaults.
    params: Vec<Param>,
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
            model: meta.name,
            version: meta.version,
            preprocessing_id,
            output: meta.output,
            params: meta.params,
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
    /// `invalid_request` for a name that is no output; `model_unavailable` for such a name in the version's tag.
    pub(crate) fn output(&self, requested: &str) -> Result<&'static str, Problem> {
        let output = if requested.is_empty() {
            self.output.clone().map_err(|error| {
                let message = format!("{} {}: tag forebay.output: {error}", self.model, self.label);
                Problem::new(ErrorCode::ModelUnavailable, message)
            })?
        } else {
            requested.parse::<Output>().map_err(|UnknownOutput(name)| {
                let message = format!("output: {}", UnknownOutput(excerpt(&name)));
                Problem::new(ErrorCode::InvalidRequest, message)
            })?
        };
        Ok(if output == Output::Predict { "" } else { output.name() })
    }

    /// Checks the parameters of a request. The default of each applies; no model here takes another value.
    ///
    /// # Errors
    /// `invalid_request`, naming a parameter that the signature does not have, or one with another value.
    pub(crate) fn check_params(&self, params: &BTreeMap<String, Value>) -> Result<(), Problem> {
        for (name, value) in params {
            let known = self.params.iter().find(|param| param.name == *name);
            let message = match known {
                Some(param) if is_default(value, &param.default) => continue,
                Some(param) => format!(
                    "params: {} is {} in {} {}, and no other value can be given",
                    quoted(name),
                    param.default,
                    self.model,
                    self.label
                ),
                None => {
                    let names: Vec<&String> = self.params.iter().map(|param| &param.name).collect();
                    let known = match names.is_empty() {
                        true => "none".to_owned(),
                        false => list_names(names.into_iter(), NAMES_LISTED),
                    };
                    format!("params: unknown parameter {}; {} {} has {known}", quoted(name), self.model, self.label)
                }
            };
            return Err(Problem::new(ErrorCode::InvalidRequest, message));
        }
        Ok(())
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

/// Whether a value is the default of its parameter. A number may be written with or without a fraction.
fn is_default(value: &Value, default: &serde_json::Value) -> bool {
    match &value.kind {
        None => default.is_null(),
        Some(Kind::Float(value)) => default.as_f64() == Some(*value),
        Some(Kind::Integer(value)) => default.as_i64() == Some(*value) || default.as_f64() == Some(*value as f64),
        Some(Kind::Boolean(value)) => default.as_bool() == Some(*value),
        Some(Kind::Text(text)) => default.as_str() == Some(text),
    }
}

/// The start of a client's text.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
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

    fn served(meta: VersionMeta) -> ServedVersion {
        let described = DescribedVersion::new(meta, None).unwrap();
        ServedVersion::new(described, &crate::catalog::samples::rules())
    }

    #[test]
    fn the_output_is_the_request_s_then_the_version_s() {
        let tensor = || meta(Inputs::Tensor { width: 1, kind: ColumnKind::Float });
        let plain = served(tensor());
        assert_eq!((plain.output(""), plain.output("predict")), (Ok(""), Ok("")));
        assert_eq!(plain.output("predict_proba"), Ok("predict_proba"));
        let problem = plain.output("probs").unwrap_err();
        assert!(
            problem.code == ErrorCode::InvalidRequest && problem.message.starts_with("output: \"probs\" is not an")
        );
        let tagged = served(VersionMeta { output: Ok(Output::PredictProba), ..tensor() });
        assert_eq!((tagged.output(""), tagged.output("predict")), (Ok("predict_proba"), Ok("")));
        let odd = served(VersionMeta { output: Err(UnknownOutput("x".into())), ..tensor() });
        assert_eq!(odd.output("").unwrap_err().code, ErrorCode::ModelUnavailable);
    }

    #[test]
    fn parameters_are_those_of_the_signature_at_their_defaults() {
        let params = vec![Param { name: "threshold".into(), default: 0.5.into() }];
        let version = served(VersionMeta { params, ..meta(Inputs::Tensor { width: 1, kind: ColumnKind::Float }) });
        let check = |name: &str, value: Value| version.check_params(&BTreeMap::from([(name.to_owned(), value)]));
        assert_eq!(check("threshold", Value::float(0.5)), Ok(()));
        let other = check("threshold", Value::float(0.6)).unwrap_err().message;
        assert_eq!(other, "params: \"threshold\" is 0.5 in m v1, and no other value can be given");
        let unknown = check("top_k", Value::integer(1)).unwrap_err().message;
        assert_eq!(unknown, "params: unknown parameter \"top_k\"; m v1 has threshold");
    }
}
