//! What is listed, how wishes are resolved, and what changes between two looks.

use crate::bench::*;
use forebay_registry::{ModelUri, Registry, RegistryError, RegistryOptions, RegistryWatch};
use std::time::Duration;

#[test]
fn versions_aliases_and_stages() {
    let fake = Fake::start();
    for number in 1..=3 {
        fake.register(MODEL, number, &linear());
    }
    fake.register(MODEL, 4, &linear());
    fake.content().models.get_mut(MODEL).unwrap().get_mut(&4).unwrap().status = "PENDING_REGISTRATION";
    fake.stage(MODEL, 1, "Archived");
    fake.stage(MODEL, 2, "Production");
    fake.alias(MODEL, "challenger", 3);
    let registry = open(&options(&fake));
    assert_eq!(registry.location(), fake.url());
    let view = registry.model(MODEL).unwrap();
    let versions: Vec<_> = view.versions.iter().map(|v| (v.version, v.stage.as_deref(), v.flavor.as_str())).collect();
    let expected = [(1, Some("Archived"), "sklearn"), (2, Some("Production"), "sklearn"), (3, None, "sklearn")];
    assert_eq!(versions, expected, "a version that is not ready is not listed");
    let resolved = |requested| view.resolve(requested).map(|r| (r.version, r.exact)).unwrap();
    assert_eq!(resolved(None), (2, true));
    assert_eq!(resolved(Some("challenger")), (3, true));
    assert_eq!(resolved(Some("latest")), (3, true));
    assert_eq!(resolved(Some("v1")), (1, true));
    assert_eq!(resolved(Some("archived")), (1, true));
    assert_eq!(resolved(Some("v4")), (2, false));
    assert_eq!(
        fake.calls("/api/2.0/mlflow-artifacts/artifacts/"),
        3,
        "MLmodel of each version is read, and nothing else"
    );
}

#[test]
fn a_moved_stage_or_alias_is_seen_without_fetching_anything() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    fake.register(MODEL, 2, &lasso());
    fake.alias(MODEL, "champion", 1);
    let registry = open(&options(&fake));
    let before = registry.model(MODEL).unwrap();
    assert_eq!(before.resolve(None).unwrap().version, 1);
    let fetched = fake.calls("mlflow-artifacts");
    registry.refresh().unwrap();
    assert_eq!(registry.model(MODEL).unwrap(), before, "a refresh without a change changes nothing");

    fake.alias(MODEL, "champion", 2);
    assert_eq!(registry.model(MODEL).unwrap(), before, "nothing changes without a refresh");
    registry.refresh().unwrap();
    let moved = registry.model(MODEL).unwrap();
    assert_eq!(moved.resolve(None).unwrap().version, 2);
    assert!(moved.generation > before.generation, "although no timestamp moved");
    fake.stage(MODEL, 1, "Production");
    registry.refresh().unwrap();
    let staged = registry.model(MODEL).unwrap();
    assert_eq!(staged.resolve(None).unwrap().version, 1, "a stage comes before an alias");
    assert!(staged.generation > moved.generation);
    let digests = |view: &forebay_registry::ModelView| view.versions.iter().map(|v| v.digest).collect::<Vec<_>>();
    assert_eq!(digests(&staged), digests(&before), "the versions are the same ones");
    assert_eq!(fake.calls("mlflow-artifacts"), fetched);
}

#[test]
fn the_digest_is_the_same_everywhere_and_differs_between_versions() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    fake.register(MODEL, 2, &linear());
    let (one, other) = (open(&options(&fake)), open(&options(&fake)));
    let listed = one.model(MODEL).unwrap();
    let loaded = one.load(MODEL, 1, open_model).unwrap();
    assert_eq!(loaded.digest, listed.versions[0].digest);
    assert_eq!(other.describe(MODEL, 1).unwrap().digest, loaded.digest);
    assert_ne!(listed.versions[0].digest, listed.versions[1].digest, "even with the same files");
    let mut again = Version::new("mlflow-artifacts:/1/else", "models:/m-77");
    again.tags.push(("forebay.preprocessing", "runs:/1/x".to_owned()));
    fake.version(MODEL, 2, again);
    one.refresh().unwrap();
    assert_ne!(one.model(MODEL).unwrap().versions[1].digest, listed.versions[1].digest, "registered again");
}

