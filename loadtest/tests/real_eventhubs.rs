//! Event Hubs from its two variables, on a Kafka that behaves like it as far as a broker can: SASL_SSL with a
//! certificate of a private authority, PLAIN for `$ConnectionString`, connections closed for large requests and for
//! silence, sessions of at least 30 s, and no automatic creation of topics.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use harness::topic::{Reader, Writer, create, group_exists, partitions};
use harness::{Mesh, ROW, ROW_V1, ROW_V3, STAGES, Service, assert_close, http, row, stop_all, use_secure_broker};
use harness::{variable, wait_all, wait_until};

/// The hubs of a namespace as k8s/azure/create.sh makes them.
const HUBS: [&str; 10] = [
    "inference-requests",
    "inference-requests-results",
    "forebay.requests",
    "forebay.features",
    "forebay.predict",
    "forebay.predictions",
    "forebay.results",
    "forebay.replies",
    "forebay.dead-letters",
    "forebay.models",
];

/// The key of the connection string, which nothing may show.
fn key() -> String {
    variable("REAL_EVENTHUB").split_once("SharedAccessKey=").unwrap().1.to_owned()
}

/// A namespace with its ten hubs, and a mesh that has the two variables and the authority of this test.
fn mesh(name: &str) -> Mesh {
    static MADE: Once = Once::new();
    use_secure_broker();
    MADE.call_once(|| {
        for hub in HUBS {
            let compacted = [("cleanup.policy", "compact")];
            create(hub, 4, if hub == "forebay.models" { &compacted } else { &[] });
        }
    });
    let mut mesh = Mesh::unset(name);
    mesh.set("USE_EVENTHUB", "true");
    mesh.set("EVENTHUB_CONNECTION", variable("REAL_EVENTHUB"));
    mesh.set("FOREBAY__KAFKA__CA_FILE", format!("{}/ca.pem", variable("REAL_TLS")));
    // nothing more but what lets a machine read the log
    mesh.set("FOREBAY__LOG__FORMAT", "json");
    mesh
}

