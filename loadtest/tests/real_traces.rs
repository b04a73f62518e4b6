//! One trace per request across five binaries, over HTTP and Kafka, as an OpenTelemetry collector sees it.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use harness::spans::{Seen, Spans, hex};
use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, http, row, stop_all, wait_until};

/// A row of the span table: name, service, kind, the name of its parent.
type Row<'a> = (String, &'a str, SpanKind, String);

/// Asserts that the spans are these, each once, with these parents; `caller` is the parent of the first.
#[track_caller]
fn assert_table(spans: &[Seen], table: &[Row<'_>], caller: &str) -> HashMap<String, Seen> {
    let names: Vec<_> = spans.iter().map(|it| format!("{} {}", it.service, it.span.name)).collect();
    let mut found = HashMap::new();
    for (name, service, kind, _) in table {
        let of: Vec<&Seen> = spans.iter().filter(|it| it.span.name == *name).collect();
        assert_eq!(of.len(), 1, "{name} is there {} times: {names:?}", of.len());
        assert_eq!(of[0].service, format!("forebay-{service}"), "{name}");
        assert_eq!(of[0].span.kind(), *kind, "{name}");
        let span = &of[0].span;
        assert!(0 < span.start_time_unix_nano && span.start_time_unix_nano <= span.end_time_unix_nano, "{name}");
        found.insert(name.clone(), of[0].clone());
    }
    for (name, _, _, parent) in table {
        let parent_id = if parent.is_empty() { caller.to_owned() } else { found[parent].id() };
        assert_eq!(found[name].parent(), parent_id, "{name} is below {parent:?}");
    }
    assert_eq!(spans.len(), table.len(), "no other spans: {names:?}");
    found
}

/// The messaging attributes of what a stage processed, and of what it sent.
#[track_caller]
fn assert_messaging(span: &Seen, operation: &str, destination: &str, group: Option<&str>) {
    let name = &span.span.name;
    let expect = |key: &str, value: &str| assert_eq!(span.attribute(key).as_deref(), Some(value), "{key} of {name}");
    expect("messaging.system", "kafka");
    expect("messaging.operation.type", operation);
    expect("messaging.operation.name", operation);
    expect("messaging.destination.name", destination);
    if let Some(group) = group {
        expect("messaging.consumer.group.name", group);
    }
    let partition = span.attribute("messaging.destination.partition.id");
    let partition = partition.unwrap_or_else(|| panic!("{name} has no partition: {:?}", span.span.attributes));
    assert!(partition.parse::<u32>().is_ok_and(|partition| partition < 4), "partition {partition} of {name}");
}

#[test]
fn one_trace_goes_through_five_binaries_over_http_and_kafka() {
    let mut spans = Spans::collect();
    let endpoint = spans.endpoint.clone();
    let mut mesh = Mesh::with_topics("traces");
    mesh.set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    mesh.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    mesh.set("OTEL_BSP_SCHEDULE_DELAY", "200");
    // a request that takes longer is reported afterwards, sampled or not
    mesh.set("FOREBAY__TELEMETRY__SLOW", "1m");
    let services = mesh.start_all();
    let topic = |setting: &str| mesh.topic(setting);
    let process = |setting: &str| format!("process {}", mesh.topic(setting));
    let send = |setting: &str| format!("send {}", mesh.topic(setting));
    use SpanKind::{Consumer, Internal, Producer, Server};

    // HTTP, a row that no cache knows
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let parent = format!("00-{trace}-{caller}-01");
    let body = format!(r#"{{"request_id":"traced","features":{}}}"#, row(1));
    let reply = http::predict(services[0].http, &[("traceparent", &parent)], &body).unwrap();
    assert_eq!((reply.status, reply.json()["trace_id"].as_str()), (200, Some(trace)), "{}", reply.text());
    let answered = reply.header("traceparent").unwrap_or_default().to_owned();
    assert!(answered.starts_with(&format!("00-{trace}-")) && answered.ends_with("-01"), "{answered:?}");
    let server = "POST /v1/predict".to_owned();
    let table: Vec<Row<'_>> = vec![
        (server.clone(), "ingestion", Server, String::new()),
        (send("requests"), "ingestion", Producer, server.clone()),
        (process("requests"), "preprocessing", Consumer, server.clone()),
        (send("features"), "preprocessing", Producer, process("requests")),
        (process("features"), "caching", Consumer, process("requests")),
        (send("predict"), "caching", Producer, process("features")),
        (process("predict"), "prediction", Consumer, process("features")),
        ("infer".to_owned(), "prediction", Internal, process("predict")),
        (send("results"), "prediction", Producer, process("predict")),
        (send("predictions"), "prediction", Producer, process("predict")),
        (process("results"), "publishing", Consumer, process("predict")),
        (send("replies"), "publishing", Producer, process("results")),
    ];
    let names: Vec<String> = table.iter().map(|(name, ..)| name.clone()).collect();
    let found = assert_table(&spans.of_trace(trace, &names), &table, caller);
    for (setting, group) in [
        ("requests", "forebay-preprocessing"),
        ("features", "forebay-caching"),
        ("predict", "forebay-prediction"),
        ("results", "forebay-publishing"),
    ] {
        assert_messaging(&found[&process(setting)], "process", &topic(setting), Some(group));
        let label = found[&process(setting)].attribute("messaging.message.conversation_id");
        assert_eq!(label.as_deref(), Some("traced"), "{setting}");
    }
    for setting in ["requests", "features", "predict", "predictions", "results", "replies"] {
        assert_messaging(&found[&send(setting)], "send", &topic(setting), None);
    }
    let http = |name: &str| found[&server].attribute(name);
    assert_eq!(http("http.request.method").as_deref(), Some("POST"));
    assert_eq!(http("http.route").as_deref(), Some("/v1/predict"));
    assert_eq!(http("http.response.status_code").as_deref(), Some("200"));
    assert!(answered.contains(&found[&server].id()), "the answer names the server's span: {answered}");
    assert_eq!(found[&process("features")].attribute("forebay.cache").as_deref(), Some("miss"));
    let infer = &found["infer"];
    assert_eq!(infer.attribute("forebay.model").as_deref(), Some("diabetes-rf-model"));
    assert_eq!(infer.attribute("forebay.version").as_deref(), Some("3"));
    assert_eq!(infer.attribute("forebay.batch.size").as_deref(), Some("1"));
    assert_eq!(infer.span.links.len(), 1, "the batch's own span is linked");

    // Kafka, with the caller's context in the record's header; the cache knows the row then
    wait_until(Duration::from_secs(20), "the row to be cached", || {
        services[2].metric("forebay_cache_stored_total", &["level=\"memory\""]) >= 1.0
    });
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let parent = format!("00-{trace}-{caller}-01");
    let results = Reader::from_now(&topic("results_out"));
    let body = format!(r#"{{"request_id":"hit","features":{}}}"#, row(1));
    let headers: [(&str, &[u8]); 1] = [("traceparent", parent.as_bytes())];
    Writer::new().write(Out {
        topic: &topic("requests_in"),
        payload: body.as_bytes(),
        headers: &headers,
        ..Out::default()
    });
    let result = results.result("hit");
    assert_eq!(result.json()["trace_id"], trace, "{}", result.text());
    assert_eq!(result.json()["cached"], true, "{}", result.text());
    let table: Vec<Row<'_>> = vec![
        (process("requests_in"), "ingestion", Consumer, String::new()),
        (send("requests"), "ingestion", Producer, process("requests_in")),
        (process("requests"), "preprocessing", Consumer, process("requests_in")),
        (send("features"), "preprocessing", Producer, process("requests")),
        (process("features"), "caching", Consumer, process("requests")),
        (send("results"), "caching", Producer, process("features")),
        (process("results"), "publishing", Consumer, process("features")),
        (send("results_out"), "publishing", Producer, process("results")),
    ];
    let names: Vec<String> = table.iter().map(|(name, ..)| name.clone()).collect();
    let found = assert_table(&spans.of_trace(trace, &names), &table, caller);
    let group = format!("{}.outside", topic("requests_in").trim_end_matches(".requests_in"));
    assert_messaging(&found[&process("requests_in")], "process", &topic("requests_in"), Some(&group));
    assert_messaging(&found[&send("results_out")], "send", &topic("results_out"), None);
    assert_eq!(found[&process("features")].attribute("forebay.cache").as_deref(), Some("hit"));
    let header = result.header_text("traceparent");
    assert!(header.starts_with(&format!("00-{trace}-")), "{header}");
    assert!(header.contains(&found[&send("results_out")].id()), "the result names the span that sent it: {header}");

    // a caller who does not want to be traced is not; but a failure is reported afterwards, from the times it carries
    let call = |trace: &str, features: &str| {
        let parent = format!("00-{trace}-2222222222222222-00");
        let body = format!(r#"{{"request_id":"quiet","features":{features}}}"#);
        http::predict(services[0].http, &[("traceparent", &parent)], &body).unwrap()
    };
    let (quiet, failed) = ("1".repeat(32), "3".repeat(32));
    let reply = call(&quiet, &row(2));
    assert_eq!((reply.status, reply.json().get("trace_id")), (200, None), "{}", reply.text());
    let reply = call(&failed, "[1,2,3]");
    assert_eq!(reply.json()["error"]["code"], "invalid_features", "{}", reply.text());
    let names = [server, process("requests"), process("results")];
    let reported = spans.of_trace(&failed, &names);
    for (name, stage) in names.iter().zip(["ingestion", "preprocessing", "publishing"]) {
        let span = reported.iter().find(|it| it.span.name == *name).unwrap();
        assert_eq!(span.service, format!("forebay-{stage}"), "{name}");
        assert_eq!(span.attribute("forebay.afterwards").as_deref(), Some("true"), "{name}");
    }
    let culprit = reported.iter().find(|it| it.span.name == names[1]).unwrap();
    assert_eq!(culprit.span.status.clone().unwrap_or_default().code, 2, "the stage that refused it: {culprit:?}");
    assert_eq!(culprit.span.events[0].name, "exception", "{culprit:?}");
    stop_all(services);
    spans.collect_rest();
    let unwanted: Vec<_> = spans.seen.iter().filter(|it| hex(&it.span.trace_id) == quiet).collect();
    assert!(unwanted.is_empty(), "{unwanted:?}");
}
