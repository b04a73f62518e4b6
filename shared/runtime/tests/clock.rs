//! A machine whose clock is wrong. The correction is of the whole process, so this test has one of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue stops")]

use std::time::Duration;

use forebay_contract::{correct_clock, now_us};
use forebay_runtime::{OtelEnvironment, Process, SpanKind, Telemetry, TelemetrySettings, TraceContext};
use forebay_testkit::collector::{grpc, spans};

#[actix_rt::test]
async fn a_span_begins_and_ends_by_the_same_clock() {
    const MINUTE_NS: u64 = 60_000_000_000;
    let (address, requests) = grpc();
    let environment = OtelEnvironment::of([("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), address)]);
    let settings = TelemetrySettings { sample_ratio: 1.0, slow: Duration::from_secs(1) };
    let telemetry = Telemetry::start(Process::all_in_one("test"), &settings, &environment).unwrap();
    correct_clock(60_000_000 * 10);
    let mut span = telemetry.stage("caching").start("redis", SpanKind::Client, TraceContext::root(true), now_us());
    span.event("queried", &[]);
    drop(span);
    telemetry.flush(Duration::from_secs(30)).await;
    let (_, span) = spans(&requests).remove(0);
    let from_begin = |time: u64| time.checked_sub(span.start_time_unix_nano).unwrap();
    assert!(from_begin(span.end_time_unix_nano) < MINUTE_NS, "{span:?}");
    assert!(from_begin(span.events[0].time_unix_nano) < MINUTE_NS, "{span:?}");
}
