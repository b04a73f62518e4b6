//! Boosters against what XGBoost, LightGBM and CatBoost themselves predict, row by row, alone and in a batch.
//!
//! `golden/boosters` has a small selection of random models; `BOOSTERS_DIR` at compile time names another folder of the same
//! layout: `golden/make_boosters.py FOLDER --seed 7 && BOOSTERS_DIR=FOLDER cargo test -p forebay-model --test boosters`.
#![cfg(test)]

use std::path::{Path, PathBuf};

use forebay_model::{LoadedVersion, Rows, Scores, TypedRows, Value as Cell, load_folder};
use serde_json::Value;

fn cases() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/boosters");
    let folder = option_env!("BOOSTERS_DIR").map_or(own, PathBuf::from);
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let only = option_env!("BOOSTERS_ONLY").unwrap_or_default();
    let mut cases: Vec<_> = files
        .filter(|f| f.to_str().unwrap().ends_with(".expected.json") && f.to_str().unwrap().contains(only))
        .collect();
    cases.sort();
    cases
}

/// A number of the expected file; null is missing, and what JSON cannot spell is text.
fn number(v: &Value) -> f64 {
    match v {
        Value::String(text) => text.parse().unwrap(),
        Value::Bool(b) => f64::from(u8::from(*b)),
        _ => v.as_f64().unwrap_or(f64::NAN),
    }
}

fn close(got: f64, want: f64, within: (f64, f64)) -> bool {
    got == want || (got - want).abs() <= within.0 + within.1 * want.abs() || (got.is_nan() && want.is_nan())
}

/// A typed value of a row.
fn cell(v: &Value) -> Cell {
    match v {
        Value::Null => Cell::Missing,
        Value::Bool(b) => Cell::Boolean(*b),
        Value::String(text) => Cell::Text(text.as_str().into()),
        _ => v.as_i64().map_or_else(|| Cell::Float(v.as_f64().unwrap()), Cell::Integer),
    }
}

fn scores(loaded: &LoadedVersion, rows: &[&Value]) -> Result<Scores, String> {
    let cells = || rows.iter().flat_map(|row| row.as_array().unwrap());
    let width = rows[0].as_array().unwrap().len();
    if loaded.model.columns().is_empty() {
        let flat: Vec<f64> = cells().map(number).collect();
        let rows = Rows::new(width, &flat).map_err(|e| e.to_string())?;
        return loaded.model.predict(rows).map_err(|e| e.to_string());
    }
    let flat: Vec<Cell> = cells().map(cell).collect();
    loaded.model.predict_typed(TypedRows::new(width, &flat).unwrap()).map_err(|e| e.to_string())
}

/// The differences of one case; empty if there are none.
fn differences(folder: &Path, expected: &Value) -> Vec<String> {
    let loaded = match load_folder(folder) {
        Ok(loaded) => loaded,
        Err(fault) => return vec![format!("does not load: {fault}")],
    };
    let rows: Vec<&Value> = expected["rows"].as_array().unwrap().iter().collect();
    let mut out = check(&loaded, &rows, 0, expected);
    for (i, row) in rows.iter().enumerate() {
        out.extend(check(&loaded, &[*row], i, expected));
    }
    out
}

fn check(loaded: &LoadedVersion, rows: &[&Value], first: usize, expected: &Value) -> Vec<String> {
    let within = expected["within"].as_array().map_or((0.0, 0.0), |t| (number(&t[0]), number(&t[1])));
    let scores = match scores(loaded, rows) {
        Ok(scores) => scores,
        Err(error) => return vec![format!("cannot predict: {error}")],
    };
    let mut out = Vec::new();
    for i in 0..rows.len() {
        let want = &expected["predict"][first + i];
        let same = match (want, scores.label(i)) {
            (Value::Array(want), None) => {
                want.len() == scores.outputs
                    && want.iter().zip(scores.row(i)).all(|(w, g)| close(*g, number(w), within))
            }
            (Value::Array(want), Some(_)) => {
                let label = |output| serde_json::to_value(scores.label_of(i, output)).unwrap();
                want.len() == scores.outputs && want.iter().enumerate().all(|(output, w)| label(output) == *w)
            }
            (want, Some(label)) => serde_json::to_value(label).unwrap() == *want,
            (want, None) => scores.outputs == 1 && close(scores.values[i], number(want), within),
        };
        if !same {
            let got = (scores.label(i), scores.row(i));
            out.push(format!("row {} of {}: got {got:?}, expected {want}", first + i, rows.len()));
        }
        if let Some(proba) = expected["predict_proba"].as_array() {
            let want: Vec<f64> = proba[first + i].as_array().unwrap().iter().map(number).collect();
            let got = scores.probabilities(i);
            if got.len() != want.len() || !got.iter().zip(&want).all(|(g, w)| close(*g, *w, within)) {
                out.push(format!("row {} of {}: got {got:?}, expected {want:?}", first + i, rows.len()));
            }
        }
    }
    out
}

#[test]
fn every_booster_answers_as_its_library() {
    let cases = cases();
    let mut wrong = Vec::new();
    for file in &cases {
        let folder = file.to_str().unwrap().strip_suffix(".expected.json").unwrap();
        let expected: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let found = differences(Path::new(folder), &expected);
        if let Some(first) = found.first() {
            let name = Path::new(folder).file_name().unwrap().to_str().unwrap();
            wrong.push(format!("{name}: {} differences, first: {first}", found.len()));
        }
    }
    assert!(!cases.is_empty(), "no cases found");
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
