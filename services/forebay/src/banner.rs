//! What `forebay up` prints when it starts: what it serves, where, and a request to paste with the answer to expect.

use std::fmt::Write as _;

use forebay_bus::Stages;
use forebay_ingestion::system::HttpListener;
use forebay_model::{Output, TypedRows, Value};
use forebay_registry::{ModelSettings, Registry};
use forebay_runtime::CommonSettings;

use crate::columns::name_list;
use crate::settings::Settings;

/// A row of the default model and what it predicts.
struct Sample {
    version: u32,
    features: Vec<String>,
    row: Vec<Value>,
    answer: String,
}

/// The text. A registry that cannot be read yet is mentioned in it and is no error.
pub(crate) fn text(
    shared: &CommonSettings,
    settings: &Settings,
    http: Option<&HttpListener>,
    kafka: bool,
    stages: &Stages,
) -> String {
    let (bus, models) = (&settings.bus, settings.models());
    let mut text = String::new();
    // writing to a string cannot fail
    let _ = writeln!(text, "forebay {}: {}", env!("CARGO_PKG_VERSION"), stages.names());
    let model = &models.name;
    let sample = sample(models);
    match &sample {
        Ok(sample) => {
            let features = sample.features.join(", ");
            let _ = writeln!(text, "  model    {model} v{} ({}): {features}", sample.version, models.stage);
        }
        Err(error) => {
            let _ = writeln!(text, "  model    {model}: not loaded yet: {error}");
        }
    }
    if let Some(http) = http {
        let _ = writeln!(text, "  http     {}/v1/predict   (also /v1/models, /openapi.json)", http.url());
        if let Some(grpc) = http.grpc {
            let _ = writeln!(text, "  grpc     {grpc}   (Open Inference Protocol; over HTTP: {}/v2)", http.url());
        }
    }
    if kafka {
        let topics = &shared.topics;
        let _ = writeln!(text, "  kafka    {}: {} -> {}", bus.kafka.brokers, topics.requests_in, topics.results_out);
    }
    if bus.rabbitmq.enabled() {
        let _ = writeln!(text, "  rabbitmq queue {}: answers to reply-to", bus.rabbitmq.queue);
    }
    let admin = shared.admin.listen;
    let _ = writeln!(text, "  health   http://{admin}/health/ready   metrics http://{admin}/metrics");
    if let Ok(sample) = &sample
        && let Some(http) = http
    {
        let row = sample.row.iter().map(json).collect::<Vec<_>>();
        let _ = writeln!(text, "\nTry it from another terminal; the prediction is {}:", sample.answer);
        let (url, usual) = (http.url(), http.address.port() == 8080 && !http.secure);
        let (key, file) = match http.needs_credentials() {
            true => (" -H \"X-API-Key: $KEY\"", "--api-key-file KEY "),
            false => ("", ""),
        };
        let (ca, own) = if http.secure { (" --cacert CA.pem", "--ca CA.pem ") } else { ("", "") };
        let _ = writeln!(
            text,
            "  curl -s{ca} {url}/v1/predict{key} -H 'Content-Type: application/json' -d '{{\"features\":[{}]}}'",
            row.join(",")
        );
        let to = if usual { String::new() } else { format!("--url {url} ") };
        let _ = writeln!(text, "  forebay predict {to}{own}{file}{}", row.join(" "));
    }
    let _ = writeln!(text, "\nCtrl-C stops it after finishing what it has accepted.");
    text
}

fn sample(models: &ModelSettings) -> Result<Sample, String> {
    if models.is_on_server() {
        // the start does not wait for a second request to the server
        return Err(format!("it comes from {}", models.shown()));
    }
    let registry = Registry::open_with(&models.registry_options()).map_err(|error| error.to_string())?;
    let name = &models.name;
    let model = registry.model(name).ok_or_else(|| {
        let known: Vec<String> = registry.models().into_iter().map(|model| model.name).collect();
        format!("the registry has no such model; it has {}", name_list(&known, ", "))
    })?;
    let version = model.resolve(Some(&models.stage)).map_err(|error| error.to_string())?.version;
    let loaded = registry.load(name, version, forebay_model::open).map_err(|error| error.to_string())?;
    // without an example any row shows the form
    let row = loaded.example_rows().swap_remove(0);
    let rows = TypedRows::new(row.len(), &row).map_err(|error| error.to_string())?;
    let scores = loaded.predict_values(rows, Output::Predict).map_err(|error| error.to_string())?;
    let answer = scores.label(0).map_or_else(|| scores.row(0)[0].to_string(), json);
    Ok(Sample { version, features: loaded.model.signature().features.clone(), row, answer })
}

/// A value or a label as JSON, which both can always be written as.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
