//! The schemas that were read, and the records that wait for one that was not: a thread reads it and passes them on.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_bus::kafka::{RawBatch, RawRecord};
use forebay_bus::{Delivery, SchemaSettings};
use forebay_runtime::{Lifecycle, StartError};
use parking_lot::RwLock;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::registry::{Registry, Schema};
use super::{avro, json_text, protobuf};
use crate::parse::confluent_schema;
use crate::system::KafkaHandler;

/// Bytes before the value: zero, and the id.
const FRAME: usize = 5;
/// Where serializers put the id of the value's schema if they are set to: another kind of id, which is not read.
const ID_HEADER: &str = "__value_schema_id";
/// The most schemas that are kept before those that cannot be used are read again.
const MAX_SCHEMAS: usize = 4096;
/// How long a schema that cannot be used counts as such: it may be registered after the first record with its id.
const UNUSABLE: Duration = Duration::from_secs(60);
/// Between two questions while the registry does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The schemas by id. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Schemas(Arc<RwLock<HashMap<u32, Known>>>);

/// What was read for an id.
#[derive(Clone, Debug)]
struct Known {
    schema: Arc<Schema>,
    /// When it is read again; `None` for a schema, which never changes.
    until: Option<Instant>,
}

impl Schemas {
    /// The JSON of a record's framed value; `None` for one without a frame, and where no registry was asked for its schema.
    /// With `selective` only some of its values are read later, and the others may be such as no row has.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn json(&self, record: &RawRecord, selective: bool) -> Option<Result<Bytes, String>> {
        let (id, value) = (framed(record)?, &record.payload);
        let schema = self.0.read().get(&id).map(|known| Arc::clone(&known.schema))?;
        Some(match &*schema {
            Schema::Unusable(why) => Err(excerpt(why)),
            Schema::Json => Ok(json_request(value.slice(FRAME..))),
            Schema::Avro(schema) => of_schema(id, avro::request(schema, &value[FRAME..], selective)),
            Schema::Protobuf(schema) => of_schema(id, protobuf::request(schema, &value[FRAME..], selective)),
        })
    }

    /// The first id of a batch whose schema is not known.
    fn missing(&self, batch: &RawBatch) -> Option<u32> {
        let framed = batch.records.iter().filter_map(framed);
        let mut framed = framed.peekable();
        framed.peek()?;
        let (known, now) = (self.0.read(), Instant::now());
        framed.find(|id| known.get(id).is_none_or(|known| known.until.is_some_and(|until| until <= now)))
    }

    /// Keeps a schema that cannot be used for as long again; `false` if there is none.
    fn keep_unusable(&self, id: u32) -> bool {
        let mut known = self.0.write();
        let until = known.get_mut(&id).and_then(|known| known.until.as_mut());
        until.map(|until| *until = Instant::now() + UNUSABLE).is_some()
    }

    fn insert(&self, id: u32, schema: Schema) {
        self.insert_for(id, schema, UNUSABLE);
    }

    fn insert_for(&self, id: u32, schema: Schema, unusable: Duration) {
        let mut known = self.0.write();
        if known.len() >= MAX_SCHEMAS {
            // a producer may name any number of ids that the registry does not have
            known.retain(|_, known| known.until.is_none());
        }
        let until = matches!(schema, Schema::Unusable(_)).then(|| Instant::now() + unusable);
        known.insert(id, Known { schema: Arc::new(schema), until });
    }
}

/// The id before a record's value; `None` for a value without one.
fn framed(record: &RawRecord) -> Option<u32> {
    confluent_schema(&record.payload).filter(|_| record.header(ID_HEADER).is_none())
}

/// Why a value that is no JSON cannot be read, if the id of its schema is in a header.
pub(crate) fn id_in_header(record: &RawRecord) -> Option<String> {
    record.header(ID_HEADER)?;
    Some(format!(
        "the id of the schema is in the header {ID_HEADER}, which is not read; set the serializer to write it before the value"
    ))
}

/// The request that a JSON document is: one with features, else a row, as for the other kinds of schemas.
fn json_request(json: Bytes) -> Bytes {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        features: Option<IgnoredAny>,
    }
    match serde_json::from_slice::<Document>(&json) {
        Ok(Document { features: None }) => json_text::of_row(&json).into(),
        // the parser of requests says what is wrong with it
        Ok(_) | Err(_) => json,
    }
}

fn of_schema(id: u32, json: Result<Vec<u8>, String>) -> Result<Bytes, String> {
    json.map(Bytes::from).map_err(|why| excerpt(&format!("the value is none of its schema {id}: {why}")))
}

/// A reason, which may quote names of a schema and keys of a record: its beginning and its end, without control characters.
fn excerpt(why: &str) -> String {
    const LONGEST: usize = 400;
    let why = why.replace(char::is_control, "\u{fffd}");
    if why.len() <= 2 * LONGEST {
        return why;
    }
    let (start, end) = (why.floor_char_boundary(LONGEST), why.ceil_char_boundary(why.len() - LONGEST));
    format!("{} ... {}", &why[..start], &why[end..])
}

