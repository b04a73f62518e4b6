//! The variables of deployments that are older than Forebay.

use std::collections::BTreeMap;

use super::text::Key;
use super::{Origin, Problems, Secret};

/// The Event Hubs variables as they were found. Parsed and checked here; the door that uses them decides what they mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventHubs {
    /// `USE_EVENTHUB`; when that is not set, true exactly if a connection string is.
    pub enabled: bool,
    /// `EVENTHUB_CONNECTION`.
    pub connection: Secret,
    /// `EVENTHUB_NAME`, else `inference-requests`.
    pub name: String,
}

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

/// Reads the Event Hubs variables.
pub(super) fn event_hubs(environment: &BTreeMap<String, String>, problems: &mut Problems) -> EventHubs {
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let connection = Secret::new(given("EVENTHUB_CONNECTION").cloned().unwrap_or_default());
    let name = given("EVENTHUB_NAME").cloned().unwrap_or_else(|| "inference-requests".to_owned());
    let enabled = match given("USE_EVENTHUB").map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None => !connection.is_empty(),
        Some("true" | "1" | "yes") => true,
        Some("false" | "0" | "no") => false,
        Some(other) => {
            let text = format!("is {other:?}, expected true or false");
            problems.push("USE_EVENTHUB", Some(Origin::Legacy("USE_EVENTHUB".into())), text);
            false
        }
    };
    if enabled && connection.is_empty() {
        problems.push("EVENTHUB_CONNECTION", None, "is not set, and USE_EVENTHUB is true");
    }
    EventHubs { enabled, connection, name }
}
