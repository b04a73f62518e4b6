//! `MLmodel`, the YAML file that describes a model folder: flavor, file, signature, example.

mod column_spec;
mod predict_params;
mod signature;

use serde_yaml_ng::Value;

use crate::{Fault, Output, yaml};

pub use signature::{Inputs, Param};

/// Largest number of columns of a signature.
pub const MAX_WIDTH: usize = 1 << 16;

/// The content of an `MLmodel` file, reduced to what serving needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlModel {
    /// One of [`FLAVORS`], or `unknown`.
    pub flavor: String,
    /// Path of the file that contains the model, relative to the folder.
    pub file: Option<String>,
    /// Serialization format: `skops`, `pickle`, `cloudpickle`, ...
    pub serialization: Option<String>,
    /// The Python class of the model, in the flavors of boosters: `xgboost.sklearn.XGBClassifier`, `CatBoostRegressor`.
    pub class: Option<String>,
    pub inputs: Inputs,
    /// Whether each column has floats of 32 bits; empty when none has, and one value for all of a tensor.
    pub singles: Vec<bool>,
    /// Path of the input example, relative to the folder.
    pub input_example: Option<String>,
    /// The names of several outputs in order; empty when the signature has none.
    pub output_names: Vec<String>,
    /// The parameters of the signature.
    pub params: Vec<Param>,
    /// What the model's `predict_fn` answers.
    pub output: Output,
    /// Why the model cannot be served, whatever its file holds: a column of a type that is not supported, for one.
    pub refused: Option<Fault>,
}

/// The flavors whose models can be loaded.
pub const FLAVORS: [&str; 6] = ["sklearn", "xgboost", "lightgbm", "catboost", "onnx", "burn"];

/// The names of `width` features that have none: `f0`, `f1` and so on.
pub fn unnamed_features(width: usize) -> Vec<String> {
    (0..width).map(|i| format!("f{i}")).collect()
}

impl MlModel {
    /// Parses the file.
    ///
    /// # Errors
    /// A [`Fault`] for a file that is too large, has aliases or is not YAML, or a signature that is not a list of columns.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let yaml = yaml::read("MLmodel", bytes)?;
        let flavors = yaml.get("flavors");
        let of = |name: &str| flavors.and_then(|f| f.get(name));
        let flavor = FLAVORS.into_iter().find(|f| of(f).is_some()).unwrap_or("unknown");
        let text_at = |v: Option<&Value>, key: &str| v.and_then(|v| v.get(key)?.as_str()).map(str::to_owned);
        let key = match flavor {
            "sklearn" => "pickled_model",
            _ => "data",
        };
        let file = text_at(of(flavor), key).or_else(|| text_at(of("python_function"), "model_path"));
        for path in file.iter() {
            inside("MLmodel", path)?;
        }
        let input_example = text_at(yaml.get("saved_input_example_info"), "artifact_path");
        for path in input_example.iter() {
            inside("MLmodel", path)?;
        }
        let signature = |key: &str| text_at(yaml.get("signature"), key);
        let in_signature = |reason: String| Fault::new("MLmodel: signature", reason);
        let mut refused = None;
        let inputs = match signature("inputs") {
            Some(json) => signature::inputs(&json).map_err(in_signature)?.unwrap_or_else(|reason| {
                refused = Some(in_signature(reason));
                Inputs::Unknown
            }),
            None => Inputs::Unknown,
        };
        let singles = signature("inputs").map(|json| signature::singles(&json)).unwrap_or_default();
        let output_names = signature("outputs").map(|json| signature::output_names(&json)).unwrap_or_default();
        let params = signature("params").map_or_else(|| Ok(Vec::new()), |json| signature::params(&json));
        let params = params.map_err(in_signature)?;
        let predict_fn = text_at(of("python_function"), "predict_fn");
        let output = predict_fn.map_or(Ok(Output::Predict), |name| name.parse()).unwrap_or_else(|unknown| {
            refused.get_or_insert(Fault::new("MLmodel", format!("predict_fn: {unknown}")));
            Output::Predict
        });
        if let Some(reason) = code_alone(flavor, flavors) {
            refused.get_or_insert(Fault::new("MLmodel", reason));
        }
        let class = class(flavor, of(flavor), of("python_function").is_some());
        if let Some(reason) = predict_params::refused(flavor, class.as_deref(), &params) {
            refused.get_or_insert(in_signature(reason));
        }
        Ok(Self {
            flavor: flavor.to_owned(),
            file,
            class,
            serialization: text_at(of("sklearn"), "serialization_format"),
            inputs,
            singles,
            input_example,
            output_names,
            params,
            output,
            refused,
        })
    }
}