/// What passes batches on to `next`, once all their schemas are known. Batches that wait hold the permits of their source,
/// so that it stops reading; others go by them.
///
/// # Errors
/// If no thread can be started.
pub(crate) fn start(
    settings: &SchemaSettings,
    schemas: Schemas,
    lifecycle: &Lifecycle,
    next: KafkaHandler,
) -> Result<KafkaHandler, StartError> {
    if settings.registry.is_empty() {
        return Ok(next);
    }
    let registry = Registry::new(settings);
    let (waiting, batches) = mpsc::channel::<Delivery<RawBatch>>();
    let (lifecycle, component) = (lifecycle.clone(), lifecycle.register("schema registry"));
    // a registry that does not answer is no reason to refuse what needs none
    component.ready();
    let (known, forward) = (schemas.clone(), Arc::clone(&next));
    let read = move || {
        for batch in batches {
            if read_missing(&registry, &known, &batch.payload, &lifecycle) {
                forward(batch);
            }
        }
        component.finished();
    };
    std::thread::Builder::new().name("schema registry".to_owned()).spawn(read).map_err(StartError::failed)?;
    Ok(Arc::new(move |batch| match schemas.missing(&batch.payload) {
        None => next(batch),
        // the thread ends with the process
        Some(_) => drop(waiting.send(batch)),
    }))
}

