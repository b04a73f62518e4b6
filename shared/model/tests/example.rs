//! A version is compared with the expected predictions of its input example: every golden model agrees with its own,
//! and none with altered ones.
#![cfg(test)]

use std::path::{Path, PathBuf};

use forebay_model::{ExampleError, Tolerance, load_folder, open};
use forebay_registry::{Registry, sample};
use serde_json::{Value, json};

fn golden(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.to_str().unwrap().ends_with(".expected.json")).collect();
    files.sort();
    files
}

/// The model folder of a case with its first rows as the input example and `output` as the expected predictions.
fn with_example(case: &Path, expected: &Value, output: &Value) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let folder = case.to_str().unwrap().strip_suffix(".expected.json").unwrap().to_owned();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let mlmodel = std::fs::read_to_string(copy.path().join("MLmodel")).unwrap();
    let mut mlmodel: serde_yaml_ng::Value = serde_yaml_ng::from_str(&mlmodel).unwrap();
    let info = serde_yaml_ng::from_str("{artifact_path: input_example.json}").unwrap();
    mlmodel.as_mapping_mut().unwrap().insert("saved_input_example_info".into(), info);
    std::fs::write(copy.path().join("MLmodel"), serde_yaml_ng::to_string(&mlmodel).unwrap()).unwrap();
    let rows: Vec<Value> = expected["rows"].as_array().unwrap().iter().take(20).cloned().collect();
    std::fs::write(copy.path().join("input_example.json"), Value::from(rows).to_string()).unwrap();
    std::fs::write(copy.path().join("example_output.json"), output.to_string()).unwrap();
    copy
}

fn first(values: &Value) -> Vec<Value> {
    values.as_array().unwrap().iter().take(20).cloned().collect()
}

#[test]
fn every_model_agrees_with_its_origin_and_none_with_another() {
    let mut exact = 0;
    for case in [golden("classes"), golden("mlflow")].concat() {
        let expected: Value = serde_json::from_slice(&std::fs::read(&case).unwrap()).unwrap();
        let mut output = json!({ "predictions": first(&expected["predict"]) });
        if expected["predict_proba"].is_array() {
            output["probabilities"] = first(&expected["predict_proba"]).into();
        }
        let folder = with_example(&case, &expected, &output);
        let loaded = load_folder(folder.path()).unwrap();
        let check = loaded.check_example().unwrap_or_else(|error| panic!("{}: {error}", expected["case"]));
        let parity = check.parity.unwrap();
        assert_eq!(check.rows, output["predictions"].as_array().unwrap().len());
        // an exact tolerance rejects any difference; another one may also meet equal predictions
        assert!(parity.tolerance == Tolerance::Exact || expected["exact"] == false, "{}", expected["case"]);
        exact += usize::from(parity.tolerance == Tolerance::Exact);

        let last = check.rows - 1;
        output["predictions"][last] = match &output["predictions"][last] {
            Value::Number(number) => json!(number.as_f64().unwrap() * 1.0001 + 0.001),
            Value::Bool(truth) => json!(!truth),
            _ => json!("another label"),
        };
        let folder = with_example(&case, &expected, &output);
        let error = load_folder(folder.path()).unwrap().check_example().unwrap_err();
        assert!(matches!(error, ExampleError::Differs { row, .. } if row == last), "{}: {error}", expected["case"]);
    }
    assert!(exact > 20, "{exact}");
}

#[test]
fn the_sample_agrees_with_its_origins() {
    let registry = Registry::open("sample").unwrap();
    let message = |version| registry.load(sample::MODEL, version, open).unwrap().check_example().unwrap().to_string();
    assert_eq!(message(1), "5 rows equal to the bit");
    assert!(
        message(2).starts_with("5 rows equal, at most ") && message(2).ends_with("2e-6 x (1 + value))"),
        "{}",
        message(2)
    );
    assert!(message(3).starts_with("5 rows "), "{}", message(3));
}

#[test]
fn a_broken_expectation_is_reported_at_load() {
    let case = golden("classes").remove(0);
    let expected: Value = serde_json::from_slice(&std::fs::read(&case).unwrap()).unwrap();
    let folder = with_example(&case, &expected, &json!([1.0]));
    let message = load_folder(folder.path()).unwrap_err().to_string();
    assert!(message.starts_with("example_output.json: has 1 predictions for "), "{message}");
    let model = if folder.path().join("model.skops").exists() { "model.skops" } else { "model.pkl" };
    std::fs::write(folder.path().join("MLmodel"), format!("flavors: {{sklearn: {{pickled_model: {model}}}}}")).unwrap();
    let message = load_folder(folder.path()).unwrap_err().to_string();
    assert_eq!(message, "example_output.json: MLmodel names no input example that this answers");
}
