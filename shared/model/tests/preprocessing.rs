//! A preprocessing artefact beside a model: applied to the raw row before it.
#![cfg(test)]

use std::path::Path;

use forebay_model::{Rows, load_folder};

/// Version 1 of the sample with the StandardScaler of `tests/scaler` before it.
fn with_scaler() -> tempfile::TempDir {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("preprocessing")).unwrap();
    for file in ["MLmodel", "input_example.json", "model.skops"] {
        std::fs::copy(own.join("sample/diabetes-rf-model/1").join(file), folder.path().join(file)).unwrap();
    }
    for file in ["MLmodel", "model.skops"] {
        let to = folder.path().join("preprocessing").join(file);
        std::fs::copy(own.join("tests/scaler").join(file), to).unwrap();
    }
    folder
}

#[test]
fn the_model_sees_prepared_rows() {
    let folder = with_scaler();
    let loaded = load_folder(folder.path()).unwrap();
    let scaler = loaded.preprocessing.clone().unwrap();
    assert_eq!((scaler.width(), scaler.output_width(), scaler.accepts_missing()), (10, 10, false));
    assert_eq!((scaler.ops(), scaler.id().len()), (vec!["Scale".to_owned()], 16));
    let raw = loaded.numeric_example().unwrap().remove(0);
    let mut prepared = Vec::new();
    scaler.prepare(&raw, &mut prepared).unwrap();
    assert!(prepared.iter().zip(&raw).all(|(p, r)| (p / r - 21.0).abs() < 0.1), "scaled by 1 / 0.0476");
    let rows = Rows::new(10, &prepared).unwrap();
    let (direct, whole) =
        (loaded.model.predict(rows).unwrap(), loaded.predict_raw(Rows::new(10, &raw).unwrap()).unwrap());
    assert_eq!(direct.values, whole.values);
}

#[test]
fn rows_that_cannot_be_prepared() {
    let scaler = load_folder(with_scaler().path()).unwrap().preprocessing.unwrap();
    let prepare = |row: &[f64]| scaler.prepare(row, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(prepare(&[0.0; 9]), "row has 9 values, preprocessing takes 10");
    assert_eq!(prepare(&[f64::INFINITY; 10]), "feature 0 is infinite");
    let mut out = Vec::new();
    scaler.prepare(&[f64::NAN; 10], &mut out).unwrap();
    assert!(out.iter().all(|v| v.is_nan()), "a scaler passes missing values on");
}

/// One-hot columns before XGBoost, which takes a zero that a sparse row does not hold for a missing value.
#[test]
fn absent_values_of_sparse_rows_are_missing_to_xgboost() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sparse_preprocessing");
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let rows: Vec<Vec<f64>> = serde_json::from_value(expected["rows"].clone()).unwrap();
    let (sparse, dense): (Vec<f64>, Vec<f64>) =
        serde_json::from_value(serde_json::json!([expected["sparse"], expected["dense"]])).unwrap();
    let loaded = load_folder(&folder).unwrap();
    let scores = loaded.predict_raw(Rows::new(2, &rows.concat()).unwrap()).unwrap();
    assert_eq!(scores.values, sparse);
    assert_ne!(sparse, dense);
    // where the flavor does not say that it is XGBoost, replicas without the model would not know
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("preprocessing")).unwrap();
    for file in ["model.json", "preprocessing/MLmodel", "preprocessing/model.pkl"] {
        std::fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    std::fs::write(copy.path().join("MLmodel"), "flavors: {sklearn: {pickled_model: model.json}}").unwrap();
    let fault = load_folder(copy.path()).unwrap_err().to_string();
    assert!(fault.contains("gives sparse rows"), "{fault}");
}
