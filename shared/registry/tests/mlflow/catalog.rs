//! Models in Unity Catalog of a Databricks workspace.

use std::time::Duration;

use crate::bench::*;
use forebay_registry::{Registry, RegistryCredentials, RegistryError, RegistryOptions};

const MODEL: &str = "main.churn.model";
const ROOT: &str = "Models/main/churn/model";

fn workspace(fake: &Fake) -> RegistryOptions {
    RegistryOptions {
        models: Some(vec![MODEL.to_owned()]),
        timeout: Duration::from_secs(5),
        credentials: RegistryCredentials::Bearer("dapi-hidden".to_owned()),
        ..RegistryOptions::new(format!("databricks-uc:{}", fake.url()))
    }
}

fn put(fake: &Fake, number: u32, files: &Files) {
    fake.put(&format!("{ROOT}/{number}"), files);
    fake.version(MODEL, number, Version::new("", ""));
}

fn filled() -> Fake {
    let fake = Fake::start();
    fake.content().authorization = Some("Bearer dapi-hidden".to_owned());
    put(&fake, 1, &linear());
    put(&fake, 2, &lasso());
    put(&fake, 3, &linear());
    fake.alias(MODEL, "champion", 2);
    fake
}

#[test]
fn versions_and_aliases_are_listed_and_files_come_through_the_files_api() {
    let fake = filled();
    let registry = open(&workspace(&fake));
    let view = registry.model(MODEL).unwrap();
    let numbers: Vec<u32> = view.versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(view.versions.iter().all(|version| version.flavor == "sklearn" && version.stage.is_none()));
    assert_eq!(view.resolve(None).unwrap().version, 2, "the champion");
    for (number, files) in [(1, linear()), (2, lasso())] {
        let loaded = registry.load(MODEL, number, open_model).unwrap();
        assert_eq!(predicted(&loaded), predicted_by(&files));
    }
    for (uri, number) in [("models:/main.churn.model@champion", 2), ("models:/main.churn.model/3", 3)] {
        assert_eq!(registry.resolve_uri(&uri.parse().unwrap()).unwrap(), (MODEL.to_owned(), number), "{uri}");
    }
    let seen = fake.content().seen.join("\n");
    assert!(!seen.contains("get-download-uri") && !seen.contains("conda.yaml"), "{seen}");
    assert_eq!(registry.location(), fake.url());
    assert!(!format!("{registry:?}").contains("hidden"));
}

#[test]
fn all_models_are_listed_over_pages_some_of_which_are_empty() {
    let fake = filled();
    fake.put("Models/main/other/net/1", &lasso());
    fake.version("main.other.net", 1, Version::new("", ""));
    let registry = open(&RegistryOptions { models: None, ..workspace(&fake) });
    let names: Vec<String> = registry.models().into_iter().map(|model| model.name).collect();
    assert_eq!(names, [MODEL, "main.other.net"]);
}

#[test]
fn tags_are_fetched_once_and_again_when_the_version_has_changed() {
    let fake = filled();
    let tag = |number, tag: &str| {
        let mut content = fake.content();
        let version = content.models.get_mut(MODEL).unwrap().get_mut(&number).unwrap();
        version.tags = vec![("forebay.output", tag.to_owned())];
        version.updated += 1;
    };
    tag(2, "predict_proba");
    let registry = open(&workspace(&fake));
    let of = |registry: &Registry| registry.model(MODEL).unwrap().version(2).unwrap().clone();
    let before = of(&registry);
    assert_eq!(before.output.as_deref(), Some("predict_proba"));
    let fetched = fake.calls("model-versions/get");
    registry.refresh().unwrap();
    assert_eq!(fake.calls("model-versions/get"), fetched, "nothing has changed");
    tag(2, "decision_function");
    registry.refresh().unwrap();
    let after = of(&registry);
    assert_eq!(after.output.as_deref(), Some("decision_function"));
    assert_eq!(after.digest, before.digest, "a tag is no other content");
    assert_eq!(fake.calls("model-versions/get"), fetched + 1);
}

