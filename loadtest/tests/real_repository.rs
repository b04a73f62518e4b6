//! Models that requests load and unload, over five binaries with two replicas each of ingestion and prediction: the request
//! holds for every replica, whichever took it, and outlives them all.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test that cannot continue should stop")]

mod harness;

use std::path::Path;
use std::time::Duration;

use forebay_loadtest::mesh_under_test::{SAMPLE_MODEL, copy_folder};
use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, ROW, Service, http, stop_all, wait_all, wait_until};

const LONG: Duration = Duration::from_secs(60);
const SECOND: &str = "second";

struct Admin(String);

impl Admin {
    fn post(&self, service: &Service, path: &str, body: &str) -> (u16, String) {
        let reply = http::request(service.http, "POST", path, &[("X-API-Key", &self.0)], body.as_bytes()).unwrap();
        (reply.status, reply.text())
    }

    fn change(&self, service: &Service, model: &str, what: &str) -> (u16, String) {
        self.post(service, &format!("/v2/repository/models/{model}/{what}"), "{}")
    }

    /// The status of a request to the second model, over two protocols.
    fn statuses(&self, service: &Service) -> [u16; 2] {
        let native = format!(r#"{{"model":"{SECOND}","features":{ROW}}}"#);
        let table = format!(r#"{{"inputs":[{ROW}]}}"#);
        let other = format!("/models/{SECOND}/invocations");
        [self.post(service, "/v1/predict", &native).0, self.post(service, &other, &table).0]
    }

    /// State and reason of the versions of the second model, as a replica lists them.
    fn index(&self, service: &Service) -> Vec<String> {
        let (status, text) = self.post(service, "/v2/repository/index", "");
        assert_eq!(status, 200, "{text}");
        let index: serde_json::Value = serde_json::from_str(&text).unwrap();
        let entries = index.as_array().unwrap().iter().filter(|entry| entry["name"] == SECOND);
        entries.map(|entry| format!("{} {}", entry["state"], entry["reason"]).replace('"', "")).collect()
    }
}

fn loaded(prediction: &Service) -> f64 {
    prediction.metric("forebay_model_version_ready", &[&format!("model=\"{SECOND}\"")])
}

/// A mesh with two models, and the key of an admin.
fn mesh() -> (Mesh, Admin) {
    let mut mesh = Mesh::with_topics("repository");
    let registry = mesh.folder().join("registry");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/model/sample").join(SAMPLE_MODEL);
    [SAMPLE_MODEL, SECOND].iter().for_each(|model| copy_folder(&sample, &registry.join(model)).unwrap());
    let keys = mesh.folder().join("keys").display().to_string();
    let made = mesh.run("forebay", &["keys", "new", "ann", "--append", &keys], &[]);
    let line = std::fs::read_to_string(&keys).unwrap();
    std::fs::write(&keys, format!("{} admin=true\n", line.trim_end())).unwrap();
    for (name, value) in [
        ("FOREBAY__MODELS__REGISTRY", format!("file:{}", registry.display())),
        ("FOREBAY__MODELS__REFRESH", "1s".to_owned()),
        // loaded versions stay for as long as rows that are pinned to them can be on their way
        ("FOREBAY__DELIVERY__TIMEOUT", "5s".to_owned()),
        ("FOREBAY__DELIVERY__MAX_TIMEOUT", "5s".to_owned()),
        ("FOREBAY__AUTH__KEYS_FILE", keys),
        ("FOREBAY__REPOSITORY__WRITABLE", "true".to_owned()),
    ] {
        mesh.set(name, value);
    }
    (mesh, Admin(String::from_utf8(made.stdout).unwrap().trim().to_owned()))
}

#[test]
fn a_request_unloads_and_loads_a_model_for_every_replica_and_outlives_them() {
    let (mesh, admin) = mesh();
    let mut services = mesh.start_all();
    let mut more = [mesh.start("ingestion"), mesh.start("prediction")];
    wait_all(&mut more);
    let [second_ingestion, second_prediction] = &more;
    for ingestion in [&services[0], second_ingestion] {
        wait_until(LONG, "both models", || admin.statuses(ingestion) == [200, 200]);
    }
    wait_until(LONG, "six versions", || loaded(&services[3]) == 3.0 && loaded(second_prediction) == 3.0);

    assert_eq!(admin.change(&services[0], SAMPLE_MODEL, "unload").0, 403, "the default model");
    assert_eq!(admin.change(&services[0], SECOND, "unload"), (200, String::new()));
    for ingestion in [&services[0], second_ingestion] {
        wait_until(LONG, "every replica", || admin.statuses(ingestion) == [404, 404]);
        assert_eq!(admin.index(ingestion), ["UNAVAILABLE unloaded"; 3]);
        let (status, _) = admin.post(ingestion, "/v1/predict", &format!(r#"{{"features":{ROW}}}"#));
        assert_eq!(status, 200, "the other model answers");
    }
    let results = Reader::from_now(&mesh.topic("results_out"));
    let body = format!(r#"{{"request_id":"k","model":"{SECOND}","features":{ROW}}}"#);
    Writer::new().write(Out { topic: &mesh.topic("requests_in"), payload: body.as_bytes(), ..Out::default() });
    let result = results.result("k");
    assert!(result.text().contains("'second' is unloaded"), "{}", result.text());
    wait_until(LONG, "their memory", || loaded(&services[3]) == 0.0 && loaded(second_prediction) == 0.0);

    // everything ends, and starts again
    stop_all(services);
    stop_all(more.into());
    services = mesh.start_all();
    assert_eq!(admin.statuses(&services[0]), [404, 404]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(loaded(&services[3]), 0.0, "it is not even loaded for a moment");
    let mut more = [mesh.start("ingestion"), mesh.start("prediction")];
    wait_all(&mut more);
    assert_eq!(admin.change(&more[0], SECOND, "load"), (200, String::new()));
    assert_eq!([loaded(&services[3]), loaded(&more[1])].map(|count| count >= 1.0), [true; 2], "when load answers");
    for ingestion in [&services[0], &more[0]] {
        wait_until(LONG, "every replica", || admin.statuses(ingestion) == [200, 200]);
    }
    let log = more[0].output();
    assert!(log.contains("model loaded by a request") && log.contains("ann"), "the change is in the log");
    let (status, why) = admin.change(&services[0], "absent", "load");
    assert_eq!((status, why.contains("the registry has none")), (404, true), "{why}");
    stop_all(services);
    stop_all(more.into());
}
