//! `MLmodel`, the YAML file that describes a model folder: flavor, file, signature, example.

use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::{Fault, yaml};

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
    /// Path of the input example, relative to the folder.
    pub input_example: Option<String>,
}

/// The flavors whose models can be loaded.
pub const FLAVORS: [&str; 6] = ["sklearn", "xgboost", "lightgbm", "catboost", "onnx", "burn"];

/// The names of `width` features that have none: `f0`, `f1` and so on.
pub fn unnamed_features(width: usize) -> Vec<String> {
    (0..width).map(|i| format!("f{i}")).collect()
}

/// The inputs of the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inputs {
    /// The file has no signature.
    Unknown,
    /// A tensor signature: only the width is known.
    Width(usize),
    /// Column names in order.
    Names(Vec<String>),
}

#[derive(Deserialize)]
struct Column {
    name: Option<String>,
    #[serde(rename = "tensor-spec")]
    tensor: Option<TensorSpec>,
}

#[derive(Deserialize)]
struct TensorSpec {
    shape: Vec<i64>,
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
        let inputs = match text_at(yaml.get("signature"), "inputs") {
            Some(json) => parse_inputs(&json).map_err(|r| Fault::new("MLmodel: signature", r))?,
            None => Inputs::Unknown,
        };
        let serialization = text_at(of("sklearn"), "serialization_format");
        let own = |key: &str| text_at(of(flavor), key);
        let class = match flavor {
            "xgboost" | "lightgbm" => own("model_class"),
            "catboost" => own("model_type"),
            _ => None,
        };
        Ok(Self { flavor: flavor.to_owned(), file, serialization, class, inputs, input_example })
    }
}

/// Rejects paths that lead out of the model's folder.
fn inside(place: &str, path: &str) -> Result<(), Fault> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(Fault::new(place, format!("path {path:?} is not inside the model's folder")))
}

fn parse_inputs(json: &str) -> Result<Inputs, String> {
    let columns: Vec<Column> = serde_json::from_str(json).map_err(|e| e.to_string())?;
    if columns.len() > MAX_WIDTH {
        return Err(format!("{} inputs, at most {MAX_WIDTH}", columns.len()));
    }
    if let [Column { tensor: Some(spec), .. }] = columns.as_slice() {
        return match spec.shape.as_slice() {
            [_, width] if *width > 0 => match usize::try_from(*width) {
                Ok(width) if width <= MAX_WIDTH => Ok(Inputs::Width(width)),
                _ => Err(format!("tensor input is {width} wide, at most {MAX_WIDTH}")),
            },
            _ => Ok(Inputs::Unknown),
        };
    }
    let names: Option<Vec<String>> = columns.into_iter().map(|c| c.name).collect();
    match names {
        Some(names) if !names.is_empty() => Ok(Inputs::Names(names)),
        _ => Ok(Inputs::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(m.inputs, Inputs::Names(vec!["age".into(), "sex".into()]));
        assert_eq!(m.input_example.as_deref(), Some("input_example.json"));
        let tensor =
            r#"signature: {inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 10]}}]'}"#;
        assert_eq!(MlModel::parse(tensor.as_bytes()).unwrap().inputs, Inputs::Width(10));
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
