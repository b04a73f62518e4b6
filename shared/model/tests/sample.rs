//! The embedded sample registry, and the same files as a folder registry.
#![cfg(test)]

use std::path::Path;

use forebay_model::{LoadedVersion, Rows};
use forebay_registry::{Registry, RegistryError, sample};
use serde_json::Value;

fn load(registry: &Registry, name: &str, version: u32) -> Result<LoadedVersion, RegistryError> {
    registry.load(name, version, forebay_model::open)
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn every_version_answers_as_its_origin() {
    let registry = Registry::open("sample").unwrap();
    let expected = include_str!("../sample/diabetes-rf-model/expected.json");
    let expected: Value = serde_json::from_str(expected).unwrap();
    let rows: Vec<f64> = expected["rows"].as_array().unwrap().iter().flat_map(numbers).collect();
    for (version, case) in expected["versions"].as_object().unwrap() {
        let loaded = load(&registry, sample::MODEL, version.parse().unwrap()).unwrap();
        let scores = loaded.predict_raw(Rows::new(10, &rows).unwrap()).unwrap();
        for (got, want) in scores.values.iter().zip(numbers(&case["predict"])) {
            if case["exact"] == true {
                assert_eq!(got.to_bits(), want.to_bits(), "version {version}: {got} {want}");
            } else {
                // the others run in f32
                assert!((got - want).abs() < 1e-5 * want.abs(), "version {version}: {got} {want}");
            }
        }
    }
}

#[test]
fn the_sample_row_and_the_examples() {
    let registry = Registry::open("sample").unwrap();
    let view = registry.model(sample::MODEL).unwrap();
    assert_eq!(view.resolve(None).unwrap().version, 3);
    assert_eq!(view.versions.iter().map(|v| v.flavor.as_str()).collect::<Vec<_>>(), ["sklearn", "onnx", "burn"]);
    for (version, answer, within) in
        [(1, sample::ROW_ANSWER_V1, 0.0), (2, sample::ROW_ANSWER_V2, 1e-4), (3, sample::ROW_ANSWER_V3, 1e-4)]
    {
        let loaded = load(&registry, sample::MODEL, version).unwrap();
        assert_eq!(loaded.signature.features, sample::FEATURES);
        let example = loaded.numeric_example().unwrap();
        assert_eq!(example[0], sample::ROW);
        let got = loaded.predict_raw(Rows::new(10, &sample::ROW).unwrap()).unwrap().values[0];
        assert!((got - answer).abs() <= within, "version {version}: {got}");
        assert_eq!(loaded.digest, view.version(version).unwrap().digest);
        let meta = registry.describe(sample::MODEL, version).unwrap();
        assert_eq!((meta.digest, loaded.accepts_missing), (loaded.digest, version == 1));
        assert!(meta.preprocessing.is_none());
    }
    let net = load(&registry, sample::MODEL, 3).unwrap();
    assert_eq!(net.model.ops(), ["Scale", "Linear(10x64)", "Relu", "Linear(64x64)", "Relu", "Linear(64x1)"]);
}

#[test]
fn locations_that_are_no_registry() {
    for location in ["file:no/such/folder", "ftp://models", "elsewhere", ""] {
        let e = Registry::open(location).unwrap_err();
        assert!(matches!(e, RegistryError::Location { .. }), "{location}: {e}");
    }
    let registry = Registry::open("sample").unwrap();
    assert!(matches!(load(&registry, "nope", 1), Err(RegistryError::UnknownModel { .. })));
    assert!(matches!(load(&registry, sample::MODEL, 9), Err(RegistryError::UnknownVersion { .. })));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

#[test]
fn a_folder_registry_notices_changes_and_keeps_what_was_good() {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/diabetes-rf-model"), &dir.path().join("m"));
    let registry = Registry::open(&format!("file:{}", dir.path().display())).unwrap();
    let before = registry.model("m").unwrap();
    let sample = Registry::open("sample").unwrap().model(sample::MODEL).unwrap();
    assert_eq!(before.versions, sample.versions, "the same files have the same digests wherever they are");

    let yaml = dir.path().join("m/registered_model.yaml");
    std::fs::write(&yaml, "aliases: {champion: 1}\nstages: {1: Production}\n").unwrap();
    assert_eq!(registry.model("m").unwrap(), before, "nothing changes without a refresh");
    registry.refresh().unwrap();
    let after = registry.model("m").unwrap();
    assert!(after.generation > before.generation);
    assert_eq!(after.resolve(None).unwrap().version, 1);
    assert_eq!(registry.describe("m", 1).unwrap().stage.as_deref(), Some("Production"));

    registry.refresh().unwrap();
    assert_eq!(registry.model("m").unwrap(), after, "a refresh without a change changes nothing");

    std::fs::write(&yaml, "aliases: [broken").unwrap();
    registry.refresh().unwrap();
    assert_eq!(registry.model("m").unwrap(), after, "a broken file does not take the model away");

    let model = dir.path().join("m/1/model.skops");
    std::fs::write(&model, b"PK nonsense").unwrap();
    // a file that was written just now may not be complete
    let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(10);
    std::fs::File::options().write(true).open(&model).unwrap().set_modified(earlier).unwrap();
    std::fs::write(&yaml, "").unwrap();
    registry.refresh().unwrap();
    assert_ne!(registry.model("m").unwrap().version(1).unwrap().digest, after.version(1).unwrap().digest);
    let e = load(&registry, "m", 1).unwrap_err().to_string();
    assert!(e.contains("version 1: model.skops"), "{e}");
    assert!(load(&registry, "m", 3).is_ok(), "the other version still loads");
}
