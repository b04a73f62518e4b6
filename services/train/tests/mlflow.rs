//! Registering at an MLflow server, played by a small HTTP server that answers as the real one does.
#![cfg(test)]

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response, Server};

/// One call: verb, path, authorization, body.
#[derive(Debug, Clone)]
struct Call {
    verb: String,
    path: String,
    authorization: Option<String>,
    body: Vec<u8>,
}

struct Fake {
    server: Arc<Server>,
    calls: Arc<Mutex<Vec<Call>>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// `refuse` is a part of a path that is answered with 500.
    fn start(refuse: Option<&'static str>) -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (listening, seen) = (server.clone(), calls.clone());
        let thread = std::thread::spawn(move || {
            for request in listening.incoming_requests() {
                answer(request, &seen, refuse);
            }
        });
        Self { server, calls, thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.server_addr())
    }

    fn train(&self, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-train"));
        command.args(["--epochs", "3", "--hidden", "4", "--folds", "2", "--register", "my model"]).args(more);
        command.env("MLFLOW_TRACKING_URI", self.url()).env("MLFLOW_TRACKING_USERNAME", "ann");
        command.env("MLFLOW_TRACKING_PASSWORD", "secret").env_remove("MLFLOW_TRACKING_TOKEN");
        command.output().unwrap()
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.unblock();
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn answer(mut request: Request, seen: &Mutex<Vec<Call>>, refuse: Option<&str>) {
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body).unwrap();
    let path = request.url().to_owned();
    let authorization = request.headers().iter().find(|h| h.field.equiv("authorization"));
    let authorization = authorization.map(|h| h.value.to_string());
    seen.lock().unwrap().push(Call { verb: request.method().to_string(), path: path.clone(), authorization, body });
    let error = |code: &str, message: &str| json!({"error_code": code, "message": message});
    let (status, json) = match path.strip_prefix("/api/2.0/mlflow/").unwrap_or(&path) {
        p if refuse.is_some_and(|r| p.contains(r)) => (500, error("INTERNAL_ERROR", "disk full")),
        p if p.starts_with("experiments/get-by-name") => (404, error("RESOURCE_DOES_NOT_EXIST", "no such experiment")),
        "experiments/create" => (200, json!({"experiment_id": "3"})),
        "runs/create" => {
            let info = json!({"run_id": "r1", "artifact_uri": "mlflow-artifacts:/3/r1/artifacts"});
            (200, json!({"run": {"info": info}}))
        }
        "registered-models/create" => (400, error("RESOURCE_ALREADY_EXISTS", "there is one")),
        "model-versions/create" => (200, json!({"model_version": {"version": "4", "status": "READY"}})),
        _ if *request.method() == Method::Put => (200, json!({})),
        "runs/log-batch" | "runs/update" | "registered-models/alias" | "model-versions/transition-stage" => {
            (200, json!({}))
        }
        _ => (404, error("ENDPOINT_NOT_FOUND", "?")),
    };
    let header: Header = "content-type: application/json".parse().unwrap();
    request.respond(Response::from_string(json.to_string()).with_status_code(status).with_header(header)).unwrap();
}

#[test]
fn a_run_its_files_a_version_and_its_names() {
    let fake = Fake::start(None);
    let out = fake.train(&["--alias", "champion", "--stage", "Production"]);
    let printed = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(printed.contains("version 4 of my model"), "{printed}");
    assert!(!printed.contains("secret"));
    let calls = fake.calls();
    assert!(calls.iter().all(|c| c.authorization.as_deref() == Some("Basic YW5uOnNlY3JldA==")));
    let posted = |call: &str| -> Value {
        let call = calls.iter().find(|c| c.path.ends_with(call)).unwrap_or_else(|| panic!("{call} missing"));
        serde_json::from_slice(&call.body).unwrap()
    };
    assert_eq!(posted("runs/create")["experiment_id"], "3");
    let batch = posted("log-batch");
    let named = |kind: &str, name: &str| batch[kind].as_array().unwrap().iter().filter(|m| m["key"] == name).count();
    assert_eq!((named("metrics", "train_loss"), named("metrics", "fold2_valid_loss")), (3, 3));
    assert_eq!((named("metrics", "mlp_r2"), named("params", "weight_decay")), (1, 1));
    assert!(batch["metrics"].as_array().unwrap().iter().all(|m| m["value"].is_f64()), "no NaN");
    let files: Vec<_> = calls.iter().filter(|c| c.verb == "PUT").map(|c| c.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(files.len(), 6);
    let net = calls.iter().find(|c| c.path == "/api/2.0/mlflow-artifacts/artifacts/3/r1/artifacts/model/model.bpk");
    assert!(net.unwrap().body.len() > 300);
    let version = posted("model-versions/create");
    assert_eq!(
        version,
        json!({"name": "my model", "source": "mlflow-artifacts:/3/r1/artifacts/model", "run_id": "r1"})
    );
    let stage = posted("transition-stage");
    assert_eq!((&stage["stage"], &stage["archive_existing_versions"]), (&json!("Production"), &json!(true)));
    assert_eq!(posted("registered-models/alias"), json!({"name": "my model", "alias": "champion", "version": "4"}));
    assert_eq!(posted("runs/update")["status"], "FINISHED");
    assert!(calls.last().unwrap().path.ends_with("runs/update"));
}

#[test]
fn a_run_that_cannot_be_finished_is_marked() {
    let fake = Fake::start(Some("model-versions/create"));
    let out = fake.train(&["--alias", "champion"]);
    let error = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(error.contains("disk full") && error.contains("model-versions/create"), "{error}");
    let calls = fake.calls();
    assert!(calls.iter().all(|c| !c.path.ends_with("alias")), "the alias stays where it was");
    let update: Value = serde_json::from_slice(&calls.last().unwrap().body).unwrap();
    assert_eq!(update["status"], "FAILED");
}

#[test]
fn a_server_that_refuses_is_noticed_before_the_training() {
    let fake = Fake::start(Some("experiments/create"));
    let out = fake.train(&[]);
    let error = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(error.contains("disk full") && !error.contains("training on"), "{error}");
}
