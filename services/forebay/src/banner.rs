//! What `forebay up` prints when it starts: what it serves, where, and a request to paste with the answer to expect.

use std::fmt::Write as _;

use forebay_bus::Stages;
use forebay_contract::PredictedValue;
use forebay_ingestion::system::HttpListener;
use forebay_model::{TypedRows, Value};
use forebay_prediction::row_score;
use forebay_registry::{Inputs, ModelSettings, Registry};
use forebay_runtime::CommonSettings;

use crate::columns::name_list;
use crate::settings::Settings;

/// A row of the default model and what it predicts.
struct Sample {
    version: u32,
    features: Vec<String>,
    row: Vec<Value>,
    /// As JSON; `None` if nothing is known of it: a row of the right form, which the model may refuse.
    answer: Option<String>,
}

/// Where requests go.
struct Endpoint {
    url: String,
    /// Whether it is where `forebay predict` looks.
    usual: bool,
    secure: bool,
    needs_credentials: bool,
}

impl From<&HttpListener> for Endpoint {
    fn from(http: &HttpListener) -> Self {
        let (secure, needs_credentials) = (http.secure, http.needs_credentials());
        Self { url: http.url(), usual: http.address.port() == 8080 && !secure, secure, needs_credentials }
    }
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
    // the start does not wait for a second request to a server
    let sample = match models.is_on_server() {
        true => Err(format!("it comes from {}", models.shown())),
        false => sample(models),
    };
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
        text.push_str(&request(sample, &http.into()));
    }
    let _ = writeln!(text, "\nCtrl-C stops it after finishing what it has accepted.");
    text
}

/// Prints a request for a model on a server once its description has been read, without holding up the start. The model
/// itself is not read for it, so that nothing is known of the answer.
pub(crate) fn print_later(models: &ModelSettings, http: Option<&HttpListener>, print: impl Fn(&str) + Send + 'static) {
    let (Some(http), true) = (http.map(Endpoint::from), models.is_on_server()) else { return };
    let models = models.clone();
    let thread = std::thread::Builder::new().name("banner".into());
    // without a thread there is no request to paste, which nothing depends on
    drop(thread.spawn(move || {
        if let Some(sample) = described(&models) {
            print(&request(&sample, &http));
        }
    }));
}

/// The lines with the request.
fn request(sample: &Sample, http: &Endpoint) -> String {
    let mut text = String::new();
    let row = sample.row.iter().map(json).collect::<Vec<_>>();
    // writing to a string cannot fail
    let _ = match &sample.answer {
        Some(answer) => writeln!(text, "\nTry it from another terminal; the prediction is {answer}:"),
        None => writeln!(text, "\nTry it from another terminal, with values of yours in these columns:"),
    };
    let url = &http.url;
    let (key, file) = match http.needs_credentials {
        true => (" -H \"X-API-Key: $KEY\"", "--api-key-file KEY "),
        false => ("", ""),
    };
    let (ca, own) = if http.secure { (" --cacert CA.pem", "--ca CA.pem ") } else { ("", "") };
    let row_or_named = match sample.answer {
        Some(_) => format!("[{}]", row.join(",")),
        None => {
            let named = sample.features.iter().zip(&row).map(|(name, value)| format!("{}:{value}", json(name)));
            format!("{{{}}}", named.collect::<Vec<_>>().join(","))
        }
    };
    // a quote ends a text of the shell
    let body = format!("{{\"features\":{row_or_named}}}").replace('\'', "'\\''");
    let _ = writeln!(text, "  curl -s{ca} {url}/v1/predict{key} -H 'Content-Type: application/json' -d '{body}'");
    if sample.answer.is_some() {
        let to = if http.usual { String::new() } else { format!("--url {url} ") };
        // in quotes of the shell, so that those of JSON stay
        let quoted = |value: &String| match value.starts_with('"') {
            true => format!("'{}'", value.replace('\'', "'\\''")),
            false => value.clone(),
        };
        let row: Vec<String> = row.iter().map(quoted).collect();
        let _ = writeln!(text, "  forebay predict {to}{own}{file}{}", row.join(" "));
    }
    text
}

