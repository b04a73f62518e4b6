//! A finished model on an MLflow server: a run with parameters and metrics, its files, a version, its alias and stage.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use forebay_registry::{Body, MlflowClient, RegistryCredentials, RegistryError, RegistryOptions, TlsOptions, Verb};
use serde_json::{Value, json};

use crate::model_folder::Files;

/// Most metrics and most parameters MLflow takes in one `log-batch`.
const MOST_METRICS: usize = 1000;
const MOST_PARAMS: usize = 100;
/// Where the server passes files on to its store.
const ARTIFACTS: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// How to reach an MLflow server; the names are MLflow's own.
#[derive(Clone, clap::Args)]
pub(crate) struct MlflowAccess {
    /// Experiment that gets the run
    #[arg(long, value_name = "NAME", default_value = "forebay-train", env = "MLFLOW_EXPERIMENT_NAME")]
    pub(crate) experiment: String,
    #[arg(long, hide = true, env = "MLFLOW_TRACKING_USERNAME", hide_env_values = true, default_value = "")]
    username: String,
    #[arg(long, hide = true, env = "MLFLOW_TRACKING_PASSWORD", hide_env_values = true, default_value = "")]
    password: String,
    #[arg(long, hide = true, env = "MLFLOW_TRACKING_TOKEN", hide_env_values = true, default_value = "")]
    token: String,
    #[arg(long, hide = true, env = "MLFLOW_TRACKING_SERVER_CERT_PATH")]
    server_cert: Option<PathBuf>,
    #[arg(long, hide = true, env = "MLFLOW_TRACKING_CLIENT_CERT_PATH")]
    client_cert: Option<PathBuf>,
    #[arg(long, hide = true, env = "MLFLOW_TRACKING_INSECURE_TLS", value_parser = clap::builder::BoolishValueParser::new(), default_value = "false", action = clap::ArgAction::Set)]
    insecure_tls: bool,
}

impl std::fmt::Debug for MlflowAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MlflowAccess").field("experiment", &self.experiment).finish_non_exhaustive()
    }
}

/// What a run records.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunLog {
    pub(crate) params: Vec<(String, String)>,
    /// Name, value, step.
    pub(crate) metrics: Vec<(String, f64, u64)>,
}

/// A server that answered, with the experiment the run will belong to.
#[derive(Debug)]
pub(crate) struct Tracking {
    client: MlflowClient,
    experiment: String,
    name: String,
    alias: Option<String>,
    stage: Option<String>,
}

