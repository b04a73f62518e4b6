//! The environment as a layer of settings: `FOREBAY__` variables, their `_FILE` forms, and the variables of deployments
//! that are older than Forebay.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::implied::ImpliedSettings;
use super::layer::Layer;
use super::schema::{KeyKind, KeyPath, Schema};
use super::{Problems, SettingOrigin};

const PREFIX: &str = "FOREBAY__";
const FILE_SUFFIX: &str = "_FILE";

/// Settings that older variables stand for. The first variable that is set counts if two stand for one setting.
const LEGACY: [(&str, [&str; 2]); 15] = [
    ("KAFKA_BROKER", ["kafka", "brokers"]),
    ("CONSUMER_GROUP", ["kafka", "consumer_group"]),
    ("REDIS_HOST", ["redis", "url"]),
    ("MODEL_NAME", ["models", "name"]),
    ("MODEL_STAGE", ["models", "stage"]),
    // as in MLflow, where models may be registered elsewhere than runs are tracked
    ("MLFLOW_REGISTRY_URI", ["models", "registry"]),
    ("MLFLOW_TRACKING_URI", ["models", "registry"]),
    ("MLFLOW_TRACKING_USERNAME", ["models", "username"]),
    ("MLFLOW_TRACKING_PASSWORD", ["models", "password"]),
    ("MLFLOW_TRACKING_TOKEN", ["models", "token"]),
    ("DATABRICKS_HOST", ["models", "databricks_host"]),
    ("DATABRICKS_TOKEN", ["models", "databricks_token"]),
    ("MLFLOW_TRACKING_SERVER_CERT_PATH", ["models", "server_cert"]),
    ("MLFLOW_TRACKING_CLIENT_CERT_PATH", ["models", "client_cert"]),
    ("MLFLOW_TRACKING_INSECURE_TLS", ["models", "insecure_tls"]),
];

/// A setting as the environment gives it, as text.
pub(super) type TextSetting = (KeyPath, String, SettingOrigin);

/// What the environment holds.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) layer: Layer,
    /// What other parts read from it; the settings that it implies are in the layer already.
    pub(super) implied: ImpliedSettings,
    pub(super) warnings: Vec<String>,
}

/// Reads all variables. A `FOREBAY__` variable wins over an older one.
pub(super) fn read(schema: &Schema, variables: &BTreeMap<String, String>) -> Environment {
    let (mut layer, mut warnings) = (Layer::default(), Vec::new());
    let mut implied = ImpliedSettings::default();
    schema.readers.iter().for_each(|read| read(variables, &mut implied, &mut layer.problems));
    let mut current = Vec::new();
    for (variable, value) in variables {
        if let Some(path) = variable.strip_prefix(PREFIX) {
            read_variable(schema, variable, path, value, &mut current, &mut layer.problems);
        }
    }
    let settings = std::mem::take(&mut implied.settings);
    // older manifests always set both brokers, and used Event Hubs if it had a connection
    let legacy: Vec<TextSetting> =
        legacy(variables).into_iter().filter(|(key, ..)| !settings.iter().any(|(other, ..)| other == key)).collect();
    for (key, value, origin) in legacy.into_iter().chain(settings) {
        match current.iter().find(|(other, ..)| *other == key) {
            Some((_, other, _)) if *other == value => {}
            Some((.., newer)) => warnings.push(format!("{origin} is ignored, {newer} sets {key} differently")),
            None => layer.add_text(schema, key, &value, origin),
        }
    }
    for (key, value, origin) in current {
        layer.add_text(schema, key, &value, origin);
    }
    warnings.append(&mut implied.warnings);
    Environment { layer, implied, warnings }
}

/// Turns one `FOREBAY__` variable into a setting. A known key that ends in `_file` wins over the `_FILE` form.
fn read_variable(
    schema: &Schema,
    variable: &str,
    path: &str,
    value: &str,
    found: &mut Vec<TextSetting>,
    problems: &mut Problems,
) {
    let key = key_of_variable(path);
    let known = matches!(schema.kind(&key), KeyKind::Known(_));
    let Some(path) = path.strip_suffix(FILE_SUFFIX).filter(|_| !known) else {
        found.push((key, value.to_owned(), SettingOrigin::Environment(variable.to_owned())));
        return;
    };
    let key = key_of_variable(path);
    let origin = SettingOrigin::SecretFile { variable: variable.to_owned(), path: PathBuf::from(value) };
    if matches!(schema.kind(&key), KeyKind::Foreign) {
        return;
    }
    if found.iter().any(|(other, ..)| *other == key) {
        problems.push(key.to_string(), Some(origin), "is set twice, by the variable and by its _FILE form");
        return;
    }
    match std::fs::read_to_string(value) {
        Ok(text) => found.push((key, text.trim_end_matches(['\n', '\r']).to_owned(), origin)),
        Err(error) => problems.push(key.to_string(), Some(origin), format!("cannot be read: {error}")),
    }
}

fn key_of_variable(path: &str) -> KeyPath {
    KeyPath(path.split("__").map(str::to_ascii_lowercase).collect())
}

/// Settings of the older variables that are set and not empty.
fn legacy(variables: &BTreeMap<String, String>) -> Vec<TextSetting> {
    let given = |(variable, path): &(&str, [&str; 2])| {
        let value = variables.get(*variable).filter(|value| !value.is_empty())?.clone();
        let value = if *variable == "REDIS_HOST" { redis_url(&value) } else { value };
        Some((KeyPath::of(*path), value, SettingOrigin::Legacy((*variable).to_owned())))
    };
    let mut found: Vec<TextSetting> = Vec::new();
    for setting in LEGACY.iter().filter_map(given) {
        if !found.iter().any(|(key, ..)| *key == setting.0) {
            found.push(setting);
        }
    }
    found
}

fn redis_url(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("redis://[{host}]:6379");
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { format!("redis://{host}") } else { format!("redis://{host}:6379") }
}