/// A row of zeros for the default model, as its signature describes it; `None` without a signature.
fn described(models: &ModelSettings) -> Option<Sample> {
    let registry = Registry::open_with(&models.registry_options()).ok()?;
    let version = registry.model(&models.name)?.resolve(Some(&models.stage)).ok()?.version;
    let Inputs::Columns(columns) = registry.describe_alone(&models.name, version).ok()?.inputs else { return None };
    let row = columns.iter().map(|column| Value::zero(column.kind)).collect();
    let features = columns.into_iter().map(|column| column.name).collect();
    Some(Sample { version, features, row, answer: None })
}

fn sample(models: &ModelSettings) -> Result<Sample, String> {
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
    let output =
        registry.describe_alone(name, version).ok().and_then(|described| described.output.ok()).unwrap_or_default();
    // a made-up row may have no answer
    let answered = loaded.predict_values(rows, output).ok().filter(|scores| !scores.is_empty());
    let answer =
        answered.map(|scores| json(&PredictedValue::from(&row_score(&scores, 0, output, &loaded.output_names))));
    Ok(Sample { version, features: loaded.signature.features.clone(), row, answer })
}

/// A value or a label as JSON, which both can always be written as.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use forebay_testkit::settings;

    use super::*;

    fn models(folder: &str, name: &str) -> ModelSettings {
        let registry = format!("models.registry=file:{}/../../shared/model/{folder}", env!("CARGO_MANIFEST_DIR"));
        settings(&[]).flags(&[&registry, &format!("models.name={name}")]).read(ModelSettings::read).unwrap()
    }

    fn request_for(sample: &Sample) -> String {
        let (url, secure) = ("http://127.0.0.1:8080".to_owned(), false);
        request(sample, &Endpoint { url, usual: true, secure, needs_credentials: false })
    }

    #[test]
    fn a_model_that_is_only_described_is_shown_with_its_columns() {
        let sample = described(&models("sample", "diabetes-rf-model")).unwrap();
        let text = request_for(&sample);
        assert!(text.contains("Try it from another terminal, with values of yours in these columns:"), "{text}");
        assert!(text.contains(r#"-d '{"features":{"age":0.0,"sex":0.0,"#), "{text}");
        let (features, row) = (vec!["it's".to_owned()], vec![Value::zero(forebay_model::ColumnKind::Text)]);
        let quoted = request_for(&Sample { version: 1, features, row, answer: None });
        assert!(quoted.contains(r#"-d '{"features":{"it'\''s":""}}'"#), "{quoted}");
    }

    #[test]
    fn the_answer_is_what_the_version_answers() {
        let folder = tempfile::tempdir().unwrap();
        let wide = |name: &str| format!("{}/../../shared/model/tests/golden/wide/{name}", env!("CARGO_MANIFEST_DIR"));
        for (model, tag) in [("multi_linear", ""), ("onehot_logreg", "tags: {1: {forebay.output: predict_proba}}")] {
            let version = folder.path().join(model).join("1");
            std::fs::create_dir_all(&version).unwrap();
            for entry in std::fs::read_dir(wide(model)).unwrap().map(Result::unwrap) {
                std::fs::copy(entry.path(), version.join(entry.file_name())).unwrap();
            }
            std::fs::write(folder.path().join(model).join("registered_model.yaml"), tag).unwrap();
            let registry = format!("models.registry=file:{}", folder.path().display());
            let name = format!("models.name={model}");
            let models = settings(&[]).flags(&[&registry, &name]).read(ModelSettings::read).unwrap();
            let sample = sample(&models).unwrap();
            let answer: serde_json::Value = serde_json::from_str(&sample.answer.unwrap()).unwrap();
            assert_eq!(answer.as_array().map(Vec::len), Some(2), "{model}: {answer}");
        }
    }
}
