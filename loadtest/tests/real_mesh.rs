//! Five binaries over a real Kafka: requests over HTTP and Kafka with answers known beforehand, and bad input
//! everywhere.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use harness::topic::{self, Out, Reader, Writer};
use harness::{Mesh, ROW, ROW_V1, ROW_V3, STAGES, Service, assert_close, http, row, stop_all, wait_all, wait_until};

const GOLDEN: &str = include_str!("../../shared/model/sample/diabetes-rf-model/expected.json");
const QUIET: Duration = Duration::from_millis(1500);

/// Sends a request and expects a prediction.
#[track_caller]
fn predict(service: &Service, body: &str) -> Value {
    let reply = http::predict(service.http, &[], body).unwrap();
    assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    reply.json()
}

/// The keys of a JSON object in the order in which they stand in the text.
fn keys(text: &str) -> Vec<String> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
    let mut keys: Vec<String> = object.keys().cloned().collect();
    keys.sort_by_key(|key| text.find(&format!("\"{key}\":")).unwrap());
    keys
}

#[test]
fn topics_are_made_once() {
    let mesh = Mesh::named("topics");
    let first = mesh.create_topics();
    assert_eq!(first.matches("created").count(), 10, "{first}");
    let again = mesh.create_topics();
    assert_eq!((again.matches("created").count(), again.matches("exists").count()), (0, 10), "{again}");
    for setting in harness::TOPICS {
        let four = || topic::partitions(&mesh.topic(setting)) == Some(4);
        wait_until(Duration::from_secs(10), &format!("four partitions of {setting}"), four);
    }
    let mesh = Mesh::named("topics");
    let output = mesh.run("forebay", &["topics", "create", "--set", "kafka.partitions=6"], &[]);
    assert!(output.status.success(), "{output:?}");
    let six = || topic::partitions(&mesh.topic("features")) == Some(6);
    wait_until(Duration::from_secs(10), "six partitions", six);
}

#[test]
fn http_and_kafka_answer_as_known() {
    let mesh = Mesh::with_topics("answers");
    let mut services: Vec<Service> = STAGES.iter().map(|stage| mesh.start(stage)).collect();
    let ready: HashMap<&str, Duration> = STAGES.into_iter().zip(services.iter_mut().map(Service::wait_ready)).collect();
    http_answers(&services);
    legacy_answers(&mesh);
    for service in &services {
        let name = service.name.trim_start_matches("forebay-");
        let stage = format!("stage=\"{name}\"");
        assert!(service.metric("forebay_stage_received_total", &[&stage]) > 0.0, "{name} counts nothing");
        println!("{name}: ready after {:.2?}, {:.0} MiB resident", ready[name], service.resident_mib());
    }
    stop_all(services);
}

