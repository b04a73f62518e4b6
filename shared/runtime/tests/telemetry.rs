//! Spans against receivers in this process, sent from inside an actix system, which is where exporters used to hang.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue stops")]

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use forebay_runtime::{
    KeyValue, OtelEnvironment, Process, SpanKind, SpanRecord, StageTracer, Telemetry, TelemetrySettings, TraceContext,
};
use forebay_testkit::collector::{grpc, grpc_tls, spans};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

const FLUSH: Duration = Duration::from_secs(30);
const START_US: u64 = 1_700_000_000_000_000;

/// A receiver for HTTP with protobuf bodies.
fn http() -> (String, Receiver<ExportTraceServiceRequest>) {
    use actix_web::{App, HttpResponse, HttpServer, web};
    let (received, requests) = channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let app = move || {
        let received = received.clone();
        let take = move |body: web::Bytes| {
            received.send(ExportTraceServiceRequest::decode(body).unwrap()).unwrap();
            async { HttpResponse::Ok().content_type("application/x-protobuf").finish() }
        };
        App::new().route("/v1/traces", web::post().to(take))
    };
    let serve = async move {
        HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await.unwrap();
    };
    std::thread::spawn(move || actix_rt::System::new().block_on(serve));
    (format!("http://{address}"), requests)
}

fn start(process: Process, variables: &[(&str, &str)]) -> Telemetry {
    let environment = OtelEnvironment::of(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    let settings = TelemetrySettings { sample_ratio: 1.0, slow: Duration::from_secs(1) };
    Telemetry::start(process, &settings, &environment).unwrap()
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Any> {
    span.attributes.iter().find(|it| it.key == key)?.value.as_ref()?.value.as_ref()
}

async fn flush_in_time(telemetry: &Telemetry) {
    let before = Instant::now();
    telemetry.flush(FLUSH).await;
    assert!(before.elapsed() < FLUSH, "the flush ran into its limit");
}

#[actix_rt::test]
async fn one_request_is_one_trace_over_two_stages() {
    let (address, requests) = grpc();
    let telemetry = start(Process::all_in_one("forebay"), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)]);
    let (caching, prediction) = (telemetry.stage("caching"), telemetry.stage("prediction"));
    let root = caching.sample_root(None);
    assert!(root.sampled() && root.span_id == [0; 8]);

    let mut lookup = caching.start("process forebay.features", SpanKind::Consumer, root, START_US);
    lookup.set("forebay.cache", "miss");
    lookup.event("redis queried", &[KeyValue::new("keys", 3)]);
    let mut infer = prediction.start("process forebay.predict", SpanKind::Consumer, lookup.context(), START_US + 50);
    let batch = TraceContext::root(true).child();
    infer.link(batch);
    infer.error("model_unavailable", "every version is open");
    infer.end_at(START_US + 80);
    lookup.end_at(START_US + 100);
    flush_in_time(&telemetry).await;

    let spans = spans(&requests);
    assert_eq!(spans.len(), 2);
    let of = |service: &str| &spans.iter().find(|(name, _)| name == service).unwrap().1;
    let (lookup, infer) = (of("forebay-caching"), of("forebay-prediction"));
    assert_eq!((lookup.name.as_str(), lookup.trace_id.as_slice()), ("process forebay.features", &root.trace_id[..]));
    assert!(lookup.parent_span_id.is_empty(), "the first span is the root");
    assert_eq!((lookup.start_time_unix_nano, lookup.end_time_unix_nano), (START_US * 1000, (START_US + 100) * 1000));
    assert_eq!(attribute(lookup, "forebay.cache"), Some(&Any::StringValue("miss".into())));
    assert_eq!(lookup.events[0].name, "redis queried");
    assert_eq!((&infer.trace_id, &infer.parent_span_id), (&lookup.trace_id, &lookup.span_id));
    assert_eq!(infer.links[0].span_id, batch.span_id);
    assert_eq!(attribute(infer, "error.type"), Some(&Any::StringValue("model_unavailable".into())));
    let status = infer.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "every version is open"));
}

#[actix_rt::test]
async fn a_record_is_exported_with_its_own_ids_though_not_sampled() {
    let (address, requests) = grpc();
    let telemetry = start(Process::service("publishing"), &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &address)]);
    let unsampled = TraceContext { trace_id: [7; 16], span_id: [8; 8], flags: 0 };
    assert!(telemetry.stage("publishing").start("x", SpanKind::Internal, unsampled, START_US).context() == unsampled);
    telemetry.stage("caching").record(SpanRecord {
        name: "process forebay.features".into(),
        kind: SpanKind::Consumer,
        context: unsampled,
        parent_span_id: [9; 8],
        start_us: START_US,
        end_us: START_US - 5,
        attributes: vec![KeyValue::new("forebay.slow", true)],
        error: Some(("deadline_exceeded".into(), "too late".into())),
        links: vec![],
    });
    flush_in_time(&telemetry).await;
    let spans = spans(&requests);
    assert_eq!(spans.len(), 1, "the unsampled span must not be sent");
    let (service, span) = &spans[0];
    assert_eq!(service, "forebay-caching");
    assert_eq!(
        (&span.trace_id[..], &span.span_id[..], &span.parent_span_id[..]),
        (&[7; 16][..], &[8; 8][..], &[9; 8][..])
    );
    assert_eq!(span.end_time_unix_nano, span.start_time_unix_nano, "no span ends before it starts");
    assert_eq!(span.flags & 1, 1);
    assert_eq!(span.status.clone().unwrap_or_default().message, "too late");
    let event = &span.events[0];
    assert_eq!((event.name.as_str(), event.time_unix_nano), ("exception", span.end_time_unix_nano));
    let keys: Vec<_> = event.attributes.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["exception.type", "exception.message"]);
}

