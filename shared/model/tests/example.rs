//! A version is compared with what its origin answered to the input example: every golden model agrees with itself, and
//! none with an answer that is off.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};

use forebay_model::{ExampleError, Registry, Tolerance, load_folder, sample};
use serde_json::{Value, json};

fn golden(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.to_str().unwrap().ends_with(".expected.json")).collect();
    files.sort();
    files
}

/// The model folder of a case with its first rows as the input example and `output` as what its origin answered.
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
        // what is promised to the bit is held to it; what is not may be equal all the same
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
    let told = |version| registry.load(sample::MODEL, version).unwrap().check_example().unwrap().to_string();
    assert_eq!(told(1), "5 rows equal to the bit");
    assert!(told(2).starts_with("5 rows equal, at most ") && told(2).ends_with("2e-6 x (1 + value))"), "{}", told(2));
    assert!(told(3).starts_with("5 rows "), "{}", told(3));
}

#[test]
fn a_broken_expectation_is_told_at_load() {
    let case = golden("classes").remove(0);
    let expected: Value = serde_json::from_slice(&std::fs::read(&case).unwrap()).unwrap();
    let folder = with_example(&case, &expected, &json!([1.0]));
    let told = load_folder(folder.path()).unwrap_err().to_string();
    assert!(told.starts_with("example_output.json: has 1 predictions for "), "{told}");
    let model = if folder.path().join("model.skops").exists() { "model.skops" } else { "model.pkl" };
    std::fs::write(folder.path().join("MLmodel"), format!("flavors: {{sklearn: {{pickled_model: {model}}}}}")).unwrap();
    let told = load_folder(folder.path()).unwrap_err().to_string();
    assert_eq!(told, "example_output.json: MLmodel names no input example that this answers");
}
