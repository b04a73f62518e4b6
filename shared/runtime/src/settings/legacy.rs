//! The variables of deployments that are older than Forebay.

use std::collections::BTreeMap;

use super::Origin;
use super::text::Key;

/// Settings that the legacy variables in `environment` stand for.
pub(super) fn settings(environment: &BTreeMap<String, String>) -> Vec<(Key, String, Origin)> {
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    let table: [(&str, [&str; 2]); 12] = [
        ("KAFKA_BROKER", ["kafka", "brokers"]),
        ("CONSUMER_GROUP", ["kafka", "consumer_group"]),
        ("REDIS_HOST", ["redis", "url"]),
        ("MODEL_NAME", ["models", "name"]),
        ("MODEL_STAGE", ["models", "stage"]),
        ("MLFLOW_TRACKING_URI", ["models", "registry"]),
        ("MLFLOW_TRACKING_USERNAME", ["models", "username"]),
        ("MLFLOW_TRACKING_PASSWORD", ["models", "password"]),
        ("MLFLOW_TRACKING_TOKEN", ["models", "token"]),
        ("MLFLOW_TRACKING_SERVER_CERT_PATH", ["models", "server_cert"]),
        ("MLFLOW_TRACKING_CLIENT_CERT_PATH", ["models", "client_cert"]),
        ("MLFLOW_TRACKING_INSECURE_TLS", ["models", "insecure_tls"]),
    ];
    let mut found = Vec::new();
    for (variable, path) in table {
        if let Some(value) = given(variable) {
            let value = if variable == "REDIS_HOST" { redis_url(&value) } else { value };
            found.push((Key::of(path), value, Origin::Legacy(variable.to_owned())));
        }
    }
    found
}

fn redis_url(host: &str) -> String {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { format!("redis://{host}") } else { format!("redis://{host}:6379") }
}
