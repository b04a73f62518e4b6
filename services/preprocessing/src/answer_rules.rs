//! What a request may say of the answers of a version, and what they hold when it says nothing.

use std::collections::BTreeMap;

use forebay_contract::wire::value::Kind;
use forebay_contract::{ErrorCode, Problem, Value, list_names};
use forebay_registry::{Output, Param, UnknownOutput};

use crate::row::{NAMES_LISTED, quoted};

/// The output of one version and the parameters of its signature. Requests and rows of a file are read by the same rules.
#[derive(Debug, Clone)]
pub struct AnswerRules {
    model: String,
    version: u32,
    /// What an answer holds when the request does not say.
    output: Result<Output, UnknownOutput>,
    params: Vec<Param>,
}

impl AnswerRules {
    /// Rules of a version whose answers hold `output` unless a request says otherwise, as [`Output::of_tag`] finds it, and
    /// whose signature has `params`.
    pub fn new(model: &str, version: u32, output: Result<Output, UnknownOutput>, params: Vec<Param>) -> Self {
        Self { model: model.to_owned(), version, output, params }
    }

    /// What the answer to a request that names `requested`, or nothing, holds.
    ///
    /// # Errors
    /// `invalid_request` for a name that is no output; `model_unavailable` for such a name in the version's tag.
    pub fn output(&self, requested: &str) -> Result<Output, Problem> {
        if requested.is_empty() {
            return self.output.clone().map_err(|error| {
                let message = format!("{} v{}: tag forebay.output: {error}", self.model, self.version);
                Problem::new(ErrorCode::ModelUnavailable, message)
            });
        }
        requested.parse::<Output>().map_err(|UnknownOutput(name)| {
            let message = format!("output: {}", UnknownOutput(excerpt(&name)));
            Problem::new(ErrorCode::InvalidRequest, message)
        })
    }

    /// Checks the parameters of a request. The default of each applies; no model here takes another value.
    ///
    /// # Errors
    /// `invalid_request`, naming a parameter that the signature does not have, or one with another value.
    pub fn check_params(&self, params: &BTreeMap<String, Value>) -> Result<(), Problem> {
        let version = format_args!("{} v{}", self.model, self.version);
        for (name, value) in params {
            let known = self.params.iter().find(|param| param.name == *name);
            let message = match known {
                Some(param) if is_default(value, &param.default) => continue,
                Some(param) => format!(
                    "params: {} is {} in {version}, and no other value can be given",
                    quoted(name),
                    param.default
                ),
                None => {
                    let names: Vec<&String> = self.params.iter().map(|param| &param.name).collect();
                    let known = match names.is_empty() {
                        true => "none".to_owned(),
                        false => list_names(names.into_iter(), NAMES_LISTED),
                    };
                    format!("params: unknown parameter {}; {version} has {known}", quoted(name))
                }
            };
            return Err(Problem::new(ErrorCode::InvalidRequest, message));
        }
        Ok(())
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

    fn rules(output: Result<Output, UnknownOutput>, params: Vec<Param>) -> AnswerRules {
        AnswerRules::new("m", 1, output, params)
    }

    #[test]
    fn the_output_is_the_request_s_then_the_version_s() {
        let plain = rules(Ok(Output::Predict), Vec::new());
        assert_eq!((plain.output(""), plain.output("predict")), (Ok(Output::Predict), Ok(Output::Predict)));
        assert_eq!(plain.output("predict_proba"), Ok(Output::PredictProba));
        let problem = plain.output("probs").unwrap_err();
        assert!(
            problem.code == ErrorCode::InvalidRequest && problem.message.starts_with("output: \"probs\" is not an")
        );
        let tagged = rules(Ok(Output::PredictProba), Vec::new());
        assert_eq!((tagged.output(""), tagged.output("predict")), (Ok(Output::PredictProba), Ok(Output::Predict)));
        let odd = rules(Err(UnknownOutput("x".into())), Vec::new()).output("").unwrap_err();
        assert_eq!(odd.code, ErrorCode::ModelUnavailable);
        assert!(odd.message.starts_with("m v1: tag forebay.output: \"x\" is not an output"), "{odd}");
    }

    #[test]
    fn parameters_are_those_of_the_signature_at_their_defaults() {
        let params = vec![Param { name: "threshold".into(), default: 0.5.into() }];
        let version = rules(Ok(Output::Predict), params);
        let check = |name: &str, value: Value| version.check_params(&BTreeMap::from([(name.to_owned(), value)]));
        assert_eq!(check("threshold", Value::float(0.5)), Ok(()));
        let other = check("threshold", Value::float(0.6)).unwrap_err().message;
        assert_eq!(other, "params: \"threshold\" is 0.5 in m v1, and no other value can be given");
        let unknown = check("top_k", Value::integer(1)).unwrap_err().message;
        assert_eq!(unknown, "params: unknown parameter \"top_k\"; m v1 has threshold");
    }
}
