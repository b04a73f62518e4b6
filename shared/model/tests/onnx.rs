//! ONNX files against the predictions of onnxruntime or of the original library, which differ by more than that where
//! onnxruntime sums in f32: within 2e-6 of one of the two, for each row alone and for all together.
//!
//! `ONNX_GOLDEN_DIR` at compile time may point to another set of the same layout.
#![cfg(test)]

use std::path::{Path, PathBuf};

use forebay_model::{LoadedVersion, Rows, load_folder};
use serde_json::Value;

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

fn matrix(v: &Value) -> Vec<Vec<f64>> {
    v.as_array().unwrap().iter().map(numbers).collect()
}

/// Loads an ONNX file as MLflow stores it.
fn load(bytes: &[u8]) -> Result<LoadedVersion, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("MLmodel"), "flavors: {onnx: {data: model.onnx}}").unwrap();
    std::fs::write(dir.path().join("model.onnx"), bytes).unwrap();
    load_folder(dir.path()).map_err(|f| f.to_string())
}

fn golden() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx");
    option_env!("ONNX_GOLDEN_DIR").map_or_else(own, PathBuf::from)
}

fn differences(file: &Path) -> Vec<String> {
    let expected: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let model = file.to_str().unwrap().replace(".expected.json", ".onnx");
    let loaded = match load(&std::fs::read(model).unwrap()) {
        Ok(loaded) => loaded,
        Err(fault) => return vec![format!("does not load: {fault}")],
    };
    let (rows, runtime, origin) = (matrix(&expected["x"]), matrix(&expected["y_ort"]), matrix(&expected["y"]));
    let mut out = Vec::new();
    let mut check = |first: usize, rows: &[Vec<f64>]| {
        let flat = rows.concat();
        let scores = loaded.model.predict(Rows::new(rows[0].len(), &flat).unwrap()).unwrap();
        for i in 0..rows.len() {
            let got = if scores.probabilities.is_empty() { &scores.values[i..=i] } else { scores.probabilities(i) };
            let near = |g: &f64, w: &f64| (g - w).abs() <= 2e-6 * w.abs().max(0.1);
            let close = |want: &[f64]| got.len() == want.len() && got.iter().zip(want).all(|(g, w)| near(g, w));
            if !close(&runtime[first + i]) && !close(&origin[first + i]) {
                out.push(format!("row {}: got {got:?}, expected {:?}", first + i, runtime[first + i]));
            }
        }
    };
    check(0, &rows);
    for (i, row) in rows.iter().enumerate() {
        check(i, std::slice::from_ref(row));
    }
    let holes = rows.iter().flatten().any(|v| v.is_nan());
    if loaded.accepts_missing != expected["accepts_missing"].as_bool().unwrap_or(holes) {
        out.push(format!("says {} about accepting missing values", loaded.accepts_missing));
    }
    out
}

#[test]
fn every_file_answers_as_onnxruntime() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(golden()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.to_str().unwrap().ends_with(".expected.json")) {
        cases += 1;
        let found = differences(file);
        if let Some(first) = found.first() {
            wrong.push(format!("{}: {} differences, first: {first}", file.display(), found.len()));
        }
    }
    assert!(cases >= 5, "only {cases} cases found");
    assert!(wrong.is_empty(), "{} of {cases} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn broken_files_fail_cleanly() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut chance = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx");
    for name in ["linreg", "logreg", "mlp", "column_transformer", "gbr", "svr"] {
        let whole = std::fs::read(own.join(format!("{name}.onnx"))).unwrap();
        let mut refused = 0;
        for round in 0..200 {
            let mut bytes = whole.clone();
            if round % 3 == 0 {
                bytes.truncate(chance(whole.len()));
            } else {
                let near = if round % 2 == 0 { whole.len() } else { whole.len().min(500) };
                for _ in 0..1 + chance(4) {
                    let at = chance(near);
                    bytes[at] = chance(256) as u8;
                }
            }
            match load(&bytes) {
                Err(fault) => {
                    assert!(fault.starts_with("model.onnx: "), "{fault}");
                    refused += 1;
                }
                Ok(loaded) => {
                    let row = vec![0.5; loaded.model.signature().width()];
                    let _ = loaded.model.predict(Rows::new(row.len(), &row).unwrap());
                }
            }
        }
        assert!(refused > 40, "{name}: only {refused} refused");
    }
    assert!(load(b"").unwrap_err().contains("no graph"));
    assert!(load(b"PK\x03\x04 nonsense").unwrap_err().contains("not an ONNX file"));
}
