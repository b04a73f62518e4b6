//! scikit-learn models against scikit-learn's predictions, bit-identical where the case says so. `golden/mlflow` has
//! folders as MLflow saves them, `golden/classes` one or more small models of every supported class (`golden/make.py`).
//!
//! `GOLDEN_DIR` at compile time may point to another set of the same layout.
#![cfg(test)]

use std::path::{Path, PathBuf};

use forebay_model::{Label, LoadedVersion, Rows, Task, load_folder};
use serde_json::Value;

/// A value of the expected file: numbers, or null for missing.
fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

fn close(got: f64, want: f64, exact: bool) -> bool {
    if exact { got.to_bits() == want.to_bits() } else { (got - want).abs() <= 1e-9 + 1e-9 * want.abs() }
}

/// All `NAME.expected.json` files.
fn cases() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folders = match option_env!("GOLDEN_DIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => vec![own.join("mlflow"), own.join("classes")],
    };
    let files = folders.iter().flat_map(|f| std::fs::read_dir(f).unwrap()).map(|e| e.unwrap().path());
    let mut cases: Vec<_> = files.filter(|f| f.to_str().unwrap().ends_with(".expected.json")).collect();
    cases.sort();
    cases
}

/// The differences of one case; empty if there are none. Every row is predicted alone, and all together.
fn differences(path: &Path, expected: &Value) -> Vec<String> {
    let exact = expected["exact"].as_bool().unwrap();
    let loaded = match load_folder(path) {
        Ok(loaded) => loaded,
        Err(fault) => return vec![format!("does not load: {fault}")],
    };
    let rows: Vec<Vec<f64>> = expected["rows"].as_array().unwrap().iter().map(numbers).collect();
    let width = expected["n_features"].as_u64().unwrap() as usize;
    let mut out = check_batch(&loaded, &rows, 0, expected, exact, width);
    for (i, row) in rows.iter().enumerate() {
        out.extend(check_batch(&loaded, std::slice::from_ref(row), i, expected, exact, width));
    }
    if rows.iter().flatten().any(|v| v.is_nan()) && !loaded.accepts_missing {
        out.push("has rows with missing values but does not say it accepts them".to_owned());
    }
    out
}

fn check_batch(
    loaded: &LoadedVersion,
    rows: &[Vec<f64>],
    first: usize,
    expected: &Value,
    exact: bool,
    width: usize,
) -> Vec<String> {
    let flat: Vec<f64> = rows.concat();
    let scores = loaded.model.predict(Rows::new(width, &flat).unwrap()).unwrap();
    assert_eq!(scores.len(), rows.len());
    let classification = expected["task"] == "classification";
    assert_eq!(loaded.model.signature().task == Task::Classification, classification);
    let mut out = Vec::new();
    for i in 0..rows.len() {
        let want = &expected["predict"][first + i];
        let same = match want {
            Value::Bool(want) => scores.label(i) == Some(&Label::Boolean(*want)),
            Value::String(want) => scores.label(i).and_then(Label::as_text) == Some(want),
            // labels must always be equal
            want => close(scores.values[i], want.as_f64().unwrap(), exact || classification),
        };
        if !same {
            out.push(format!("row {} of batch {}: got {:?}, expected {want}", first + i, rows.len(), scores.score(i)));
        }
        if let Some(proba) = expected["predict_proba"].as_array() {
            let want = numbers(&proba[first + i]);
            let got = scores.probabilities(i);
            if got.len() != want.len() || !got.iter().zip(&want).all(|(g, w)| close(*g, *w, exact)) {
                out.push(format!("row {} of batch {}: got {got:?}, expected {want:?}", first + i, rows.len()));
            }
        }
    }
    out
}

#[test]
fn every_case_answers_as_its_origin() {
    let cases = cases();
    let mut wrong = Vec::new();
    for file in &cases {
        let stem = file.to_str().unwrap().strip_suffix(".expected.json").unwrap();
        let expected: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let found = differences(Path::new(stem), &expected);
        if let Some(first) = found.first() {
            wrong.push(format!("{}: {} differences, first: {first}", expected["case"], found.len()));
        }
    }
    assert!(cases.len() >= 12, "only {} cases found", cases.len());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
