//! `forebay predict`: one question to a running mesh.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use forebay_runtime::{Secret, without_password};
use serde_json::{Value, json};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::{eprint, print};

/// Ask a running mesh for one prediction.
#[derive(Debug, clap::Args)]
pub(crate) struct Predict {
    /// The row, in the model's order: numbers, true, false, null for a missing value, and text. Text that looks like
    /// another value is written as in JSON: '"12"'
    #[arg(required = true, allow_negative_numbers = true, value_name = "VALUE")]
    pub(crate) row: Vec<String>,
    /// Where the mesh listens
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "FOREBAY_URL")]
    pub(crate) url: String,
    /// Model, if not the default one
    #[arg(long)]
    model: Option<String>,
    /// Version, alias or stage, if not the default one
    #[arg(long)]
    model_version: Option<String>,
    /// Give up after this many milliseconds
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
    /// File with an API key or a token, if the mesh asks for one; without it the variable FOREBAY_API_KEY is used
    #[arg(long, value_name = "FILE", env = "FOREBAY_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// PEM file of the authority of the mesh's certificate, instead of the usual ones
    #[arg(long, value_name = "FILE", env = "FOREBAY_CA")]
    ca: Option<PathBuf>,
}

pub(crate) fn run(predict: &Predict) -> ExitCode {
    match request_prediction(predict) {
        Ok((true, answer)) => print(&format!("{answer}\n")),
        Ok((false, answer)) => eprint(&answer, 1),
        Err(error) => eprint(&error, 1),
    }
}

/// The values of an argument: several where commas or spaces stand between numbers, else one.
fn values(argument: &str) -> Vec<Value> {
    let pieces = argument.split([',', ' ']).map(str::trim).filter(|text| !text.is_empty());
    match pieces.map(no_text).collect::<Option<Vec<Value>>>() {
        Some(values) if !values.is_empty() => values,
        _ => vec![serde_json::from_str::<String>(argument).map_or_else(|_| argument.into(), Value::String)],
    }
}

/// A number, a boolean or a missing value. Integers stay exact.
fn no_text(text: &str) -> Option<Value> {
    match text {
        "null" => Some(Value::Null),
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => match text.parse::<i64>() {
            Ok(integer) => Some(integer.into()),
            Err(_) => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from),
        },
    }
}

/// The answer, and whether it is a prediction.
fn request_prediction(predict: &Predict) -> Result<(bool, String), String> {
    let features: Vec<Value> = predict.row.iter().flat_map(|argument| values(argument)).collect();
    let mut body = json!({ "features": features, "timeout_ms": predict.timeout_ms });
    for (key, value) in [("model", &predict.model), ("model_version", &predict.model_version)] {
        if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
            body.insert(key.to_owned(), Value::from(value.as_str()));
        }
    }
    send(predict, &body)
}

fn send(predict: &Predict, body: &Value) -> Result<(bool, String), String> {
    let limit = Duration::from_millis(predict.timeout_ms.saturating_add(2_000));
    let mut config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(limit)).max_redirects(0);
    if let Some(path) = &predict.ca {
        let roots = RootCerts::Specific(Arc::new(authorities(path)?));
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    let url = format!("{}/v1/predict", predict.url.trim_end_matches('/'));
    let shown = without_password(&url);
    let mut request = config.build().new_agent().post(&url);
    if let Some(key) = key(predict)? {
        let value = ureq::http::HeaderValue::from_str(&format!("Bearer {}", key.expose()));
        request =
            request.header("Authorization", value.map_err(|_| "the API key has characters that no header can carry")?);
    }
    let sent = request.send_json(body);
    let mut response = sent.map_err(|error| {
        let refused = matches!(&error, ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused);
        let hint = match &error {
            _ if refused => "; is `forebay up` running?",
            ureq::Error::Http(_) | ureq::Error::Protocol(_) if url.starts_with("http:") => "; does it speak https?",
            _ if error.to_string().contains("InvalidContentType") => "; does it speak http, without TLS?",
            _ => "",
        };
        format!("{shown} does not answer: {error}{hint}")
    })?;
    let fine = response.status().is_success();
    let text =
        response.body_mut().read_to_string().map_err(|error| format!("{shown}: the answer breaks off: {error}"))?;
    match text.is_empty() {
        true => {
            Err(format!("{shown} answered {} and nothing else; is this where the mesh listens?", response.status()))
        }
        false => Ok((fine, text)),
    }
}

/// The file's first, as it was asked for by name.
fn key(predict: &Predict) -> Result<Option<Secret>, String> {
    let Some(path) = &predict.api_key_file else {
        // no flag holds a key: it would be seen in the list of processes
        let key = std::env::var_os("FOREBAY_API_KEY").map(|key| Secret::new(key.to_string_lossy()));
        return Ok(key.filter(|key| !key.is_empty()));
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("{}: is empty, expected an API key or a token", path.display())),
        key => Ok(Some(Secret::new(key))),
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let wrong = |error: String| format!("{}: {error}", path.display());
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
    let items = items.map_err(|error| wrong(error.to_string()))?;
    let found: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() { Err(wrong("holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_are_in_json() {
        let all = ["0.5, -1 2e3", "null,true", "two words", "\"12\"", "9007199254740993", "1,x", ""];
        let read: Vec<Value> = all.iter().flat_map(|argument| values(argument)).collect();
        let expected = json!([0.5, -1, 2000.0, null, true, "two words", "12", 9_007_199_254_740_993i64, "1,x", ""]);
        assert_eq!(Value::Array(read), expected);
    }
}
