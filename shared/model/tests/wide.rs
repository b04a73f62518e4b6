//! Models of the kinds that people register, in the folders that MLflow writes, against what their origin predicts:
//! pipelines with text and categories, ensembles, several outputs (`golden/wide`; some of them were made by
//! `loadtest/suites/pipeline_cases.py`).
//!
//! `WIDE_DIR` may name another folder of the same layout at run time.
#![cfg(test)]

use std::path::{Path, PathBuf};

use forebay_testkit::judge::{check_folder, findings};

#[test]
fn folders_answer_as_their_origin() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wide");
    let folder = std::env::var_os("WIDE_DIR").map_or(own, PathBuf::from);
    check_folder(&folder, 40, findings);
}
