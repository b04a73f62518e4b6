//! Where a version's files can be: 2.x and 3.x layouts, behind the artefact proxy and in other stores, and the
//! separate preprocessing artefact.

use crate::bench::*;
use std::path::Path;

const RUN: &str = "6245f0d1c2e94c5ab01df7d2a9f35c1b";

/// A scaler of ten features.
fn scaler() -> Vec<u8> {
    let path = "../model/tests/scaler/model.skops";
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

const SCALER_MLMODEL: &str = "flavors: {sklearn: {pickled_model: model.skops}}";

fn loads(fake: &Fake, version: u32, what: &str) {
    let loaded = open(&options(fake)).load(MODEL, version, open_model).unwrap();
    assert_eq!(predicted(&loaded).to_bits(), predicted_by(&linear()).to_bits(), "{what}");
}

#[test]
fn behind_the_artefact_proxy() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    loads(&fake, 1, "3.x: a logged model");
    let root = format!("1/{RUN}/artifacts/model");
    fake.put(&root, &linear());
    fake.version(MODEL, 2, Version::new(&format!("mlflow-artifacts:/{root}"), &format!("runs:/{RUN}/model")));
    loads(&fake, 2, "2.x: below a run");
    fake.content().uris.insert(RUN.to_owned(), format!("mlflow-artifacts:/1/{RUN}/artifacts"));
    fake.version(MODEL, 3, Version::new(&format!("runs:/{RUN}/model"), &format!("runs:/{RUN}/model")));
    loads(&fake, 3, "the download URI is the run's");
    let fetched = format!("{root}/conda.yaml");
    assert_eq!(fake.calls(&fetched), 0, "what is for Python alone is not fetched");
}

#[test]
fn in_a_store_that_the_server_reads_for_us() {
    let fake = Fake::start();
    let put = |id: &str, path: &str| {
        fake.put(&format!("bucket/{id}{path}"), &linear());
        fake.content().uris.insert(id.to_owned(), format!("s3://bucket/{id}"));
    };
    put("m-0123", "");
    fake.version(MODEL, 1, Version::new("models:/m-0123", "models:/m-0123"));
    loads(&fake, 1, "a logged model");
    put(RUN, "/model");
    fake.version(MODEL, 2, Version::new(&format!("runs:/{RUN}/model"), &format!("runs:/{RUN}/model")));
    loads(&fake, 2, "below a run");
    let before = fake.calls("/model-versions/get-artifact");
    fake.version(MODEL, 3, Version::new("s3://bucket/m-0123", "s3://bucket/m-0123"));
    loads(&fake, 3, "known by name and version alone");
    assert!(fake.calls("/model-versions/get-artifact") > before);
    assert_eq!(
        fake.calls("artifacts/model.pkl") + fake.calls("mlflow-artifacts/artifacts/"),
        0,
        "the proxy was not called"
    );
}

#[test]
fn preprocessing_beside_the_model() {
    let fake = Fake::start();
    let mut files = linear();
    files.push(("preprocessing/MLmodel", SCALER_MLMODEL.into()));
    files.push(("preprocessing/model.skops", scaler()));
    fake.register(MODEL, 1, &files);
    fake.put("bucket/x", &files);
    fake.version(MODEL, 2, Version::new("gs://bucket/x", "gs://bucket/x"));
    let registry = open(&options(&fake));
    for version in [1, 2] {
        let loaded = registry.load(MODEL, version, open_model).unwrap();
        assert_eq!(loaded.preprocessing.as_ref().unwrap().ops().len(), 1, "version {version}");
        assert_ne!(predicted(&loaded), predicted_by(&linear()));
    }
}

#[test]
fn preprocessing_that_was_logged_by_itself() {
    let fake = Fake::start();
    let scaler_model = [("MLmodel", SCALER_MLMODEL.as_bytes().to_vec()), ("model.skops", scaler())];
    fake.put(&format!("1/{RUN}/artifacts"), &[("scaler.skops", scaler())]);
    fake.content().uris.insert(RUN.to_owned(), format!("mlflow-artifacts:/1/{RUN}/artifacts"));
    let id = fake.register("scaler", 1, &scaler_model);
    let uris = [
        format!("runs:/{RUN}/scaler.skops"),
        "models:/scaler/1".to_owned(),
        format!("models:/{id}"),
        format!("mlflow-artifacts:/1/{RUN}/artifacts/scaler.skops"),
    ];
    let mut answers = Vec::new();
    for (number, uri) in (1..).zip(&uris) {
        fake.register(MODEL, number, &linear());
        fake.content().models.get_mut(MODEL).unwrap().get_mut(&number).unwrap().tags =
            vec![("forebay.preprocessing", uri.clone())];
        let loaded = open(&options(&fake)).load(MODEL, number, open_model).unwrap();
        assert!(loaded.preprocessing.is_some(), "{uri}");
        answers.push(predicted(&loaded));
    }
    assert!(answers.iter().all(|a| *a == answers[0]) && answers[0] != predicted_by(&linear()), "{answers:?}");
    for (uri, expected) in
        [("models:/scaler@prod", "tomorrow"), ("s3://b/scaler.pkl", "through the server"), ("x", "server")]
    {
        fake.content().models.get_mut(MODEL).unwrap().get_mut(&1).unwrap().tags =
            vec![("forebay.preprocessing", uri.to_owned())];
        let error = open(&options(&fake)).load(MODEL, 1, open_model).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
