//! The id of the schema of results: that of the settings, or the one that the registry gives to the schema under the
//! subject of the topic (the strategy TopicName). Blocking, at the start.

use std::time::Duration;

use forebay_bus::SchemaSettings;
use forebay_runtime::{StartError, without_password};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;

use super::ResultEncoding;
use crate::settings::{ResultFormat, ResultSettings};

const TIMEOUT: Duration = Duration::from_secs(3);
/// Attempts while the registry does not answer, and the time between two.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// The largest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
const AVRO: &str = include_str!("result.avsc");
const JSON: &str = include_str!("result.schema.json");
const PROTOBUF: &str = include_str!("result.proto");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    id: Option<u32>,
    #[serde(default)]
    schema: String,
    #[serde(default)]
    schema_type: Option<String>,
    #[serde(default)]
    message: String,
}

/// How results are written on `topic`.
///
/// # Errors
/// If the registry does not answer, or does not take the schema, or has another one under the id of the settings.
pub(crate) fn register(
    results: &ResultSettings,
    schemas: &SchemaSettings,
    topic: &str,
) -> Result<ResultEncoding, StartError> {
    let (kind, text) = match results.format {
        ResultFormat::Json => return Ok(ResultEncoding::Json),
        ResultFormat::JsonSchema => ("JSON", JSON),
        ResultFormat::Avro => ("AVRO", AVRO),
        ResultFormat::Protobuf => ("PROTOBUF", PROTOBUF),
    };
    let (method, path, body) = match results.schema_id {
        0 => {
            let subject = format!("{topic}-value");
            let path = format!("/subjects/{}/versions", utf8_percent_encode(&subject, NON_ALPHANUMERIC));
            ("POST", path, Some(json!({ "schema": text, "schemaType": kind })))
        }
        id => ("GET", format!("/schemas/ids/{id}"), None),
    };
    let answer = call(schemas, method, &path, body.as_ref())?;
    let id = match results.schema_id {
        0 => answer.id.ok_or_else(|| StartError::failed("the schema registry answers without an id"))?,
        id => {
            check(kind, &answer).map_err(|why| StartError::setting("results.schema_id", format!("is {id}: {why}")))?;
            id
        }
    };
    tracing::info!(topic, id, kind, "results are written with a schema");
    Ok(match results.format {
        ResultFormat::Json => ResultEncoding::Json,
        ResultFormat::JsonSchema => ResultEncoding::JsonSchema(id),
        ResultFormat::Avro => ResultEncoding::Avro(id),
        ResultFormat::Protobuf => ResultEncoding::Protobuf(id),
    })
}

/// Checks a schema that the settings name: Avro is read by it, so it has to be the one that is written.
fn check(kind: &str, answer: &Answer) -> Result<(), &'static str> {
    if answer.schema_type.as_deref().unwrap_or("AVRO") != kind {
        return Err("the schema is of another kind than results.format");
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    if kind == "AVRO" && read(&answer.schema) != read(AVRO) {
        return Err("the schema is not the one that results are written by (docs/schemas.md)");
    }
    Ok(())
}

fn call(schemas: &SchemaSettings, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, StartError> {
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")));
    let agent = config.build().new_agent();
    let mut why = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(schemas.url(path))
            .header("content-type", "application/vnd.schemaregistry.v1+json");
        if let Some(authorization) = schemas.authorization() {
            request = request.header("authorization", authorization);
        }
        let request = request.body(body.map(Value::to_string).unwrap_or_default());
        let request = request.map_err(|error| StartError::setting("schemas.registry", error.to_string()))?;
        let mut answer = match agent.run(request) {
            Ok(answer) => answer,
            Err(error) => {
                why = without_password(&error.to_string());
                continue;
            }
        };
        let status = answer.status().as_u16();
        let read = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().unwrap_or_default();
        let read = serde_json::from_slice::<Answer>(&read).ok();
        match (status, read) {
            (200, Some(answer)) => return Ok(answer),
            (200 | 500.., _) => why = format!("it answers {status}"),
            (_, answer) => {
                let message = answer.map(|answer| answer.message).unwrap_or_default();
                let text = format!("the registry answers {status} to the schema of results: {message}");
                return Err(StartError::setting("schemas.registry", text));
            }
        }
    }
    Err(StartError::failed(format!("the schema registry cannot be asked for the schema of results: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_the_settings_name_has_to_suit() {
        let answer = |schema: &str, kind: Option<&str>| Answer {
            id: None,
            schema: schema.to_owned(),
            schema_type: kind.map(str::to_owned),
            message: String::new(),
        };
        check("AVRO", &answer(AVRO, None)).unwrap();
        check("JSON", &answer("{}", Some("JSON"))).unwrap();
        assert!(check("JSON", &answer(JSON, None)).is_err());
        assert!(check("AVRO", &answer(JSON, Some("JSON"))).is_err());
        assert!(check("AVRO", &answer("\"string\"", Some("AVRO"))).unwrap_err().contains("not the one"));
    }
}
