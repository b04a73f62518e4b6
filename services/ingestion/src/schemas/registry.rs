//! A schema registry with Confluent's API. Blocking, for threads that may block.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use forebay_bus::SchemaSettings;
use forebay_runtime::without_password;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

use super::avro_schema::AvroSchema;
use super::protobuf::{self, ProtobufSchema};

const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// The most schemas to which one refers, with those to which they refer.
const MAX_REFERENCES: usize = 64;

/// What is known of the schema of an id.
#[derive(Debug)]
pub(super) enum Schema {
    Avro(AvroSchema),
    Protobuf(ProtobufSchema),
    /// The bytes behind the id are JSON, which is checked like any other request.
    Json,
    /// Why records with this id cannot be read.
    Unusable(String),
}

/// Reads schemas.
#[derive(Debug)]
pub(super) struct Registry {
    url: String,
    authorization: Option<String>,
    agent: Agent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    schema: String,
    #[serde(default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    /// What the schema calls it: the file that a Protobuf schema imports.
    #[serde(default)]
    name: String,
    subject: String,
    version: u32,
}

/// Why a schema could not be read.
#[derive(Debug)]
enum ReadError {
    /// The registry does not have it, or it is no schema: asking again makes no difference.
    Unusable(String),
    /// The registry does not answer.
    Unavailable(String),
}

impl Registry {
    pub(super) fn new(settings: &SchemaSettings) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")));
        Self { url: settings.url(""), authorization: settings.authorization(), agent: config.build().new_agent() }
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// If the registry does not answer: it may do so later.
    pub(super) fn schema(&self, id: u32) -> Result<Schema, String> {
        let read = self.get::<Answer>(&format!("/schemas/ids/{id}")).and_then(|answer| self.parse(answer));
        match read {
            Ok(schema) => Ok(schema),
            Err(ReadError::Unusable(why)) => Ok(Schema::Unusable(format!("the schema {id} {why}"))),
            Err(ReadError::Unavailable(why)) => Err(why),
        }
    }

    fn parse(&self, answer: Answer) -> Result<Schema, ReadError> {
        let kind = answer.schema_type.as_deref().unwrap_or("AVRO");
        let mut before = Vec::new();
        match kind {
            "AVRO" | "PROTOBUF" => self.referenced(answer.references, &mut before, &mut BTreeSet::new())?,
            "JSON" => return Ok(Schema::Json),
            other => {
                let why = format!("is of the kind {other}, expected AVRO, JSON or PROTOBUF");
                return Err(ReadError::Unusable(why));
            }
        }
        let schema = match kind {
            "PROTOBUF" => protobuf::compile(&answer.schema, &before).map(Schema::Protobuf),
            _ => avro(&answer.schema, &before).map(Schema::Avro),
        };
        schema.map_err(ReadError::Unusable)
    }

    /// The names and texts of the schemas to which another refers, each behind those to which it refers itself. `read` has
    /// the names, subjects and versions of all.
    fn referenced(
        &self,
        references: Vec<Reference>,
        texts: &mut Vec<(String, String)>,
        read: &mut BTreeSet<(String, String, u32)>,
    ) -> Result<(), ReadError> {
        for Reference { name, subject, version } in references {
            let path = format!("/subjects/{}/versions/{version}", utf8_percent_encode(&subject, NON_ALPHANUMERIC));
            if !read.insert((name.clone(), subject, version)) {
                continue;
            }
            if read.len() > MAX_REFERENCES {
                return Err(ReadError::Unusable(format!("refers to more than {MAX_REFERENCES} others")));
            }
            let answer: Answer = self.get(&path)?;
            self.referenced(answer.references, texts, read)?;
            texts.push((name, answer.schema));
        }
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ReadError> {
        let unavailable = |why: String| ReadError::Unavailable(without_password(&why));
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut answer = request.call().map_err(|error| unavailable(error.to_string()))?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Err(ReadError::Unusable("is not in the registry".to_owned())),
            status => return Err(unavailable(format!("the registry answers {status}"))),
        }
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|error| unavailable(io::Error::other(error).to_string()))?;
        serde_json::from_slice(&body).map_err(|error| ReadError::Unusable(format!("came as something else: {error}")))
    }
}

fn avro(schema: &str, before: &[(String, String)]) -> Result<AvroSchema, String> {
    let mut named = BTreeMap::new();
    for (_, text) in before {
        named = AvroSchema::parse(text, named)?.named;
    }
    AvroSchema::parse(schema, named)
}