/// The Python class of a booster.
fn class(flavor: &str, of: Option<&Value>, written_by_mlflow: bool) -> Option<String> {
    let own = |key: &str| of.and_then(|of| of.get(key)?.as_str()).map(str::to_owned);
    match flavor {
        // before there was a class, MLflow saved nothing but a Booster
        "xgboost" => own("model_class").or_else(|| written_by_mlflow.then(|| "xgboost.core.Booster".to_owned())),
        "lightgbm" => own("model_class"),
        "catboost" => own("model_type"),
        _ => None,
    }
}

/// Why a model cannot be read whose flavors are none of those that can: what such a folder holds is used by code.
fn code_alone(flavor: &str, flavors: Option<&Value>) -> Option<String> {
    const NAMED: usize = 8;
    let flavors = flavors.and_then(Value::as_mapping).filter(|flavors| flavor == "unknown" && !flavors.is_empty())?;
    let module = flavors.get("python_function").and_then(|of| of.get("loader_module")?.as_str());
    let read = |module: &str| FLAVORS.iter().any(|flavor| module.strip_prefix("mlflow.") == Some(*flavor));
    let names: Vec<&str> = flavors.keys().filter_map(Value::as_str).filter(|name| *name != "python_function").collect();
    if module.is_some_and(read) || (module.is_none() && names.is_empty()) {
        return None;
    }
    let short = |name: &str| name.chars().take(64).collect::<String>();
    let mut what: Vec<String> = names.iter().take(NAMED).map(|name| short(name)).collect();
    if let Some(module) = module {
        what.push(format!("python_function with loader_module {}", short(module)));
    }
    let what = what.join(", ");
    Some(format!(
        "flavors: {what}: code alone cannot be served without Python; flavors that are read: {}",
        FLAVORS.join(", ")
    ))
}

