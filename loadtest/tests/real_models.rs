//! The models topic over a real Kafka: replicas report their versions, dead replicas expire, replicas that stop
//! remove their record, and a late reader gets all records.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, Service, http, native, stop_all, wait_all, wait_until};

/// A replica that was killed is noticed after 15 s.
const EXPIRY: Duration = Duration::from_secs(15);
/// What has to travel over the topic and nothing else.
const SOON: Duration = Duration::from_secs(10);

/// `/v1/models` of ingestion, and `None` while it knows nothing.
fn listed(ingestion: &Service) -> Option<Value> {
    let reply = http::get(ingestion.http, "/v1/models").ok()?;
    (reply.status == 200).then(|| reply.json()["models"][0].clone())
}

/// Names of the replicas that are ready with a version.
fn ready_with(model: &Value, version: &str) -> BTreeSet<String> {
    let versions = model["versions"].as_array().unwrap();
    let found = versions.iter().find(|it| it["version"] == version);
    let replicas = found.and_then(|it| it["replicas"].as_array()).into_iter().flatten();
    let ready = replicas.filter(|it| it["state"] == "ready" && it["breaker"] == "closed");
    ready.filter_map(|it| it["replica"].as_str()).map(str::to_owned).collect()
}

fn replicas(ingestion: &Service, version: &str) -> BTreeSet<String> {
    listed(ingestion).map(|model| ready_with(&model, version)).unwrap_or_default()
}

#[track_caller]
fn wait_for_replicas(ingestion: &Service, count: usize, within: Duration) -> BTreeSet<String> {
    wait_until(within, &format!("{count} replicas with v3"), || replicas(ingestion, "v3").len() == count);
    replicas(ingestion, "v3")
}

/// A folder with the sample's versions 1 and 2, of which 1 is Production.
fn registry(folder: &Path) -> (String, impl Fn(u32) + use<>) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/model/sample/diabetes-rf-model");
    let model = folder.join("registry/diabetes-rf-model");
    for version in ["1", "2"] {
        std::fs::create_dir_all(model.join(version)).unwrap();
        for file in std::fs::read_dir(sample.join(version)).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), model.join(version).join(file.file_name())).unwrap();
        }
    }
    let promote = move |version: u32| {
        let new = model.join(".new");
        std::fs::write(&new, format!("stages:\n  {version}: Production\n")).unwrap();
        std::fs::rename(new, model.join("registered_model.yaml")).unwrap();
    };
    promote(1);
    (format!("file:{}", folder.join("registry").display()), promote)
}

#[test]
fn every_reader_knows_which_replicas_are_alive_and_what_they_have() {
    let mesh = Mesh::with_topics("models");
    // something from a build that does not exist yet, a broken record, and one that no service needs: all are skipped
    let (topic, writer) = (mesh.topic("models"), Writer::new());
    for (key, payload) in [("future/x", "x"), ("view/broken", "\u{1}\u{2}"), ("replica/half", "")] {
        writer.write(Out { topic: &topic, key: Some(key.as_bytes()), payload: payload.as_bytes(), ..Out::default() });
    }
    let mut ingestion = mesh.start("ingestion");
    ingestion.wait_ready();
    assert_eq!(http::get(ingestion.http, "/v1/models").unwrap().status, 503, "no replica has reported yet");

    let mut serving = vec![mesh.start("prediction"), mesh.start("prediction")];
    wait_all(&mut serving);
    let both = wait_for_replicas(&ingestion, 2, SOON);
    wait_until(SOON, "the other versions", || replicas(&ingestion, "v1").len() == 2);
    let model = listed(&ingestion).unwrap();
    assert_eq!((&model["default_version"], &model["moving_to"]), (&"v3".into(), &Value::Null));
    assert_eq!(model["versions"][0]["features"].as_array().unwrap().len(), 10, "{model}");
    assert_eq!(ingestion.metric("forebay_models_replicas", &["diabetes-rf-model"]) as u32, 2);
    assert_eq!(ingestion.metric("forebay_models_records_ignored_total", &[]) as u32, 3);

    // a late reader gets what was written before, also what is not written again
    let mut late = mesh.start("ingestion");
    late.wait_ready();
    assert!(listed(&late).is_some_and(|model| model["default_version"] == "v3"), "the view is there when it is ready");
    assert_eq!(wait_for_replicas(&late, 2, SOON), both);

    serving[0].kill();
    let killed = Instant::now();
    let left = wait_for_replicas(&ingestion, 1, EXPIRY + Duration::from_secs(8));
    println!("a killed replica was gone after {:.1?}", killed.elapsed());
    assert!(killed.elapsed() > EXPIRY - Duration::from_secs(10), "a missed heartbeat are no death");
    assert!(left.is_subset(&both));
    assert_eq!(wait_for_replicas(&late, 1, SOON), left);

    // one that is stopped says so
    let (mut leaving, began) = (serving.remove(1), Instant::now());
    leaving.stop();
    wait_for_replicas(&ingestion, 0, SOON);
    println!("a leaving replica was gone after {:.1?}", began.elapsed());
    let model = listed(&ingestion).unwrap();
    assert_eq!(model["default_version"], "v3", "the view stays");
    let tombstone = |record: &harness::topic::Record| {
        record.payload.is_empty() && record.key.as_deref().is_some_and(|key| key.starts_with(b"replica/"))
    };
    Reader::from_start(&topic).find(SOON, "tombstone", tombstone);
    stop_all(vec![ingestion, late]);
}