impl Tracking {
    /// Finds or makes the experiment, so that a wrong address or password shows before the training.
    ///
    /// # Errors
    /// A text naming URL, status and MLflow's own words.
    pub(crate) fn open(
        url: &str,
        access: &MlflowAccess,
        name: &str,
        alias: Option<&str>,
        stage: Option<&str>,
    ) -> Result<Self, String> {
        let tls = TlsOptions {
            server_cert: access.server_cert.clone(),
            client_cert: access.client_cert.clone(),
            insecure: access.insecure_tls,
        };
        let credentials = RegistryCredentials::of(&access.username, &access.password, &access.token);
        let options = RegistryOptions { credentials, tls, ..RegistryOptions::new(url.trim_end_matches('/')) };
        let client = MlflowClient::new(&options).map_err(|e| e.to_string())?;
        let path = format!("/api/2.0/mlflow/experiments/get-by-name?experiment_name={}", encode(&access.experiment));
        let experiment = match client.send(Verb::Get, &path, Body::None) {
            Ok(answer) => text(&answer, &["experiment", "experiment_id"])?,
            Err(RegistryError::Refused { status: 404, .. }) => {
                let created = post(&client, "experiments/create", &json!({"name": access.experiment}))?;
                text(&created, &["experiment_id"])?
            }
            Err(e) => return Err(e.to_string()),
        };
        let own = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self { client, experiment, name: name.to_owned(), alias: own(alias), stage: own(stage) })
    }

    /// Makes run and version. A run that cannot be finished is marked as failed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn publish(&self, files: &Files, log: &RunLog) -> Result<String, String> {
        let run = json!({
            "experiment_id": self.experiment,
            "run_name": self.name,
            "start_time": now(),
            "tags": [{"key": "mlflow.source.name", "value": "forebay-train"}],
        });
        let run = self.post("runs/create", &run)?;
        let id = text(&run, &["run", "info", "run_id"])?;
        let published = text(&run, &["run", "info", "artifact_uri"]).and_then(|uri| self.fill(&id, &uri, files, log));
        let status = if published.is_ok() { "FINISHED" } else { "FAILED" };
        let ended = self.post("runs/update", &json!({"run_id": id, "status": status, "end_time": now()}));
        let version = published?;
        ended?;
        Ok(format!("version {version} of {} at {}, run {id}", self.name, self.client.base()))
    }

    fn fill(&self, run: &str, artifacts: &str, files: &Files, log: &RunLog) -> Result<String, String> {
        // a loss that is not finite has no place in JSON
        let metrics: Vec<_> = log.metrics.iter().filter(|(_, value, _)| value.is_finite()).collect();
        for (i, metrics) in metrics.chunks(MOST_METRICS).enumerate() {
            let metric = |(key, value, step): &&(String, f64, u64)| json!({"key": key, "value": value, "step": step, "timestamp": now()});
            let params = if i == 0 { &log.params[..log.params.len().min(MOST_PARAMS)] } else { &[] };
            let param = |(key, value): &(String, String)| json!({"key": key, "value": value});
            let batch = json!({
                "run_id": run,
                "metrics": metrics.iter().map(metric).collect::<Vec<_>>(),
                "params": params.iter().map(param).collect::<Vec<_>>(),
            });
            self.post("runs/log-batch", &batch)?;
        }
        let folder = proxied(artifacts).ok_or_else(|| {
            format!("the server keeps files at {artifacts}; it must serve artifacts (--serve-artifacts)")
        })?;
        for (name, bytes) in files {
            let path = format!("{ARTIFACTS}/{folder}/model/{name}");
            self.client.send(Verb::Put, &path, Body::Bytes(bytes)).map_err(|e| e.to_string())?;
        }
        self.register(run, &format!("{artifacts}/model"))
    }

    fn register(&self, run: &str, source: &str) -> Result<String, String> {
        match send(&self.client, "registered-models/create", &json!({"name": self.name})) {
            Ok(_) => {}
            Err(RegistryError::Refused { code, .. }) if code == "RESOURCE_ALREADY_EXISTS" => {}
            Err(e) => return Err(e.to_string()),
        }
        let version = json!({"name": self.name, "source": source, "run_id": run});
        let version = text(&self.post("model-versions/create", &version)?, &["model_version", "version"])?;
        if let Some(stage) = &self.stage {
            let move_to =
                json!({"name": self.name, "version": version, "stage": stage, "archive_existing_versions": true});
            self.post("model-versions/transition-stage", &move_to)?;
        }
        // last: when the alias moves, everything is in place
        if let Some(alias) = &self.alias {
            let alias = json!({"name": self.name, "alias": alias, "version": version});
            self.post("registered-models/alias", &alias)?;
        }
        Ok(version)
    }

    fn post(&self, call: &str, body: &Value) -> Result<Value, String> {
        post(&self.client, call, body)
    }
}

fn send(client: &MlflowClient, call: &str, body: &Value) -> Result<Value, RegistryError> {
    client.send(Verb::Post, &format!("/api/2.0/mlflow/{call}"), Body::Json(body))
}

fn post(client: &MlflowClient, call: &str, body: &Value) -> Result<Value, String> {
    send(client, call, body).map_err(|e| e.to_string())
}

/// The text at a path of keys.
fn text(answer: &Value, keys: &[&str]) -> Result<String, String> {
    let found = keys.iter().try_fold(answer, |v, key| v.get(key));
    let missing = || format!("the server's answer has no {}", keys.join("."));
    found.and_then(Value::as_str).map(str::to_owned).ok_or_else(missing)
}

/// The path behind `mlflow-artifacts:/...` or `mlflow-artifacts://host/...`, if the server passes files on.
fn proxied(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("mlflow-artifacts:")?;
    let path = match rest.strip_prefix("//") {
        Some(with_host) => with_host.split_once('/')?.1,
        None => rest.trim_start_matches('/'),
    };
    Some(path.trim_end_matches('/')).filter(|p| !p.is_empty() && !p.split('/').any(|part| part == ".."))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Percent-encodes a query value.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifact_uris() {
        assert_eq!(proxied("mlflow-artifacts:/1/abc/artifacts"), Some("1/abc/artifacts"));
        assert_eq!(proxied("mlflow-artifacts://host:5000/1/abc/artifacts/"), Some("1/abc/artifacts"));
        for elsewhere in ["s3://bucket/x", "file:///x", "mlflow-artifacts:/../x", "mlflow-artifacts:/"] {
            assert_eq!(proxied(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(encode("a b/ü"), "a%20b%2F%C3%BC");
    }
}