/// Reads what is missing for a batch, however long that takes; `false` if the process ends before.
fn read_missing(registry: &Registry, known: &Schemas, batch: &RawBatch, lifecycle: &Lifecycle) -> bool {
    while let Some(id) = known.missing(batch) {
        match registry.schema(id) {
            Ok(schema) => {
                if let Schema::Unusable(why) = &schema {
                    tracing::error!(id, why = excerpt(why), "records of a schema cannot be read");
                }
                known.insert(id, schema);
            }
            // the records are read again by the next process
            Err(_) if lifecycle.is_draining() => return false,
            // what the registry did not have before is refused for longer, so that it holds up no other record
            Err(why) if known.keep_unusable(id) => tracing::warn!(id, why, "schema not read again"),
            Err(why) => {
                tracing::warn!(id, why, "schema not read, its records wait");
                std::thread::sleep(PAUSE);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use forebay_bus::Ack;
    use forebay_contract::Lane;

    use super::*;

    /// A registry with an Avro schema 1 that refers to another, a JSON schema 2, a Protobuf schema 3 that refers to one that
    /// refers to another, and a schema 4 of some other kind; it answers 503 while `down`.
    fn registry(down: Arc<AtomicBool>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = [0; 2048];
                let read = stream.read(&mut head).unwrap();
                let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
                let row = r#"{"schema":"{\"type\":\"record\",\"name\":\"Row\",\"fields\":[{\"name\":\"city\",\"type\":\"City\"}]}","references":[{"name":"City","subject":"shop/city","version":4}]}"#;
                let city = r#"{"schema":"{\"type\":\"enum\",\"name\":\"City\",\"symbols\":[\"A\",\"B\"]}"}"#;
                let order = r#"{"schemaType":"PROTOBUF","schema":"syntax = \"proto3\"; import \"place.proto\"; import \"town.proto\"; message Order { int32 n = 1; Place place = 2; } message Row { shop.Town town = 1; }","references":[{"name":"place.proto","subject":"place","version":1},{"name":"town.proto","subject":"town","version":2}]}"#;
                let place = r#"{"schemaType":"PROTOBUF","schema":"syntax = \"proto3\"; import \"town.proto\"; message Place { shop.Town town = 1; }","references":[{"name":"town.proto","subject":"town","version":2}]}"#;
                let town = r#"{"schemaType":"PROTOBUF","schema":"syntax = \"proto3\"; package shop; enum Town { A = 0; B = 1; }"}"#;
                let (status, body) = match head.split(' ').nth(1).unwrap() {
                    _ if down.load(Ordering::SeqCst) => (503, ""),
                    _ if !head.contains("authorization: basic dxnlcjpwyxnz") => (401, ""),
                    "/schemas/ids/1" => (200, row),
                    "/subjects/shop%2fcity/versions/4" => (200, city),
                    "/schemas/ids/2" => (200, r#"{"schema":"{}","schemaType":"JSON"}"#),
                    "/schemas/ids/3" => (200, order),
                    "/subjects/place/versions/1" => (200, place),
                    "/subjects/town/versions/2" => (200, town),
                    "/schemas/ids/4" => (200, r#"{"schema":"","schemaType":"THRIFT"}"#),
                    _ => (404, "{}"),
                };
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
            }
        });
        url
    }

    fn record(value: &[u8]) -> RawRecord {
        let payload = Bytes::copy_from_slice(value);
        RawRecord { payload, key: None, partition: 0, offset: 0, timestamp_ms: 0, headers: vec![] }
    }

    fn batch(values: &[&[u8]]) -> Delivery<RawBatch> {
        let records = values.iter().map(|value| record(value)).collect();
        Delivery { payload: RawBatch { lane: Lane::Normal, records, ..RawBatch::default() }, ack: Ack::none() }
    }

    #[test]
    fn records_wait_for_their_schemas_and_others_go_by() {
        let down = Arc::new(AtomicBool::new(true));
        let (username, password) = ("user".to_owned(), "pass".to_owned());
        let settings = SchemaSettings { registry: registry(Arc::clone(&down)), username, password };
        let (schemas, lifecycle) = (Schemas::default(), Lifecycle::new());
        let (sender, passed) = mpsc::channel();
        let next: KafkaHandler = Arc::new(move |batch| sender.send(batch.payload.records.len()).unwrap());
        let handle = start(&settings, schemas.clone(), &lifecycle, next).unwrap();
        let limit = Duration::from_secs(20);
        let framed = |id: u8, value: &[u8]| [&[0, 0, 0, 0, id], value].concat();
        let (avro, json, other) = (framed(1, &[2]), framed(2, b"{\"features\":[1]}"), framed(4, b""));
        let (protobuf, absent) = (framed(3, &[2, 2, 8, 1]), framed(9, b""));
        handle(batch(&[&avro, &json, &protobuf, &other, &absent]));
        handle(batch(&[b"{\"features\":[1]}"]));
        assert_eq!(passed.recv_timeout(limit), Ok(1), "records without a frame do not wait");
        down.store(false, Ordering::SeqCst);
        assert_eq!(passed.recv_timeout(limit), Ok(5));
        down.store(true, Ordering::SeqCst);
        handle(batch(&[&avro, &absent]));
        assert_eq!(passed.recv_timeout(limit), Ok(2), "known ids need no registry");
        let read = |value: &[u8]| schemas.json(&record(value), false).map(|it| it.map(|json| json.to_vec()));
        assert_eq!(read(&avro), Some(Ok(br#"{"features":{"city":"B"}}"#.to_vec())));
        assert_eq!(read(&json), Some(Ok(br#"{"features":[1]}"#.to_vec())));
        assert_eq!(read(&framed(2, b" {\"a\":1}")), Some(Ok(br#"{"features": {"a":1}}"#.to_vec())), "a row");
        assert_eq!(read(&framed(2, b"{\"a\":")), Some(Ok(b"{\"a\":".to_vec())), "the parser says what is wrong");
        assert_eq!(read(b"{\"features\":[1]}"), None);
        assert_eq!(
            read(&other),
            Some(Err("the schema 4 is of the kind THRIFT, expected AVRO, JSON or PROTOBUF".into()))
        );
        assert_eq!(read(&absent), Some(Err("the schema 9 is not in the registry".into())));
        assert!(read(&framed(1, &[4])).unwrap().unwrap_err().contains("none of its schema 1: city: the index 2"));
        assert_eq!(read(&protobuf), Some(Ok(br#"{"features":{"town":"B"}}"#.to_vec())));
        assert!(read(&framed(3, &[0, 8])).unwrap().unwrap_err().contains("none of its schema 3: n: the record ends"));
        assert_eq!(Schemas::default().json(&record(&avro), false), None, "the parser says what its bytes are");
        let quoted = excerpt(&format!("a\nb{}: is not finite", "\u{e9}".repeat(500)));
        assert!(quoted.starts_with("a\u{fffd}b\u{e9}") && quoted.ends_with("\u{e9}: is not finite"), "{quoted}");
        assert!(quoted.len() < 900, "{quoted}");
        let headers = vec![(ID_HEADER.to_owned(), Bytes::from_static(&[1; 17]))];
        assert_eq!(schemas.json(&RawRecord { headers, ..record(&avro) }, false), None, "its first bytes are no id");
    }
    #[test]
    fn an_id_that_was_unknown_is_looked_up_again_after_a_while() {
        let (schemas, batch) = (Schemas::default(), batch(&[&[0, 0, 0, 0, 9]]).payload);
        let unusable = || Schema::Unusable("is not in the registry".to_owned());
        assert_eq!(schemas.missing(&batch), Some(9));
        schemas.insert(9, unusable());
        assert_eq!(schemas.missing(&batch), None);
        schemas.insert_for(9, unusable(), Duration::ZERO);
        assert_eq!(schemas.missing(&batch), Some(9));
        assert!(matches!(schemas.json(&batch.records[0], false), Some(Err(_))), "until then it is what it was");
        schemas.insert_for(9, Schema::Json, Duration::ZERO);
        assert_eq!(schemas.missing(&batch), None);
    }
}