#[test]
fn an_outage_of_kafka_makes_nobody_dead() {
    let mesh = Mesh::with_topics("models-outage");
    let mut services = vec![mesh.start("ingestion"), mesh.start("prediction")];
    wait_all(&mut services);
    let before = wait_for_replicas(&services[0], 1, SOON);
    native(&["down", "kafka"]);
    let down = Instant::now();
    while down.elapsed() < EXPIRY + Duration::from_secs(5) {
        assert_eq!(replicas(&services[0], "v3"), before, "{:?} into the outage", down.elapsed());
        std::thread::sleep(Duration::from_millis(500));
    }
    native(&["up", "kafka"]);
    let up = Instant::now();
    while up.elapsed() < EXPIRY + Duration::from_secs(3) {
        assert_eq!(replicas(&services[0], "v3"), before, "{:?} after the outage", up.elapsed());
        std::thread::sleep(Duration::from_millis(500));
    }
    // and news still travels
    let mut second = mesh.start("prediction");
    second.wait_ready_within(Duration::from_secs(30));
    wait_for_replicas(&services[0], 2, SOON);
    services.push(second);
    stop_all(services);
}

#[test]
fn a_webhook_that_reaches_one_replica_reaches_all() {
    let mut mesh = Mesh::with_topics("models-webhook");
    let (location, promote) = registry(mesh.folder());
    mesh.set("FOREBAY__MODELS__REGISTRY", location);
    // no service looks by itself during the test
    mesh.set("FOREBAY__MODELS__REFRESH", "10m");
    let mut services: Vec<Service> = ["ingestion", "prediction", "prediction"].map(|it| mesh.start(it)).into();
    wait_all(&mut services);
    let default = |service: &Service| listed(service).map(|model| model["default_version"].clone()).unwrap_or_default();
    wait_until(SOON, "version 1 to answer on both", || replicas(&services[0], "v1").len() == 2);
    assert_eq!(default(&services[0]), "v1");
    let generation = |service: &Service| service.metric("forebay_models_generation", &[]);
    let one =
        || generation(&services[0]) == generation(&services[1]) && generation(&services[1]) == generation(&services[2]);
    wait_until(SOON, "one view for all", one);
    let before = generation(&services[0]);
    // replicas that started together look once more when they get each other's view
    std::thread::sleep(Duration::from_secs(6));

    promote(2);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(default(&services[0]), "v1", "no service has looked");
    let reply = http::post(services[1].admin, "/webhooks/mlflow", r#"{"entity":"model_version_tag","action":"set"}"#);
    assert_eq!(reply.unwrap().status, 202);
    let called = Instant::now();
    wait_until(SOON, "version 2 to answer", || default(&services[0]) == "v2");
    wait_until(SOON, "both replicas to have moved", || {
        let moved = |service: &Service| generation(service) > before;
        services[1..].iter().all(moved) && replicas(&services[0], "v2").len() == 2
    });
    println!("all had moved {:.1?} after the webhook", called.elapsed());
    assert_eq!(
        http::post(services[0].admin, "/webhooks/mlflow", "{}").unwrap().status,
        404,
        "ingestion watches nothing"
    );
    stop_all(services);
}