#[actix_rt::test]
async fn names_come_from_the_environment() {
    let (address, requests) = grpc();
    let (endpoint, named) = (("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()), ("OTEL_SERVICE_NAME", "shop"));
    let single = start(Process::service("caching"), &[endpoint, named]);
    for stage in ["caching", "prediction"] {
        let tracer = single.stage(stage);
        drop(tracer.start("x", SpanKind::Internal, tracer.sample_root(None), START_US));
    }
    flush_in_time(&single).await;
    let mut names: Vec<_> = spans(&requests).into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["forebay-prediction", "shop"]);

    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.name=other");
    let all = start(Process::all_in_one("forebay"), &[endpoint, named, attributes]);
    drop(all.stage("caching").start("x", SpanKind::Internal, TraceContext::root(true), START_US));
    flush_in_time(&all).await;
    let resource = requests.recv_timeout(FLUSH).unwrap().resource_spans.remove(0).resource.unwrap();
    for (key, value) in [
        ("service.name", "forebay-caching"),
        ("service.namespace", "shop"),
        ("deployment.environment", "test"),
        ("telemetry.sdk.language", "rust"),
    ] {
        let found = resource.attributes.iter().find(|it| it.key == key).unwrap();
        assert_eq!(found.value.clone().unwrap().value, Some(Any::StringValue(value.into())), "{key}");
    }
    for key in ["service.version", "service.instance.id", "host.name", "process.pid"] {
        assert!(resource.attributes.iter().any(|it| it.key == key), "{key}: {resource:?}");
    }
}

#[actix_rt::test]
async fn many_spans_survive_the_end_over_http() {
    let (address, requests) = http();
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let telemetry = start(Process::service("caching"), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address), protocol]);
    let tracer = telemetry.stage("caching");
    for _ in 0..3_000 {
        drop(tracer.start("x", SpanKind::Internal, tracer.sample_root(None), START_US));
    }
    flush_in_time(&telemetry).await;
    assert_eq!(spans(&requests).len(), 3_000);
    drop(tracer.start("late", SpanKind::Internal, tracer.sample_root(None), START_US));
    flush_in_time(&telemetry).await;
    assert!(spans(&requests).is_empty());
}

#[actix_rt::test]
async fn an_absent_collector_costs_only_the_limit() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap(); // accepts, never answers
    let address = format!("http://{}", taken.local_addr().unwrap());
    let telemetry = start(Process::service("caching"), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)]);
    drop(telemetry.stage("caching").start("x", SpanKind::Internal, TraceContext::root(true), START_US));
    let before = Instant::now();
    telemetry.flush(Duration::from_millis(300)).await;
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
}

#[test]
fn without_an_endpoint_nothing_is_sampled_but_a_callers_decision_is_kept() {
    let telemetry = start(Process::service("caching"), &[]);
    assert!(!telemetry.is_enabled());
    for tracer in [telemetry.stage("caching"), StageTracer::disabled()] {
        let root = tracer.sample_root(None);
        assert!(!root.sampled() && root.is_valid());
        let caller = TraceContext::root(true).child();
        assert_eq!(tracer.sample_root(Some(caller)), caller);
        let span = tracer.start("x", SpanKind::Server, caller, START_US);
        assert_eq!(span.context(), caller, "the caller stays the parent for a service that exports");
    }
}

#[test]
fn callers_can_have_so_many_traces_sampled_a_second_and_no_more() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let telemetry = start(Process::service("ingestion"), &variables);
    let tracer = telemetry.stage("ingestion");
    let sampled = (0..20_000).filter(|_| tracer.sample_root(Some(TraceContext::root(true).child())).sampled()).count();
    // the loop may cross into a second second
    assert!((500..=1_000).contains(&sampled), "{sampled}");
}

/// An authority in a file, and a certificate of it for `localhost` with its key.
fn authority(folder: &std::path::Path, name: &str) -> (String, String, String) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, issuer.pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (path.display().to_string(), certificate.pem(), key.serialize_pem())
}

#[actix_rt::test]
async fn a_collector_behind_tls_is_trusted_by_its_authority_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (right, certificate, key) = authority(folder.path(), "right.pem");
    let (wrong, ..) = authority(folder.path(), "wrong.pem");
    for (ca, expected) in [(&right, 1), (&wrong, 0)] {
        let (address, requests) = grpc_tls(&certificate, &key);
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()), ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca)];
        let telemetry = start(Process::service("caching"), &variables);
        let stage = telemetry.stage("caching");
        let root = stage.sample_root(None);
        stage.start("process forebay.features", SpanKind::Consumer, root, START_US).end_at(START_US + 1);
        telemetry.flush(FLUSH).await;
        assert_eq!(spans(&requests).len(), expected, "{ca}");
    }
}