fn http_answers(services: &[Service]) {
    let ingestion = &services[0];
    let reply = predict(ingestion, &format!(r#"{{"request_id":"one","features":{ROW}}}"#));
    assert_close(&reply["prediction"], ROW_V3, 1e-4);
    assert_eq!((&reply["request_id"], &reply["model_version"]), (&json!("one"), &json!("v3")));
    assert_eq!((&reply["model"], &reply["cached"]), (&json!("diabetes-rf-model"), &json!(false)));
    assert!(reply["latency_ms"].as_f64().unwrap() > 0.0 && reply["timestamp"].as_u64().unwrap() > 1_700_000_000_000);

    let text = http::predict(ingestion.http, &[], format!(r#"{{"features":{ROW}}}"#)).unwrap().text();
    assert_eq!(keys(&text)[..4], ["request_id", "prediction", "model_version", "timestamp"], "{text}");
    wait_until(Duration::from_secs(5), "the row to be cached", || {
        predict(ingestion, &format!(r#"{{"features":{ROW}}}"#))["cached"] == true
    });

    let names = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"];
    let values: Vec<f64> = serde_json::from_str(ROW).unwrap();
    let named: Vec<String> =
        names.iter().zip(&values).rev().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let reply = predict(ingestion, &format!(r#"{{"features":{{{}}}}}"#, named.join(",")));
    assert_close(&reply["prediction"], ROW_V3, 1e-4);
    assert_eq!(reply["cached"], true, "the same row under its names is the same row: {reply}");

    let reply = predict(ingestion, &format!(r#"{{"features":{ROW},"model_version":"v1"}}"#));
    assert_eq!((reply["prediction"].as_f64(), &reply["model_version"]), (Some(ROW_V1), &json!("v1")));
    let reply = predict(ingestion, &format!(r#"{{"features":{ROW},"model_version":"v99"}}"#));
    assert_close(&reply["prediction"], ROW_V3, 1e-4);
    assert_eq!((&reply["model_version"], &reply["fallback_from"]), (&json!("v3"), &json!("v99")));

    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    for (version, known) in golden["versions"].as_object().unwrap() {
        // a scikit-learn forest is reproduced to the bit, nets and ONNX compute in single precision
        let tolerance = if known["exact"] == true { 0.0 } else { 1e-3 };
        let body = json!({ "features": golden["rows"], "model_version": format!("v{version}") });
        let reply = predict(ingestion, &body.to_string());
        let expected = known["predict"].as_array().unwrap();
        let predictions = reply["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), expected.len(), "{reply}");
        for (prediction, expected) in predictions.iter().zip(expected) {
            assert_close(prediction, expected.as_f64().unwrap(), tolerance);
        }
    }
    wait_until(Duration::from_secs(10), "ingestion to know the models", || {
        let models = http::get(ingestion.http, "/v1/models").unwrap();
        assert!(matches!(models.status, 200 | 503), "{}", models.text());
        models.status == 200 && models.text().contains("diabetes-rf-model")
    });
    let openapi = http::get(ingestion.http, "/openapi.json").unwrap();
    assert!(openapi.json()["paths"]["/v1/predict"]["post"].is_object(), "{}", openapi.text());
}

fn legacy_answers(mesh: &Mesh) {
    let (input, writer, results) =
        (mesh.topic("requests_in"), Writer::new(), Reader::from_now(&mesh.topic("results_out")));
    let requests = Reader::from_now(&input);
    let body = format!(r#"{{"request_id": "req_1", "features": {ROW}, "model_version": "v1"}}"#);
    writer.request(&input, &body);
    let sent = requests.poll(Duration::from_secs(10)).unwrap();
    let first = results.result("req_1");
    assert_eq!(
        keys(&first.text())[..4],
        ["request_id", "prediction", "model_version", "timestamp"],
        "{}",
        first.text()
    );
    let json = first.json();
    assert_eq!((json["prediction"].as_f64(), &json["model_version"]), (Some(ROW_V1), &json!("v1")));
    assert_eq!(json["timestamp"].as_i64(), Some(sent.timestamp_ms), "the record's own time");
    assert_eq!(first.header("forebay-request-id").map(<[u8]>::len), Some(20));

    writer.request(&input, &body);
    let second = results.result("req_1");
    assert_eq!(second.json()["prediction"], json["prediction"], "clients reuse their ids");
    assert_ne!(first.header("forebay-request-id"), second.header("forebay-request-id"));

    for (id, more, version, prediction) in [
        ("bare", "", "v3", ROW_V3),
        ("v3", r#","model_version":"v3""#, "v3", ROW_V3),
        ("unknown", r#","model_version":"v77","colour":"blue""#, "v3", ROW_V3),
        ("model", r#","model":"diabetes-rf-model","priority":0,"timeout_ms":20000"#, "v3", ROW_V3),
    ] {
        writer.request(&input, &format!(r#"{{"request_id":"{id}","features":{ROW}{more}}}"#));
        let result = results.result(id).json();
        assert_close(&result["prediction"], prediction, 1e-4);
        assert_eq!(result["model_version"], version, "{result}");
        assert_eq!(result.get("fallback_from"), (id == "unknown").then_some(&json!("v77")), "{result}");
    }
    writer.request(&input, &format!(r#"{{"features":{ROW}}}"#));
    let nameless =
        results.find(Duration::from_secs(10), "a result without an id", |record| record.request_id().is_none());
    assert!(nameless.text().starts_with(r#"{"request_id":null,"prediction":"#), "{}", nameless.text());
    assert_eq!(results.rest(QUIET).len(), 0, "every request was answered once");
}

/// Input, HTTP status, code, and a part of the message.
fn bad_bodies() -> Vec<(String, u16, &'static str, &'static str)> {
    let with = |features: &str| format!(r#"{{"request_id":"bad","features":{features}}}"#);
    let rows = format!("[{}]", vec![ROW; 10_000].join(","));
    vec![
        (String::new(), 400, "invalid_request", "empty"),
        ("{".into(), 400, "invalid_request", "line 1"),
        ("not json at all".into(), 400, "invalid_request", "line 1"),
        ("[1,2]".into(), 400, "invalid_request", "JSON object"),
        (r#"{"features":[0.1,0.2"#.into(), 400, "invalid_request", "features"),
        ("{}".into(), 400, "invalid_request", "features"),
        (with("[0.1,0.2,0.3]"), 400, "invalid_features", "10"),
        (with("[0,0,0,0,0,0,0,0,0,0,0]"), 400, "invalid_features", "10"),
        (with(r#"[0,0,0,"abc",0,0,0,0,0,0]"#), 400, "invalid_features", "bp"),
        (with("[0,0,NaN,0,0,0,0,0,0,0]"), 400, "invalid_features", "features[2]"),
        (with("[0,0,0,0,0,0,0,0,0,-Infinity]"), 400, "invalid_features", "features[9]"),
        (with("[1e400,0,0,0,0,0,0,0,0,0]"), 400, "invalid_features", "features[0]"),
        (
            with(r#"{"age":0,"sax":0,"bmi":0,"bp":0,"s1":0,"s2":0,"s3":0,"s4":0,"s5":0,"s6":0}"#),
            400,
            "invalid_features",
            "sax",
        ),
        (with(r#"{"age":0.1}"#), 400, "invalid_features", "bmi"),
        (format!(r#"{{"features":{ROW},"colour":"blue"}}"#), 400, "invalid_request", "colour"),
        (format!(r#"{{"features":{ROW},"priority":"high"}}"#), 400, "invalid_request", "priority"),
        (format!(r#"{{"features":{ROW},"timeout_ms":0}}"#), 400, "invalid_request", "timeout_ms"),
        (format!(r#"{{"features":{ROW},"model":"no-such-model"}}"#), 404, "unknown_model", "no-such-model"),
        (with(&rows), 413, "payload_too_large", "1048576"),
        (with(&format!("[{}]", vec!["[0]"; 10_000].join(","))), 413, "payload_too_large", "1024"),
        ("x".repeat(1_100_000), 413, "payload_too_large", "1048576"),
    ]
}

#[test]
fn bad_input_is_refused_on_http_and_names_the_place() {
    let mesh = Mesh::with_topics("bad-http");
    let services = mesh.start_all();
    let address = services[0].http;
    for (body, status, code, part) in bad_bodies() {
        let shown: String = body.chars().take(120).collect();
        let reply = http::predict(address, &[], &body).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(reply.status, status, "{shown}: {}", reply.text());
        let json = reply.json();
        assert_eq!((&json["prediction"], &json["error"]["code"]), (&Value::Null, &json!(code)), "{shown}: {json}");
        let message = json["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{shown}: {message}");
    }
    // rows are neighbours: one bad row spoils no other
    let reply = predict(&services[0], &format!(r#"{{"features":[{ROW},[1,2],{ROW}]}}"#));
    let predictions = reply["predictions"].as_array().unwrap();
    assert_close(&predictions[0], ROW_V3, 1e-4);
    assert_eq!((&predictions[1], predictions.len()), (&Value::Null, 3));
    assert_eq!((&reply["errors"][0]["row"], &reply["errors"][0]["code"]), (&json!(1), &json!("invalid_features")));
    for (path, status) in [("/nowhere", 404), ("/v1/predict", 405)] {
        assert_eq!(http::get(address, path).unwrap().status, status, "{path}");
    }
    assert_eq!(
        Reader::from_start(&mesh.topic("dead_letters")).held(),
        0,
        "callers got the errors, nothing is a dead letter"
    );
    stop_all(services);
}

#[test]
fn bad_input_on_the_topic_is_answered_or_kept() {
    let mesh = Mesh::with_topics("bad-kafka");
    let services = mesh.start_all();
    let (input, writer) = (mesh.topic("requests_in"), Writer::new());
    let (results, letters) =
        (Reader::from_now(&mesh.topic("results_out")), Reader::from_now(&mesh.topic("dead_letters")));
    // readable, so answered: id, document behind the id, code, part of the message
    let answered = [
        ("short", "\"features\":[1,2,3]", "invalid_features", "10"),
        ("text", "\"features\":[0,0,0,\"abc\",0,0,0,0,0,0]", "invalid_features", "bp"),
        ("nan", "\"features\":[0,0,NaN,0,0,0,0,0,0,0]", "invalid_features", "features[2]"),
        ("huge", "\"features\":[0,0,1e400,0,0,0,0,0,0,0]", "invalid_features", "features[2]"),
        ("none", "\"model_version\":\"v1\"", "invalid_request", "features"),
        ("many", "\"features\":[[0],[1]]", "payload_too_large", "one row"),
        ("model", &format!("\"features\":{ROW},\"model\":\"no-such-model\""), "unknown_model", "no-such-model"),
    ];
    // no JSON at all, so kept: the bytes, and whether there is someone to tell
    let kept: [(&[u8], Option<&str>); 5] = [
        (b"", None),
        (b"\xff\xfe\x00garbage", None),
        (b"[1,2,3]", None),
        (b"{\"request_id\":\"cut\",\"features\":[0.1,0.2", Some("cut")),
        (b"{\"features\":[1,2", None),
    ];
    for (number, (id, rest, ..)) in answered.iter().enumerate() {
        writer.request(&input, &format!("{{\"request_id\":\"{id}\",{rest}}}"));
        writer.request(&input, &format!("{{\"request_id\":\"good-{number}\",\"features\":{ROW}}}"));
    }
    let mut places = Vec::new();
    for (bytes, _) in kept {
        let headers: [(&str, &[u8]); 1] = [("x-client", b"legacy \xff")];
        places.push(writer.write(Out {
            topic: &input,
            key: Some(b"key"),
            payload: bytes,
            headers: &headers,
            ..Out::default()
        }));
    }
    writer.request(&input, &format!("{{\"request_id\":\"good-last\",\"features\":{ROW}}}"));

    let expected = answered.len() * 2 + 2;
    let mut found: Vec<Value> =
        (0..expected).map_while(|_| results.poll(Duration::from_secs(20))).map(|r| r.json()).collect();
    found.extend(results.rest(QUIET).into_iter().map(|record| record.json()));
    assert_eq!(found.len(), expected, "{found:?}");
    let of = |id: &str| found.iter().find(|json| json["request_id"] == id).unwrap_or_else(|| panic!("{id}: {found:?}"));
    for (number, (id, _, code, part)) in answered.iter().enumerate() {
        let result = of(id);
        assert_eq!((&result["prediction"], &result["error"]["code"]), (&Value::Null, &json!(code)), "{result}");
        assert!(result["error"]["message"].as_str().unwrap().contains(part), "{result}");
        assert_close(&of(&format!("good-{number}"))["prediction"], ROW_V3, 1e-4);
    }
    assert_eq!(of("cut")["error"]["code"], "invalid_request");
    assert_close(&of("good-last")["prediction"], ROW_V3, 1e-4);

    let mut dead: Vec<_> = (0..kept.len()).map_while(|_| letters.poll(Duration::from_secs(20))).collect();
    dead.extend(letters.rest(QUIET));
    assert_eq!(dead.len(), kept.len(), "{:?}", dead.iter().map(topic::Record::text).collect::<Vec<_>>());
    for ((bytes, _), (partition, offset)) in kept.iter().zip(&places) {
        let place = |letter: &&topic::Record| {
            letter.header_text("__connect.errors.offset") == offset.to_string()
                && letter.header_text("__connect.errors.partition") == partition.to_string()
        };
        let letter = dead.iter().find(place).unwrap_or_else(|| panic!("no letter for {partition}@{offset}"));
        assert_eq!(letter.payload, *bytes);
        assert_eq!(letter.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(letter.header("x-client"), Some(&b"legacy \xff"[..]), "the original header");
        assert_eq!(letter.header_text("__connect.errors.topic"), input);
        assert_eq!(letter.header_text("forebay-stage"), "ingestion");
        assert_eq!(letter.header_text("forebay-code"), "invalid_request");
        assert!(!letter.header_text("__connect.errors.exception.message").is_empty());
    }
    let cut = kept.iter().position(|(_, id)| *id == Some("cut")).unwrap();
    dead_letter_commands(&mesh, kept.len(), kept[cut].0, places[cut]);
    stop_all(services);
}

/// `forebay dead-letters` with `count` letters in the topic, of which the record at `place` has the request id `cut`.
fn dead_letter_commands(mesh: &Mesh, count: usize, bytes: &[u8], place: (i32, i64)) {
    let run = |arguments: &[&str]| {
        let output = mesh.run("forebay", &[&["dead-letters"], arguments].concat(), &[]);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    };
    let text = |arguments: &[&str]| String::from_utf8(run(arguments)).unwrap();
    let (input, topic) = (mesh.topic("requests_in"), mesh.topic("dead_letters"));
    let held = || Reader::from_start(&topic).held();

    let listed = text(&["list"]);
    assert_eq!(listed.matches("invalid_request").count(), count, "{listed}");
    assert!(text(&["list", "--stage", "caching"]).contains("no dead letters"));
    assert!(text(&["list", "--since", "2h", "--until", "1h"]).contains("no dead letters"));
    let listed = text(&["list", "--request-id", "cut", "--topic", &input, "--code", "invalid_request"]);
    assert!(listed.contains(&format!("{input}/{}@{}", place.0, place.1)), "{listed}");
    let letter = listed.split_whitespace().next().unwrap();

    let shown = text(&["show", letter]);
    assert!(shown.contains("request id   cut") && shown.contains("x-client: legacy \\xff"), "{shown}");
    assert_eq!(run(&["show", letter, "--raw"]), bytes);
    let missing = mesh.run("forebay", &["dead-letters", "show", "0@99999"], &[]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("0@99999"), "{missing:?}");

    let (requests, results) = (Reader::from_now(&input), Reader::from_now(&mesh.topic("results_out")));
    for dry in [&["replay", letter, "--dry-run"][..], &["replay", "--request-id", "cut", "--dry-run"]] {
        let said = text(dry);
        assert!(said.contains(&format!("{letter}  would be sent to {input}")) && said.contains("1 would be"), "{said}");
    }
    assert!(!mesh.run("forebay", &["dead-letters", "replay"], &[]).status.success(), "everything by accident");
    assert_eq!((requests.rest(QUIET).len(), held()), (0, count as i64), "a dry run changes nothing");
    let said = text(&["replay", letter]);
    let sent = requests.poll(Duration::from_secs(10)).unwrap();
    assert!(said.contains(&format!("{letter}  sent to {input}/{}@{}", sent.partition, sent.offset)), "{said}");
    assert_eq!((&sent.payload[..], sent.key.as_deref(), sent.partition), (bytes, Some(&b"key"[..]), place.0));
    assert_eq!(sent.headers, [("x-client".to_owned(), b"legacy \xff".to_vec())], "and none of the letter");
    assert_eq!(results.result("cut").json()["error"]["code"], "invalid_request", "it is a new request");
    wait_until(Duration::from_secs(10), "its own letter", || held() == count as i64 + 1);

    assert!(text(&["purge", "--all", "--dry-run"]).contains(&format!("{} dead letters would be", count + 1)));
    assert!(text(&["purge", "--before", "1h"]).contains("0 dead letters deleted"));
    assert_eq!(held(), count as i64 + 1);
    let said = text(&["purge", letter]);
    assert!(said.contains(&format!("to {letter}  deleted")), "{said}");
    assert!(!text(&["list"]).contains(&format!("{letter}  ")), "up to and including this one");
    text(&["purge", "--all"]);
    assert!(held() == 0 && text(&["list"]).contains("no dead letters"));
}

#[test]
fn undecodable_records_on_inner_topics_become_one_dead_letter_each() {
    let mesh = Mesh::with_topics("poison");
    let services = mesh.start_all();
    let (writer, letters) = (Writer::new(), Reader::from_now(&mesh.topic("dead_letters")));
    // `replies` is read by the partition of one replica: one of these is for it, and the others have no reader
    let readers = [
        ("requests", "preprocessing", 1),
        ("features", "caching", 1),
        ("predict", "prediction", 1),
        ("predictions", "caching", 1),
        ("results", "publishing", 1),
        ("replies", "ingestion", 4),
    ];
    for (setting, stage, copies) in readers {
        let origin = mesh.topic(setting);
        let mut places = Vec::new();
        for copy in 0..copies {
            let partition = Some(if copies == 1 { 2 } else { copy });
            let (payload, headers): (&[u8], [(&str, &[u8]); 1]) =
                (b"\xff\xff\xffnot a batch", [("x-from", b"elsewhere")]);
            places.push(writer.write(Out {
                topic: &origin,
                partition,
                key: Some(b"k\x00"),
                payload,
                headers: &headers,
                ..Out::default()
            }));
        }
        let letter = letters.find(Duration::from_secs(20), &format!("dead letter from {setting}"), |_| true);
        assert_eq!(letter.payload, b"\xff\xff\xffnot a batch", "{setting}");
        assert_eq!(letter.key.as_deref(), Some(&b"k\x00"[..]), "{setting}");
        assert_eq!(letter.header("x-from"), Some(&b"elsewhere"[..]), "{setting}");
        assert_eq!(letter.header_text("forebay-stage"), stage);
        for name in ["__connect.errors.topic", "kafka_dlt-original-topic"] {
            assert_eq!(letter.header_text(name), origin);
        }
        let place = (letter.header_text("__connect.errors.partition"), letter.header_text("__connect.errors.offset"));
        assert!(
            places.iter().any(|(p, o)| (p.to_string(), o.to_string()) == place),
            "{setting}: {place:?} of {places:?}"
        );
        let offset: [u8; 8] = letter.header("kafka_dlt-original-offset").unwrap().try_into().unwrap();
        assert_eq!(i64::from_be_bytes(offset).to_string(), place.1, "{setting}");
        let more = letters.rest(QUIET);
        assert!(more.is_empty(), "{setting}: {} letters too many", more.len());
        let reply = predict(&services[0], &format!(r#"{{"features":{}}}"#, row(places.len())));
        assert!(reply["prediction"].is_number(), "after {setting}: {reply}");
    }
    for service in &services {
        assert!(service.is_ready() && service.is_live(), "{}: {:?}", service.name, service.health());
    }
    stop_all(services);
}

#[test]
fn what_the_broker_refuses_is_answered_or_kept() {
    let mesh = Mesh::named("too-large");
    topic::create(&mesh.topic("requests"), 4, &[("max.message.bytes", "6000")]);
    topic::create(&mesh.topic("results"), 4, &[("max.message.bytes", "770")]);
    topic::create(&mesh.topic("replies"), 4, &[("max.message.bytes", "6000")]);
    topic::create(&mesh.topic("results_out"), 4, &[("max.message.bytes", "600")]);
    mesh.create_topics();
    let services = mesh.start_all();
    let address = services[0].http;
    // records are divided until they fit
    let rows = (0..200).map(row).collect::<Vec<_>>().join(",");
    let reply = predict(&services[0], &format!(r#"{{"features":[{rows}]}}"#));
    assert!(reply.get("errors").is_none(), "{reply}");
    let predictions = reply["predictions"].as_array().unwrap();
    assert!(predictions.len() == 200 && predictions.iter().all(Value::is_number), "{reply}");
    // a row that cannot be divided is answered
    let wide = vec!["0.1"; 1000].join(",");
    let reply = http::predict(address, &[], format!(r#"{{"features":[[{wide}],{ROW}]}}"#)).unwrap().json();
    assert_eq!((&reply["errors"][0]["row"], &reply["errors"][0]["code"]), (&json!(0), &json!("payload_too_large")));
    assert!(reply["predictions"][1].is_number(), "{reply}");
    let message = reply["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(&mesh.topic("requests")), "names the topic: {reply}");
    // an outcome of which not even the error is taken is kept, and nothing waits for it
    let letters = Reader::from_now(&mesh.topic("dead_letters"));
    let label = "y".repeat(500);
    let body = format!(r#"{{"request_id":"{label}","features":{},"timeout_ms":5000}}"#, row(1000));
    assert_eq!(http::predict(address, &[], body).unwrap().status, 504);
    let letter = letters.find(Duration::from_secs(20), "the outcome that was refused", |_| true);
    assert!(letter.text().contains(&label), "{}", letter.text());
    assert_eq!(letter.header_text("__connect.errors.topic"), mesh.topic("results"));
    assert_eq!(letter.header_text("forebay-code"), "payload_too_large");
    assert!(predict(&services[0], &format!(r#"{{"features":{ROW}}}"#))["prediction"].is_number());
    for service in &services {
        wait_until(Duration::from_secs(5), &format!("{} to have nothing in flight", service.name), || {
            service.metric("forebay_stage_in_flight", &[]) == 0.0
        });
    }

    // a result that the outside topic does not take: the error can reach no caller, so it is kept
    let (input, writer) = (mesh.topic("requests_in"), Writer::new());
    let (results, letters) =
        (Reader::from_now(&mesh.topic("results_out")), Reader::from_now(&mesh.topic("dead_letters")));
    let label = "x".repeat(400);
    writer.request(&input, &format!(r#"{{"request_id":"{label}","features":{ROW}}}"#));
    let letter = letters.find(Duration::from_secs(20), "the result that was refused", |_| true);
    assert!(letter.text().contains(&label), "{}", letter.text());
    assert_eq!(letter.header_text("__connect.errors.topic"), mesh.topic("results_out"));
    assert_eq!(letter.header_text("forebay-stage"), "publishing");
    writer.request(&input, &format!(r#"{{"request_id":"after","features":{ROW}}}"#));
    assert_close(&results.result("after").json()["prediction"], ROW_V3, 1e-4);
    assert!(letters.rest(QUIET).is_empty(), "one dead letter");
    stop_all(services);
}

/// As long as the default timeout: without a correction every answer would be `deadline_exceeded`.
#[test]
fn a_machine_whose_clock_is_wrong_answers_like_the_others() {
    let mesh = Mesh::with_topics("clock");
    let start = |stage: &&str| match *stage {
        "ingestion" => mesh.start_with(stage, &[("FOREBAY_TEST_CLOCK_OFFSET_MS", "-61000")]),
        "prediction" => mesh.start_with(stage, &[("FOREBAY_TEST_CLOCK_OFFSET_MS", "61000")]),
        _ => mesh.start(stage),
    };
    let mut services: Vec<Service> = STAGES.iter().map(start).collect();
    wait_all(&mut services);
    let status = |number: usize| {
        let body = format!(r#"{{"features":{}}}"#, row(9_000 + number));
        http::predict(services[0].http, &[], body).unwrap().status
    };
    // a stage learns of its clock with the first record that it sends
    wait_until(Duration::from_secs(20), "an answer in time", || status(0) == 200);
    let statuses: Vec<u16> = (1..20).map(status).collect();
    assert_eq!(statuses, [200; 19]);
    let skew = |stage: usize| services[stage].metric("forebay_clock_skew_seconds", &[]);
    assert!((60.0..61.1).contains(&skew(0)), "ingestion is behind: {}", skew(0));
    assert!((-61.1..-60.0).contains(&skew(3)), "prediction is ahead: {}", skew(3));
    assert!(skew(1).abs() < 0.1, "preprocessing is right: {}", skew(1));
    stop_all(services);
}

#[test]
fn a_result_topic_that_is_deleted_and_created_again_gets_every_result() {
    let mut mesh = Mesh::with_topics("recreated");
    // how long the client believes in a topic that the broker does not know; 30 s unless set
    mesh.set("FOREBAY__KAFKA__OPTIONS__TOPIC_METADATA_PROPAGATION_MAX_MS", "1000");
    let services = mesh.start_all();
    let (input, writer) = (mesh.topic("requests_in"), Writer::new());
    let outside = mesh.topic("results_out");
    writer.request(&input, &format!(r#"{{"request_id":"before","features":{ROW}}}"#));
    Reader::from_start(&outside).result("before");
    topic::delete(&outside);
    for number in 0..100 {
        let body = format!(r#"{{"request_id":"{number}","features":{}}}"#, row(number));
        writer.hand_over(Out { topic: &input, payload: body.as_bytes(), ..Out::default() }, 0);
    }
    writer.flush();
    wait_until(Duration::from_secs(20), "publishing to notice", || {
        services[4].output().contains("send failed, trying again")
    });
    topic::create(&outside, 4, &[]);
    let results = Reader::from_start(&outside);
    let deadline = Instant::now() + Duration::from_secs(40);
    let mut arrived = HashSet::new();
    while arrived.len() < 100 && Instant::now() < deadline {
        let Some(result) = results.poll(Duration::from_secs(1)) else { continue };
        assert!(result.json()["prediction"].is_number(), "{}", result.text());
        assert!(arrived.insert(result.request_id().unwrap()), "twice: {}", result.text());
    }
    assert_eq!(arrived.len(), 100);
    assert_eq!(Reader::from_start(&mesh.topic("dead_letters")).held(), 0);
    stop_all(services);
}

#[test]
fn advice_that_cannot_be_written_answers_nothing() {
    let mut mesh = Mesh::with_topics("advice");
    mesh.set("FOREBAY__KAFKA__OPTIONS__MESSAGE_TIMEOUT_MS", "2000");
    let services = mesh.start_all();
    let (input, writer) = (mesh.topic("requests_in"), Writer::new());
    let (results, outcomes) = (Reader::from_now(&mesh.topic("results_out")), Reader::from_now(&mesh.topic("results")));
    topic::delete(&mesh.topic("predictions"));
    for number in 0..40 {
        writer.request(&input, &format!(r#"{{"request_id":"{number}","features":{},"timeout_ms":4000}}"#, row(number)));
    }
    let answered: HashSet<String> = (0..40)
        .map_while(|_| results.poll(Duration::from_secs(20)))
        .filter(|result| result.json()["prediction"].is_number())
        .filter_map(|result| result.request_id())
        .collect();
    assert_eq!(answered.len(), 40);
    let sent = outcomes.rest(QUIET).len();
    assert!(sent > 0 && sent <= 40, "{sent} records of outcomes");
    let dropped = || services[3].metric("forebay_stage_advisory_dropped_total", &["stage=\"prediction\""]);
    wait_until(Duration::from_secs(20), "the advice to be dropped", || dropped() >= 40.0);
    assert_eq!(outcomes.rest(QUIET).len(), 0, "one outcome for each request");
    assert_eq!(results.rest(QUIET).len(), 0);
    stop_all(services);
}
