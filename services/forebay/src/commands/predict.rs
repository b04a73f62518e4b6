//! `forebay predict`: one question to a running mesh.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::{complain, say};

/// Ask a running mesh for one prediction.
#[derive(Debug, clap::Args)]
pub(crate) struct Predict {
    /// The row, in the model's order; `null` for a missing value
    #[arg(required = true, allow_negative_numbers = true, value_name = "VALUE")]
    row: Vec<String>,
    /// Where the mesh listens
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "FOREBAY_URL")]
    url: String,
    /// Model, if not the default one
    #[arg(long)]
    model: Option<String>,
    /// Version, alias or stage, if not the default one
    #[arg(long)]
    model_version: Option<String>,
    /// Give up after so many milliseconds
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
}

pub(crate) fn run(predict: &Predict) -> ExitCode {
    match ask(predict) {
        Ok((true, answer)) => say(&format!("{answer}\n")),
        Ok((false, answer)) => complain(&answer, 1),
        Err(error) => complain(&error, 1),
    }
}

/// The answer, and whether it is a prediction.
fn ask(predict: &Predict) -> Result<(bool, String), String> {
    let values =
        predict.row.iter().flat_map(|text| text.split([',', ' '])).map(str::trim).filter(|text| !text.is_empty());
    let number = |(index, text): (usize, &str)| match text {
        "null" => Ok(Value::Null),
        _ => text
            .parse::<f64>()
            .ok()
            .filter(|v| v.is_finite())
            .map(Value::from)
            .ok_or_else(|| format!("value {} is {text:?}, and that is not a finite number", index + 1)),
    };
    let features = values.enumerate().map(number).collect::<Result<Vec<_>, _>>()?;
    let mut body = json!({ "features": features, "timeout_ms": predict.timeout_ms });
    for (key, value) in [("model", &predict.model), ("model_version", &predict.model_version)] {
        if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
            body.insert(key.to_owned(), Value::from(value.as_str()));
        }
    }
    let limit = Duration::from_millis(predict.timeout_ms.saturating_add(2_000));
    let client = reqwest::blocking::Client::builder().timeout(limit).build().map_err(|error| error.to_string())?;
    let url = format!("{}/v1/predict", predict.url.trim_end_matches('/'));
    let sent = client.post(&url).json(&body).send();
    let response = sent.map_err(|error| {
        let hint = if error.is_connect() { "; is `forebay up` running?" } else { "" };
        format!("{url} does not answer: {error}{hint}")
    })?;
    let fine = response.status().is_success();
    let text = response.text().map_err(|error| format!("{url}: the answer breaks off: {error}"))?;
    Ok((fine, text))
}
