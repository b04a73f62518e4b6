//! Compares a model folder with what its origin predicts: typed rows, labels, several outputs, probabilities and
//! decisions.

use std::path::Path;
use std::sync::Arc;

use forebay_model::{Label, LoadedVersion, Output, Rows, Scores, TypedRows, Value, load_folder};
use serde_json::Value as Json;

fn value(v: &Json) -> Value {
    match v {
        Json::Null => Value::Missing,
        Json::Bool(b) => Value::Boolean(*b),
        Json::String(s) => Value::Text(Arc::from(s.as_str())),
        v => v.as_i64().map_or_else(|| Value::Float(v.as_f64().unwrap()), Value::Integer),
    }
}

/// The typed values of a row, which is a list or an object.
fn typed(row: &Json, features: &[String]) -> Vec<Value> {
    match row {
        Json::Object(row) => features.iter().map(|name| row.get(name).map_or(Value::Missing, value)).collect(),
        row => row.as_array().unwrap().iter().map(value).collect(),
    }
}

fn close(got: f64, want: &Json) -> bool {
    let Some(want) = want.as_f64() else { return got.is_nan() };
    got == want || (got - want).abs() <= 1e-9 + 1e-9 * want.abs()
}

/// Whether the `output`-th prediction of row `i` is `want`.
fn same_prediction(scores: &Scores, i: usize, output: usize, want: &Json) -> bool {
    match (scores.label_of(i, output), want) {
        (Some(Label::Text(got)), want) => want.as_str() == Some(got),
        (Some(Label::Boolean(got)), Json::Bool(want)) => got == want,
        (Some(got), want) => got.number().is_some_and(|got| Some(got) == want.as_f64()),
        (None, want) => close(scores.row(i)[output], want),
    }
}

/// What is wrong with the scores of some rows, the first of which is row `first` of the case.
fn differences(scores: &Scores, rows: usize, first: usize, expected: &Json) -> Vec<String> {
    let mut out = Vec::new();
    if scores.len() != rows {
        return vec![format!("{} scores for {rows} rows", scores.len())];
    }
    for i in 0..rows {
        let want = &expected["predict"][first + i];
        let wanted = want.as_array().map_or(std::slice::from_ref(want), Vec::as_slice);
        let same = wanted.len() == scores.outputs
            && wanted.iter().enumerate().all(|(output, want)| same_prediction(scores, i, output, want));
        if !same && !is_tie(scores, i, want) {
            let labels: Vec<_> = (0..scores.outputs).map(|o| scores.label_of(i, o)).collect();
            out.push(format!("row {}: {:?} {labels:?}, expected {want}", first + i, scores.row(i)));
        }
        let Some(want) = expected["predict_proba"].as_array().map(|p| p[first + i].as_array().unwrap()) else {
            continue;
        };
        let got = scores.probabilities(i);
        if got.len() != want.len() || !got.iter().zip(want).all(|(got, want)| close(*got, want)) {
            out.push(format!("row {}: probabilities {got:?}, expected {want:?}", first + i));
        }
    }
    out
}

/// Whether the class that was wanted is as probable as the one that was answered, to the last digits.
fn is_tie(scores: &Scores, i: usize, want: &Json) -> bool {
    let (classes, probabilities) = (scores.classes(0), scores.probabilities(i));
    let is_wanted = |label: &Label| match label {
        Label::Text(text) => want.as_str() == Some(text),
        label => label.number().is_some() && label.number() == want.as_f64(),
    };
    let highest = probabilities.iter().copied().fold(0.0, f64::max);
    let wanted = classes.iter().position(is_wanted).and_then(|at| probabilities.get(at));
    scores.outputs == 1 && wanted.is_some_and(|p| highest - p < 1e-12)
}

fn decisions(scores: &Scores, want: &[Json]) -> Vec<String> {
    let mut out = Vec::new();
    for (i, want) in want.iter().enumerate() {
        let (got, want) = (scores.decision(i), want.as_array().unwrap());
        if got.len() != want.len() || !got.iter().zip(want).all(|(got, want)| close(*got, want)) {
            out.push(format!("row {i}: decision_function {got:?}, expected {want:?}"));
        }
    }
    out
}

fn check(loaded: &LoadedVersion, expected: &Json) -> Vec<String> {
    let features = &loaded.signature.features;
    let rows: Vec<Vec<Value>> = expected["rows"].as_array().unwrap().iter().map(|r| typed(r, features)).collect();
    let width = features.len();
    let mut out = Vec::new();
    let predict = |rows: &[Vec<Value>], first: usize, out: &mut Vec<String>| {
        let flat = rows.concat();
        let scores = TypedRows::new(width, &flat).map_err(|e| e.to_string());
        match scores.and_then(|typed| loaded.model.predict_typed(typed).map_err(|e| e.to_string())) {
            Ok(scores) => out.extend(differences(&scores, rows.len(), first, expected)),
            Err(e) => out.push(format!("row {first} of {}: {e}", rows.len())),
        }
        let numbers: Option<Vec<f64>> = flat.iter().map(Value::number).collect();
        if let (Some(numbers), true) = (numbers, loaded.model.columns().is_empty()) {
            let scores = loaded.model.predict(Rows::new(width, &numbers).unwrap()).unwrap();
            out.extend(differences(&scores, rows.len(), first, expected));
        }
    };
    predict(&rows, 0, &mut out);
    if let Some(want) = expected["decision"].as_array() {
        let flat = rows.concat();
        let scores = loaded.model.predict_output(TypedRows::new(width, &flat).unwrap(), Output::DecisionFunction);
        match scores {
            Ok(scores) => out.extend(decisions(&scores, want)),
            Err(e) => out.push(format!("decision_function: {e}")),
        }
    }
    rows.iter().enumerate().for_each(|(i, row)| predict(std::slice::from_ref(row), i, &mut out));
    out
}

/// What is wrong with a folder; empty when nothing is.
pub fn findings(path: &Path, expected: &Json) -> Vec<String> {
    let loaded = load_folder(path);
    if let Some(what) = expected["refused"].as_str() {
        return match loaded {
            Ok(_) => vec!["is loaded".to_owned()],
            Err(fault) if fault.to_string().contains(what) => Vec::new(),
            Err(fault) => vec![format!("is refused, but not for {what:?}: {fault}")],
        };
    }
    match loaded {
        Ok(loaded) => check(&loaded, expected),
        Err(fault) => vec![format!("does not load: {fault}")],
    }
}

/// Checks every case of a folder: `NAME.expected.json` beside the model `NAME`. `findings` tells what is wrong with one.
///
/// # Panics
/// When something is wrong, naming all that fail at once, or when there are fewer than `at_least` cases.
pub fn check_folder(folder: &Path, at_least: usize, findings: fn(&Path, &Json) -> Vec<String>) {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.to_str().unwrap().ends_with(".expected.json"));
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let stem = file.to_str().unwrap().strip_suffix(".expected.json").unwrap();
        let expected: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let found = findings(Path::new(stem), &expected);
        if let Some(first) = found.first() {
            wrong.push(format!("{}: {} findings, first: {first}", expected["case"], found.len()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), files.len(), wrong.join("\n"));
    assert!(files.len() >= at_least, "only {} cases", files.len());
}