#[test]
fn a_refusal_says_what_to_do() {
    let fake = filled();
    let with = |status, text| {
        fake.fault("registered-models/get", 1, Fault::Status(status, text));
        refused(&workspace(&fake)).to_string()
    };
    let expired = with(403, r#"{"error_code": 403, "message": "Invalid access token. [ReqId: 1]"}"#);
    assert!(expired.contains("status 403: Invalid access token") && expired.contains("DATABRICKS_TOKEN"), "{expired}");
    assert!(with(401, "Credential was not sent").contains("DATABRICKS_TOKEN"));
    let denied = with(403, r#"{"error_code": "PERMISSION_DENIED", "message": "User does not have USE SCHEMA"}"#);
    assert!(denied.contains("PERMISSION_DENIED") && denied.contains("needs EXECUTE"), "{denied}");
    assert!(!(expired + &denied).contains("hidden"));

    let registry = open(&workspace(&fake));
    let missing = registry.look_up_error("main.churn.none");
    assert!(matches!(&missing, RegistryError::UnknownModel { model } if model == "main.churn.none"), "{missing}");
    fake.content().files.retain(|path, _| !path.starts_with(&format!("{ROOT}/3/")));
    let gone = registry.load(MODEL, 3, open_model).unwrap_err().to_string();
    assert!(gone.contains("404 NOT_FOUND") && gone.contains("Files API has no such file"), "{gone}");
    let named = registry.load_uri(&"models:/churn/1".parse().unwrap(), open_model).unwrap_err().to_string();
    assert!(named.contains("CATALOG.SCHEMA.MODEL"), "{named}");
    let logged = registry.load_uri(&"models:/m-12ab".parse().unwrap(), open_model).unwrap_err().to_string();
    assert!(logged.contains("cannot be read from Unity Catalog"), "{logged}");
}

/// Shortens the test above.
trait LookUp {
    fn look_up_error(&self, name: &str) -> RegistryError;
}

impl LookUp for Registry {
    fn look_up_error(&self, name: &str) -> RegistryError {
        self.resolve_uri(&format!("models:/{name}@champion").parse().unwrap()).unwrap_err()
    }
}

#[test]
fn a_preprocessing_artefact_is_another_model_of_the_catalog() {
    let fake = filled();
    fake.put("Models/main/churn/scaler/4", &linear());
    fake.version("main.churn.scaler", 4, Version::new("", ""));
    let with = |uri: &str| {
        let tags = vec![("forebay.preprocessing", uri.to_owned())];
        fake.version(MODEL, 3, Version { tags, ..Version::new("", "") });
        let registry = open(&workspace(&fake));
        // a model is no preprocessing: that it was read as one is what counts here
        registry.load(MODEL, 3, open_model).unwrap_err().to_string()
    };
    assert!(with("models:/main.churn.scaler/4").contains("preprocessing"));
    assert!(fake.calls("fs/files/Models/main/churn/scaler/4/MLmodel") > 0);
    assert!(with("runs:/12ab/scaler.pkl").contains("cannot be read from Unity Catalog"));
}

#[test]
fn what_was_read_is_there_while_the_workspace_is_not() {
    let (mut fake, cache) = (filled(), tempfile::tempdir().unwrap());
    let options = RegistryOptions {
        cache_dir: Some(cache.path().to_owned()),
        timeout: Duration::from_millis(500),
        ..workspace(&fake)
    };
    let expected = predicted(&open(&options).load(MODEL, 2, open_model).unwrap());
    fake.stop();
    let registry = open(&options);
    assert!(registry.status().stale.is_some());
    assert_eq!(predicted(&registry.load(MODEL, 2, open_model).unwrap()), expected);
}

#[test]
fn an_address_that_is_none_is_named() {
    for (location, why) in [
        ("databricks-uc", "DATABRICKS_HOST"),
        ("databricks-uc://production", "profile"),
        ("databricks-uc:adb-1.azuredatabricks.net", "has no scheme"),
        ("databricks-ucx", "expected databricks-uc"),
    ] {
        let error = refused(&RegistryOptions::new(location)).to_string();
        assert!(error.contains(why), "{location}: {error}");
    }
}