#[test]
fn the_newest_versions_and_those_with_a_name_are_listed() {
    let fake = Fake::start();
    for number in 1..=130 {
        fake.register(MODEL, number, &linear());
    }
    fake.stage(MODEL, 7, "Production");
    fake.alias(MODEL, "golden", 3);
    fake.alias(MODEL, "gone", 999);
    let listed = |versions| -> Vec<u32> {
        let registry = open(&RegistryOptions { versions, ..options(&fake) });
        registry.model(MODEL).unwrap().versions.iter().map(|v| v.version).collect()
    };
    assert_eq!(listed(2), [3, 7, 129, 130].into_iter().collect::<Vec<_>>());
    assert_eq!(listed(120).len(), 122, "over two pages");
}

#[test]
fn the_served_models_or_all_of_them() {
    let fake = Fake::start();
    for name in [MODEL, "other", "third model's"] {
        fake.register(name, 1, &linear());
    }
    let names = |models| -> Vec<String> {
        let registry = open(&RegistryOptions { models, ..options(&fake) });
        registry.models().into_iter().map(|model| model.name).collect()
    };
    assert_eq!(
        names(Some(vec![MODEL.to_owned(), "third model's".to_owned(), "absent".to_owned()])),
        [MODEL, "third model's"]
    );
    assert_eq!(names(None), [MODEL, "other", "third model's"]);
    let registry = open(&options(&fake));
    assert!(
        matches!(registry.load("other", 1, open_model), Err(RegistryError::UnknownModel { .. })),
        "it is not served"
    );
    fake.content().models.remove(MODEL);
    registry.refresh().unwrap();
    assert!(registry.models().is_empty() && registry.status().stale.is_none(), "deleted is not down");
}

#[test]
fn every_form_of_uri_loads() {
    let fake = Fake::start();
    fake.register("other", 1, &linear());
    let id = fake.register("other", 2, &lasso());
    fake.stage("other", 1, "Staging");
    fake.alias("other", "champion", 2);
    let registry = open(&options(&fake));
    let loaded = |uri: &str| registry.load_uri(&uri.parse::<ModelUri>().unwrap(), open_model);
    for (uri, version) in [
        ("models:/other/1".to_owned(), 1),
        ("models:/other/latest".to_owned(), 2),
        ("models:/other/staging".to_owned(), 1),
        ("models:/other@champion".to_owned(), 2),
        ("models:/other/Production".to_owned(), 2),
        (format!("models:/{id}"), 0),
    ] {
        let found = loaded(&uri).unwrap();
        assert_eq!(found.version, version, "{uri}");
        let files = if version == 1 { linear() } else { lasso() };
        assert_eq!(predicted(&found).to_bits(), predicted_by(&files).to_bits(), "{uri}");
    }
    for uri in ["models:/other/9", "models:/absent/1", "models:/absent@champion"] {
        assert!(loaded(uri).unwrap_err().is_missing(), "{uri}");
    }
    for uri in ["models:/other@nope", "models:/other/Archived"] {
        assert!(matches!(loaded(uri), Err(RegistryError::Uri { .. })), "{uri}");
    }
}

