//! What the tests of the MLflow registry share: small models, options, a folder for the cache.

use std::path::Path;
use std::time::Duration;

use forebay_model::{LoadedVersion, Rows};
use forebay_registry::{Registry, RegistryError, RegistryOptions};

pub(crate) use forebay_model::open as open_model;

pub(crate) use super::server::{Fake, Fault, Version};

pub(crate) const MODEL: &str = "diabetes-rf-model";

pub(crate) type Files = Vec<(&'static str, Vec<u8>)>;

fn golden(name: &str, file: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden/classes").join(name).join(file))
        .unwrap()
}

/// A linear model of four features that is saved as a model folder, by scikit-learn.
pub(crate) fn linear() -> Files {
    vec![
        ("MLmodel", golden("linear", "MLmodel")),
        (file_of("linear"), golden("linear", file_of("linear"))),
        ("conda.yaml", b"dependencies: []".to_vec()),
        ("requirements.txt", b"scikit-learn".to_vec()),
    ]
}

/// Another one.
pub(crate) fn lasso() -> Files {
    vec![("MLmodel", golden("lasso", "MLmodel")), (file_of("lasso"), golden("lasso", file_of("lasso")))]
}

/// The name of its model file.
fn file_of(name: &str) -> &'static str {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden/classes").join(name);
    if folder.join("model.skops").exists() { "model.skops" } else { "model.pkl" }
}

/// What `files` predict for a row, read from a folder.
pub(crate) fn predicted_by(files: &Files) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        std::fs::write(folder.path().join(path), bytes).unwrap();
    }
    predicted(&forebay_model::load_folder(folder.path()).unwrap())
}

pub(crate) fn predicted(version: &LoadedVersion) -> f64 {
    let row: Vec<f64> = (0..version.signature.width()).map(|i| 0.25 + i as f64).collect();
    version.predict_raw(Rows::new(row.len(), &row).unwrap()).unwrap().values[0]
}

pub(crate) fn options(fake: &Fake) -> RegistryOptions {
    RegistryOptions {
        models: Some(vec![MODEL.to_owned()]),
        timeout: Duration::from_secs(5),
        ..RegistryOptions::new(fake.url())
    }
}

pub(crate) fn cached(fake: &Fake, cache: &Path) -> RegistryOptions {
    RegistryOptions { cache_dir: Some(cache.to_owned()), ..options(fake) }
}

pub(crate) fn open(options: &RegistryOptions) -> Registry {
    Registry::open_with(options).unwrap()
}

pub(crate) fn refused(options: &RegistryOptions) -> RegistryError {
    Registry::open_with(options).unwrap_err()
}
