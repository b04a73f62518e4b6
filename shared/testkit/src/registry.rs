//! A model registry in a folder: the model `diabetes` with versions 1, 2 (Production) and 3, written by scikit-learn.
//!
//! `registry/make.py` makes it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The address of the registry. Tests must not write there; see [`copied`].
pub const URL: &str = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/registry");

/// Rows, and what scikit-learn prepares of them with each version's artefact, as JSON.
pub const GOLDEN: &str = include_str!("../registry/golden.json");

/// The folder of the registry.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("registry")
}

/// A copy of the registry that a test may change.
pub fn copied() -> TempDir {
    let copied = tempfile::tempdir().unwrap();
    copy(&folder().join("diabetes"), &copied.path().join("diabetes"));
    copied
}

/// The address of the registry in `folder`.
pub fn url(folder: &Path) -> String {
    format!("file:{}", folder.display())
}

/// Copies a folder with everything below it.
#[track_caller]
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => _ = std::fs::copy(entry.path(), target).unwrap(),
        }
    }
}