#[test]
fn models_of_runs_load_whether_they_are_artefacts_or_logged_models() {
    const RUN: &str = "6245f0d1c2e94c5ab01df7d2a9f35c1b";
    let mut fake = Fake::start();
    fake.put(&format!("1/{RUN}/artifacts/old"), &linear());
    fake.put(&format!("1/{RUN}/artifacts/deep/model"), &linear());
    fake.content().uris.insert(RUN.to_owned(), format!("mlflow-artifacts:/1/{RUN}/artifacts"));
    let (logged, other) = (fake.register("churn", 1, &lasso()), fake.register("churn", 2, &linear()));
    fake.content().logged =
        vec![("another".to_owned(), "model".to_owned(), other), (RUN.to_owned(), "model".to_owned(), logged)];
    let dir = tempfile::tempdir().unwrap();
    let options = RegistryOptions { cache_dir: Some(dir.path().join("cache")), ..options(&fake) };
    let registry = open(&options);
    let uri = |path: &str| format!("runs:/{RUN}/{path}").parse::<ModelUri>().unwrap();
    for (path, files) in [("old", linear()), ("deep/model", linear()), ("model", lasso())] {
        let found = registry.load_uri(&uri(path), open_model).unwrap();
        assert_eq!((found.name.as_str(), found.version), (path.rsplit('/').next().unwrap(), 0));
        assert_eq!(predicted(&found).to_bits(), predicted_by(&files).to_bits(), "{path}");
    }
    assert!(registry.load_uri(&uri("absent"), open_model).is_err());
    let resolved = registry.resolve_uri(&uri("old"));
    assert!(matches!(resolved, Err(RegistryError::Uri { .. })), "{resolved:?}");
    let kept = registry.keep_unregistered(&uri("model"), &dir.path().join("served")).unwrap();
    let served = forebay_model::load_folder(&kept).unwrap();
    assert_eq!(predicted(&served).to_bits(), predicted_by(&lasso()).to_bits());
    // a run may log another model under the name of one
    fake.put(&format!("1/{RUN}/artifacts/old"), &lasso());
    let again = registry.load_uri(&uri("old"), open_model).unwrap();
    assert_eq!(predicted(&again).to_bits(), predicted_by(&lasso()).to_bits());
    fake.stop();
    let served = dir.path().join("served");
    assert_eq!(registry.keep_unregistered(&uri("model"), &served).unwrap(), kept, "without a server");
    assert!(registry.keep_unregistered(&uri("old"), &served).unwrap_err().is_unreachable(), "it was never kept");
    let local = Registry::open("sample").unwrap().load_uri(&uri("old"), open_model).unwrap_err().to_string();
    assert!(local.contains("only an MLflow server"), "{local}");
}

#[test]
fn the_tag_of_the_output_is_that_of_the_moment_whether_the_version_is_listed_or_not() {
    let mut fake = Fake::start();
    for number in 1..=3 {
        fake.register(MODEL, number, &linear());
    }
    let tag = |fake: &Fake, number: u32, output: &str| {
        fake.content().models.get_mut(MODEL).unwrap().get_mut(&number).unwrap().tags =
            vec![("forebay.output", format!(" {output} "))];
    };
    tag(&fake, 1, "predict_proba");
    tag(&fake, 3, "decision_function");
    let registry = Registry::open_with(&RegistryOptions { versions: 1, ..options(&fake) }).unwrap();
    assert!(registry.model(MODEL).unwrap().version(1).is_none(), "only the newest is listed");
    let of = |number| registry.output_tag(MODEL, number).map(Option::unwrap_or_default);
    assert_eq!(of(1).unwrap(), "predict_proba");
    assert_eq!((of(2).unwrap(), of(3).unwrap()), (String::new(), "decision_function".to_owned()));
    tag(&fake, 1, "predict");
    assert_eq!(of(1).unwrap(), "predict");
    assert!(matches!(of(9), Err(RegistryError::UnknownVersion { .. })));
    fake.stop();
    assert!(of(1).is_err(), "nothing is known of it");
    assert_eq!(of(3).unwrap(), "decision_function", "as it was listed");
}

#[test]
fn a_model_that_no_setting_names_is_listed_on_request() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    fake.register("other", 1, &linear());
    let location = options(&fake);
    let mut watch = RegistryWatch::new(move || Registry::open_with(&location), Duration::from_secs(60));
    assert!(watch.look().unwrap().model("other").is_none());
    assert!(watch.list_also(["other".to_owned()]) && !watch.list_also(["other".to_owned()]), "new once");
    let registry = watch.look().unwrap();
    assert!(registry.model("other").is_some() && registry.model(MODEL).is_some());
    registry.load("other", 1, forebay_model::open).unwrap();
    assert!(watch.list_also([]));
    assert!(watch.look().unwrap().model("other").is_none());

    // known before the registry was there
    let location = options(&fake);
    let mut late = RegistryWatch::new(move || Registry::open_with(&location), Duration::from_secs(60));
    late.list_also(["other".to_owned()]);
    late.look().unwrap();
    assert!(late.is_due(), "the first listing does not have it yet");
    assert!(late.look().unwrap().model("other").is_some() && !late.is_due());
}