/// Rejects paths that lead out of the model's folder.
fn inside(place: &str, path: &str) -> Result<(), Fault> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(Fault::new(place, format!("path {path:?} is not inside the model's folder")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, ColumnKind};

    #[test]
    fn a_scikit_learn_folder_as_mlflow_writes_it() {
        let text = r#"
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.skops}
  sklearn: {pickled_model: model.skops, serialization_format: skops, sklearn_version: 1.9.1}
saved_input_example_info: {artifact_path: input_example.json, type: ndarray}
signature:
  inputs: '[{"type":"double","name":"age","required":true},{"type":"double","name":"sex","required":true}]'
"#;
        let m = MlModel::parse(text.as_bytes()).unwrap();
        assert_eq!((m.flavor.as_str(), m.file.as_deref()), ("sklearn", Some("model.skops")));
        let column = |name: &str| Column { name: name.into(), kind: ColumnKind::Float, optional: false };
        assert_eq!(m.inputs, Inputs::Columns(vec![column("age"), column("sex")]));
        assert_eq!((m.output, m.refused), (Output::Predict, None));
        assert_eq!(m.input_example.as_deref(), Some("input_example.json"));
        let tensor =
            r#"signature: {inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 10]}}]'}"#;
        assert_eq!(
            MlModel::parse(tensor.as_bytes()).unwrap().inputs,
            Inputs::Tensor { width: 10, kind: ColumnKind::Float }
        );
    }

    #[test]
    fn what_the_model_answers_is_read() {
        let flavors = |predict_fn: &str| format!("flavors: {{python_function: {{predict_fn: {predict_fn}}}}}");
        assert_eq!(MlModel::parse(flavors("predict_proba").as_bytes()).unwrap().output, Output::PredictProba);
        let refused = MlModel::parse(flavors("apply").as_bytes()).unwrap().refused.unwrap().to_string();
        assert!(refused.contains("predict_fn: \"apply\" is not an output"), "{refused}");
    }

    #[test]
    fn folders_of_code_alone_are_refused_with_that_reason() {
        for (flavors, what) in [
            ("{python_function: {loader_module: my.loader, data: x}}", "python_function with loader_module my.loader"),
            (
                "{python_function: {loader_module: mlflow.pyfunc.model, python_model: m.pkl}}",
                "mlflow.pyfunc.model: code",
            ),
            ("{python_function: {loader_module: mlflow.pytorch, data: data}, pytorch: {}}", "pytorch, python_function"),
            ("{prophet: {data: m.pr}, python_function: {loader_module: mlflow.prophet}}", "prophet, python_function"),
            ("{spark: {model_data: sparkml}}", "flavors: spark: code alone cannot be served without Python"),
        ] {
            let parsed = MlModel::parse(format!("flavors: {flavors}").as_bytes()).unwrap();
            let refused = parsed.refused.map_or_else(String::new, |fault| fault.to_string());
            assert!(refused.contains(what) && refused.contains("without Python"), "{flavors}: {refused}");
        }
        for flavors in [
            "{python_function: {loader_module: my.loader}, sklearn: {pickled_model: m.pkl}}",
            "{python_function: {loader_module: mlflow.sklearn, model_path: m.pkl}}",
            "{python_function: {model_path: m.pkl}}",
            "{}",
        ] {
            assert_eq!(MlModel::parse(format!("flavors: {flavors}").as_bytes()).unwrap().refused, None, "{flavors}");
        }
    }

    #[test]
    fn a_booster_of_a_time_without_classes() {
        let class = |text: &str| MlModel::parse(text.as_bytes()).unwrap().class;
        let python = "python_function: {loader_module: mlflow.xgboost, data: model.xgb}";
        assert_eq!(
            class(&format!("flavors: {{xgboost: {{data: model.xgb}}, {python}}}")).unwrap(),
            "xgboost.core.Booster"
        );
        assert_eq!(class("flavors: {xgboost: {data: m.json}}"), None, "the file decides");
    }

    #[test]
    fn the_signature_of_a_wide_table_is_read() {
        let column = |i: usize| format!(r#"{{"type": "double", "name": "a column''s name, {i}", "required": true}}"#);
        let columns: Vec<String> = (0..5_000).map(column).collect();
        // as PyYAML folds it
        let text = format!("flavors: {{}}\nsignature:\n  inputs: '[{}]'\n  params: null\n", columns.join(",\n    "));
        assert!(text.len() > 300_000);
        let Inputs::Columns(columns) = MlModel::parse(text.as_bytes()).unwrap().inputs else { panic!() };
        assert_eq!((columns.len(), columns[4_999].name.as_str()), (5_000, "a column's name, 4999"));
        let many = format!("signature: {{inputs: '[{}{{}}]'}}", "{},".repeat(MAX_WIDTH));
        assert!(MlModel::parse(many.as_bytes()).is_err());
        let many = format!("signature:\n  inputs: '[{}{{}}]'\n", "{},".repeat(MAX_WIDTH));
        assert!(MlModel::parse(many.as_bytes()).unwrap_err().reason.contains("more than 65536 columns"));
    }

    #[test]
    fn paths_out_of_the_folder_are_refused() {
        for path in ["../secret", "/etc/passwd", "a/../../b", ""] {
            let text = format!("flavors: {{sklearn: {{pickled_model: '{path}'}}}}");
            assert!(MlModel::parse(text.as_bytes()).unwrap_err().reason.contains("inside"), "{path}");
        }
        assert!(MlModel::parse(b"\xff\xfe").is_err());
        assert!(MlModel::parse(b"signature: {inputs: 'x'}").unwrap_err().place.contains("signature"));
    }
}