fn predict(service: &Service, row: &str) -> serde_json::Value {
    let reply = http::predict(service.http, &[], format!(r#"{{"features":{row}}}"#)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The compression codec of every batch in the segments of `topic`: bits 0 to 2 of the attributes. In Kafka's message
/// format, version 2, the length is at byte 8 of a batch, and the attributes are the two bytes at 21.
fn codecs(topic: &str) -> Vec<u8> {
    let data = format!("{}/kafka/data", variable("REAL_SECURE_DIR"));
    let mut found = Vec::new();
    for partition in 0..4 {
        let path = format!("{data}/{topic}-{partition}/00000000000000000000.log");
        let bytes = std::fs::read(Path::new(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + 23) {
            let length = u32::from_be_bytes(head[8..12].try_into().unwrap()) as usize;
            assert_eq!((head[16], length > 0), (2, true), "{path}: no batch at {at}");
            found.push(head[22] & 7);
            at += 12 + length;
        }
    }
    found
}

#[test]
fn two_variables_are_enough_for_five_services() {
    let mesh = mesh("hubs");
    let results = Reader::from_now("inference-requests-results");
    let mut services: Vec<Service> = STAGES.iter().map(|stage| mesh.start(stage)).collect();
    wait_all(&mut services);
    let said: Vec<usize> = services.iter().map(|service| service.output().len()).collect();
    let writer = Writer::new();
    let version = format!(r#"{{"request_id":"eh-1","features":{ROW},"model_version":"v1"}}"#);
    let (partition, offset) = writer.request("inference-requests", &version);
    let result = results.result("eh-1");
    let json = result.json();
    assert_close(&json["prediction"], ROW_V1, 1e-9);
    assert_eq!(json["model_version"], "v1");
    // the time at which the hub took the request, in ISO 8601 as the Azure SDK writes it
    let request = Reader::from_start("inference-requests").find(Duration::from_secs(10), "the request", |record| {
        (record.partition, record.offset) == (partition, offset)
    });
    let time = json["timestamp"].as_str().unwrap();
    let parsed = parse(time);
    assert_eq!(parsed, request.timestamp_ms, "{time}");
    assert_close(&predict(&services[0], ROW)["prediction"], ROW_V3, 1e-4);
    // many at once: records as full as they get
    for number in 0..400 {
        writer.hand_over(
            harness::topic::Out {
                topic: "inference-requests",
                payload: format!(r#"{{"request_id":"eh-many-{number}","features":{}}}"#, row(number)).as_bytes(),
                ..Default::default()
            },
            number as u64,
        );
    }
    writer.flush();
    let mut answered = std::collections::BTreeSet::new();
    wait_until(Duration::from_secs(20), "400 answers", || {
        answered.extend(results.poll(Duration::from_millis(500)).and_then(|record| record.request_id()));
        answered.len() == 400
    });
    // a gateway closes silent connections: the next request must not meet a dead one
    std::thread::sleep(Duration::from_secs(7));
    let started = Instant::now();
    let answer = predict(&services[0], &row(4_711));
    let took = started.elapsed();
    assert!(answer["prediction"].is_number() && took < Duration::from_secs(8), "{took:?}: {answer}");
    for hub in &HUBS[..7] {
        let codecs = codecs(hub);
        assert!(
            !codecs.is_empty() && codecs.iter().all(|codec| *codec == 0),
            "{hub} holds compressed records: {codecs:?}"
        );
    }
    assert!(group_exists("$Default"), "the group on the hub of the requests");
    for (service, said) in services.iter().zip(said) {
        let log = service.output();
        assert!(!log.contains(&key()), "{} logs the key", service.name);
        // a start may take more than one try, what is ready stays so
        let log = &log[said..];
        assert!(!log.contains("trying again") && !log.contains("is not ready"), "{}: {log}", service.name);
        assert!(!log.contains("\"ERROR\""), "{}: {log}", service.name);
    }
    println!("answered {took:.2?} after the gateway had cut silent connections");
    stop_all(services);
}

/// Milliseconds since 1970 of `2026-11-23T20:15:00.123+00:00`, by Hinnant's days from civil.
fn parse(text: &str) -> i64 {
    let fields: Vec<i64> = text.split(['-', 'T', ':', '.', '+']).map(|field| field.parse().unwrap()).collect();
    let &[year, month, day, hour, minute, second, ms, 0, 0] = fields.as_slice() else { panic!("{text}") };
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms
}

#[test]
fn one_process_in_the_place_of_the_old_service() {
    let mut mesh = mesh("hub-fused");
    // as the legacy overlay has it: no USE_EVENTHUB, an address of Kafka beside it, and a group of its own
    mesh.unset_one("USE_EVENTHUB");
    mesh.set("KAFKA_BROKER", "kafka.kafka:9092");
    mesh.set("EVENTHUB_NAME", "inference-requests");
    mesh.set("CONSUMER_GROUP", "inference-consumer");
    let results = Reader::from_now("inference-requests-results");
    let mut up = mesh.launch("forebay", &["up", "--kafka"], &[]);
    up.wait_ready();
    let writer = Writer::new();
    writer.request("inference-requests", &format!(r#"{{"request_id":"eh-2","features":{ROW},"model_version":"v3"}}"#));
    let json = results.result("eh-2").json();
    assert_close(&json["prediction"], ROW_V3, 1e-4);
    assert!(json["timestamp"].as_str().unwrap().ends_with("+00:00"), "{json}");
    writer.request("inference-requests", r#"{"request_id":"eh-3","features":[1]}"#);
    let json = results.result("eh-3").json();
    assert_eq!(
        (json["error"]["code"].as_str(), json["timestamp"].is_string()),
        (Some("invalid_features"), true),
        "{json}"
    );
    assert!(group_exists("inference-consumer"));
    assert!(!up.output().contains(&key()));
    up.stop();
}

#[test]
fn a_wrong_key_or_authority_is_logged_once_and_retried_for_ever() {
    let mesh = mesh("hub-refused");
    let wrong = format!("{}A", variable("REAL_EVENTHUB"));
    let other = format!("{}/other-ca.pem", variable("REAL_TLS"));
    for (name, value, message) in [
        ("EVENTHUB_CONNECTION", wrong.as_str(), "refuses the login"),
        ("FOREBAY__KAFKA__CA_FILE", other.as_str(), "certificate verify failed"),
    ] {
        let mut service = mesh.start_with("caching", &[(name, value)]);
        let reason = || service.health().map(|(status, body)| (status, body.to_string())).unwrap_or_default();
        wait_until(Duration::from_secs(15), message, || reason().1.matches(message).count() >= 2);
        assert_eq!(reason().0, 503);
        std::thread::sleep(Duration::from_secs(4));
        let log = service.output();
        let lines = log.lines().filter(|line| line.contains(message)).count();
        assert!((1..=3).contains(&lines), "a component says once why: {lines} lines\n{log}");
        assert!(service.is_live() && !log.contains(&key()) && !reason().1.contains(&key()));
        service.stop();
        let output = mesh.run("forebay", &["topics", "create"], &[(name, value)]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && complaint.contains(message) && !complaint.contains(&key()), "{complaint}");
    }
}

#[test]
fn a_namespace_without_room_is_logged() {
    let mesh = mesh("hub-room");
    let more = [("EVENTHUB_NAME", "orders")];
    let mut service = mesh.start_with("publishing", &more);
    let hubs = HUBS.iter().filter(|hub| partitions(hub).is_some()).count();
    assert_eq!(hubs, 10, "two more do not fit");
    wait_until(Duration::from_secs(15), "the hub to be named", || {
        service
            .health()
            .is_some_and(|(status, body)| status == 503 && body.to_string().contains("topic orders-results"))
    });
    wait_until(Duration::from_secs(30), "what is missing to be logged", || {
        let log = service.output();
        log.contains("these are missing: orders, orders-results") && log.contains("has room for 10")
    });
    service.stop();
}
