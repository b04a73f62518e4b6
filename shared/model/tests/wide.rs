//! Models of the kinds that people register, in the folders that MLflow writes, against what their origin predicts:
//! pipelines with text and categories, ensembles, several outputs (`golden/wide`; some of them were made by
//! `loadtest/suites/pipeline_cases.py`).
//!
//! `WIDE_DIR` may name another folder of the same layout at run time.
#![cfg(test)]

mod judge;

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

#[test]
fn folders_answer_as_their_origin() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wide");
    let folder = std::env::var_os("WIDE_DIR").map_or(own, PathBuf::from);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.to_str().unwrap().ends_with(".expected.json"));
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let stem = file.to_str().unwrap().strip_suffix(".expected.json").unwrap();
        let expected: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let found = judge::findings(Path::new(stem), &expected);
        if let Some(first) = found.first() {
            wrong.push(format!("{}: {} findings, first: {first}", expected["case"], found.len()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), files.len(), wrong.join("\n"));
    assert!(files.len() >= 40, "only {} cases", files.len());
}
