//! Spans of the stage as a collector gets them: those of sampled items, and those written afterwards.
#![cfg(test)]

use std::sync::mpsc::channel;
use std::time::Duration;

use actix_rt::{Arbiter, System};
use forebay_bus::{Ack, Delivery, Outlet, SchemaSettings};
use forebay_contract::{ErrorCode, Item, Outcome, RequestId, now_us};
use forebay_publishing::kafka_results::ResultTopic;
use forebay_publishing::settings::{ErrorResults, ResultFormat, ResultSettings, Settings, TimestampFormat};
use forebay_publishing::system::{Outlets, stage};
use forebay_runtime::{Host, Lifecycle, Metrics, OtelEnvironment, Process, Telemetry};
use forebay_testkit::{answer, collector, failure, kafka, probe, results as batch, settings};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

const LONG: Duration = Duration::from_secs(10);

/// The spans that publishing `item` leaves, and when its delivery report was given (Unix nanoseconds).
fn spans_of(item: Item<Outcome>) -> (Vec<(String, Span)>, u64) {
    let (address, requests) = collector::grpc();
    let sources = settings(&[]);
    let shared = sources.common();
    let environment = OtelEnvironment::of([("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), address)]);
    let process = Process::all_in_one("test");
    let telemetry = Telemetry::start(process, &shared.telemetry, &environment).unwrap();
    let host = Host::new(process, shared, Lifecycle::new(), Metrics::new(), telemetry.clone());
    let system = System::new();
    let arbiter = Arbiter::new();
    let (sent, records) = channel();
    let result_topic = ResultTopic::new(
        "inference-results",
        |_| Some(4),
        move |_, ack, spans| {
            sent.send((ack, spans)).unwrap();
        },
    );
    let outlets = Outlets {
        result_topic: Some(result_topic),
        history: None,
        amqp_replies: None,
        replies: Outlet::new(|_, ack: Ack| ack.ack()),
    };
    let results = ResultSettings {
        transactions: false,
        format: ResultFormat::Json,
        schema_id: 0,
        transaction_interval: Duration::from_millis(10),
        errors: ErrorResults::Send,
        also_http: false,
        window_capacity: 1000,
        idempotent_answers: 100,
        idempotent_memory: 1 << 20,
        timestamp: TimestampFormat::Auto,
    };
    let stage = stage(
        &Settings { results, schemas: SchemaSettings::default() },
        &sources.bus(),
        &host,
        &arbiter.handle(),
        outlets,
    );
    let (ack, report) = probe::ack();
    stage.inlet.deliver(Delivery { payload: batch(vec![item]), ack });
    let (ack, spans) = records.recv_timeout(LONG).unwrap();
    drop(spans);
    let reported = now_us() * 1000;
    ack.ack();
    report.recv_timeout(LONG).unwrap();
    system.block_on(telemetry.flush(LONG));
    (collector::spans(&requests), reported)
}

#[test]
fn a_sampled_item_has_its_span_until_the_report_and_one_for_the_send() {
    let mut item = kafka(RequestId([1; 16])).sampled().item(answer(1.0));
    item.parent_span = 0xABCD;
    let (spans, reported) = spans_of(item);
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert!(spans.iter().all(|(service, span)| service == "forebay-publishing" && span.trace_id == [7; 16]));
    let of_kind = |kind: SpanKind| &spans.iter().find(|(_, span)| span.kind == i32::from(kind)).unwrap().1;
    let (process, send) = (of_kind(SpanKind::Consumer), of_kind(SpanKind::Producer));
    assert_eq!(process.name, "process forebay.results");
    assert_eq!(process.parent_span_id, 0xABCDu64.to_be_bytes());
    assert!(process.end_time_unix_nano >= reported, "ended before the delivery report");
    assert_eq!(send.name, "send inference-results");
    assert_eq!(send.parent_span_id, process.span_id);
}

#[test]
fn a_failed_item_that_was_not_sampled_has_spans_of_every_stage() {
    let item = kafka(RequestId([1; 16])).item(failure(ErrorCode::ModelUnavailable, "every version is open"));
    let (mut spans, _) = spans_of(item);
    spans.sort_by_key(|(_, span)| span.start_time_unix_nano);
    let found: Vec<_> = spans.iter().map(|(service, span)| (service.as_str(), span.name.as_str())).collect();
    assert_eq!(
        found,
        [
            ("forebay-ingestion", "process inference-requests"),
            ("forebay-prediction", "process forebay.predict"),
            ("forebay-publishing", "process forebay.results"),
        ]
    );
    for pair in spans.windows(2) {
        assert_eq!(pair[1].1.parent_span_id, pair[0].1.span_id);
    }
    assert!(spans.iter().all(|(_, span)| span.trace_id == [7; 16]));
    let failed = |index: usize| {
        let status = &spans[index].1.status;
        status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
    };
    assert!(!failed(0) && failed(1) && !failed(2));
}
