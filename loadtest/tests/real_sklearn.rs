//! scikit-learn and onnxruntime themselves against the model readers: random models of every class, in every form, and
//! what they predicted. `REAL_PYTHON` is a Python with `sklearn_requirements.txt`; `REAL_CASES` a folder of cases made
//! before; `REAL_SEED` another seed than 1.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use forebay_model::{Label, LoadedVersion, ModelError, Rows, Scores, Task, load_folder};
use forebay_testkit::judge::{self, check_folder};
use serde_json::Value;

/// How near an answer must be to the origin's.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tolerance {
    /// To the bit.
    Exact,
    /// 1e-9, relative and absolute.
    Close,
    /// 2e-6 of the largest answer of the case: sums in f32 lose as much next to zero.
    Onnx { largest: f64 },
    /// 1e-5 of the largest answer of the case: nets in f32.
    Net { largest: f64 },
}

impl Tolerance {
    fn of(case: &Value) -> Self {
        let answers = || case["origin"].as_array().or(case["predict"].as_array()).unwrap();
        let largest = || answers().iter().flat_map(numbers).map(f64::abs).fold(0.1, f64::max);
        match case["tolerance"].as_str().unwrap() {
            "exact" => Self::Exact,
            "close" => Self::Close,
            "onnx" => Self::Onnx { largest: largest() },
            "net" => Self::Net { largest: largest() },
            other => panic!("unknown tolerance {other}"),
        }
    }

    fn holds(self, got: f64, want: f64) -> bool {
        if got.is_nan() || want.is_nan() {
            return got.is_nan() && want.is_nan();
        }
        match self {
            Self::Exact => got.to_bits() == want.to_bits(),
            Self::Close => got == want || (got - want).abs() <= 1e-9 + 1e-9 * want.abs(),
            Self::Onnx { largest } => got == want || (got - want).abs() <= 2e-6 * largest,
            Self::Net { largest } => (got - want).abs() <= 1e-5 * largest,
        }
    }
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

fn matrix(v: &Value) -> Option<Vec<Vec<f64>>> {
    Some(v.as_array()?.iter().map(numbers).collect())
}

/// Makes the cases, or takes those that are there.
fn cases(script: &str) -> (PathBuf, Option<tempfile::TempDir>) {
    if let Some(made) = std::env::var_os("REAL_CASES") {
        return (PathBuf::from(made).join(script), None);
    }
    let python = std::env::var("REAL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let seed = std::env::var("REAL_SEED").unwrap_or_else(|_| "1".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("suites/{script}_cases.py"));
    let mut command = Command::new(python);
    // one thread each: the fits are small, and there may be neighbours
    command.arg(program).arg(folder.path()).arg(seed).env("OMP_NUM_THREADS", "1");
    let status = command.status().unwrap();
    assert!(status.success(), "the cases could not be made: {status}");
    (folder.path().to_owned(), Some(folder))
}

/// What is wrong with one case; empty when nothing is.
fn findings(stem: &Path, expected: &Value) -> Vec<String> {
    let loaded = load_folder(stem);
    if let Some(what) = expected["refused"].as_str() {
        return match loaded {
            Ok(_) => vec!["is loaded".to_owned()],
            Err(fault) if fault.to_string().contains(what) => Vec::new(),
            Err(fault) => vec![format!("is refused, but not for {what:?}: {fault}")],
        };
    }
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(fault) => return vec![format!("does not load: {fault}")],
    };
    let rows = matrix(&expected["rows"]).unwrap();
    let mut out = Vec::new();
    let classifies = expected["task"] == "classification";
    if (loaded.model.signature().task == Task::Classification) != classifies {
        out.push("has another task".to_owned());
    }
    // an ONNX file says it only through a rule for missing values
    let says = matches!(expected["tolerance"].as_str(), Some("exact" | "close"));
    if says && rows.iter().flatten().any(|v| v.is_nan()) && !loaded.accepts_missing {
        out.push("does not say that it accepts missing values".to_owned());
    }
    check(&loaded, &rows, 0, expected, &mut out);
    for (i, row) in rows.iter().enumerate() {
        check(&loaded, std::slice::from_ref(row), i, expected, &mut out);
    }
    out
}

/// Predicts some rows at once, the `first`-th of the case and those after it.
fn check(loaded: &LoadedVersion, rows: &[Vec<f64>], first: usize, expected: &Value, out: &mut Vec<String>) {
    let flat = rows.concat();
    let scores =
        match Rows::new(rows[0].len(), &flat).map_err(ModelError::from).and_then(|rows| loaded.model.predict(rows)) {
            Ok(scores) => scores,
            Err(e) => return out.push(format!("row {first} of {}: {e}", rows.len())),
        };
    let tolerance = Tolerance::of(expected);
    for (i, row) in rows.iter().enumerate() {
        if !same(&scores, i, first + i, expected, tolerance) {
            let (got, predict) = (scores.score(i), &expected["predict"][first + i]);
            let probabilities = &expected["predict_proba"][first + i];
            out.push(format!("{row:?} of {}: got {got:?}, expected {predict} {probabilities}", rows.len()));
        }
    }
}

fn same(scores: &Scores, i: usize, at: usize, expected: &Value, tolerance: Tolerance) -> bool {
    let all = |got: &[f64], want: &[f64]| {
        got.len() == want.len() && got.iter().zip(want).all(|(g, w)| tolerance.holds(*g, *w))
    };
    let probabilities = |key: &str| expected[key].as_array().map(|rows| numbers(&rows[at]));
    if matches!(tolerance, Tolerance::Onnx { .. } | Tolerance::Net { .. }) {
        let got = if scores.probabilities.is_empty() { &scores.values[i..=i] } else { scores.probabilities(i) };
        return ["predict", "origin"].iter().filter_map(|key| probabilities(key)).any(|want| all(got, &want));
    }
    let label = match &expected["predict"][at] {
        Value::Bool(want) => scores.label(i) == Some(&Label::Boolean(*want)),
        Value::String(want) => scores.label(i).and_then(Label::as_text) == Some(want),
        // labels are always the very same class
        want if expected["task"] == "classification" => scores.values[i] == want.as_f64().unwrap(),
        want => tolerance.holds(scores.values[i], want.as_f64().unwrap()),
    };
    label && probabilities("predict_proba").is_none_or(|want| all(scores.probabilities(i), &want))
}

/// Checks every case of a script; tells of all that fail at once.
fn check_all(script: &str, at_least: usize, findings: fn(&Path, &Value) -> Vec<String>) {
    let (folder, _keep) = cases(script);
    check_folder(&folder, at_least, findings);
}

#[test]
fn scikit_learn_models_answer_as_their_origin() {
    check_all("sklearn", 150, findings);
}

#[test]
fn onnx_files_answer_as_onnxruntime() {
    check_all("onnx", 150, findings);
}

#[test]
fn pipelines_answer_as_their_origin() {
    check_all("pipeline", 220, judge::findings);
}
