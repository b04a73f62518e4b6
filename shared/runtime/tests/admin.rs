//! The admin endpoint on a free port, called over TCP.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue stops")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use forebay_runtime::{
    AdminRoutes, AdminServer, CommonSettings, Host, Lifecycle, Metrics, PostResponse, Process, StageMetrics,
    StartError, Telemetry, TraceContext, check_health,
};
use forebay_testkit::settings;
use serde_json::json;

/// Requests from another thread, because the server runs on this one.
async fn get(address: SocketAddr, path: &'static str) -> (u16, String) {
    get_as(address, path, "*/*").await
}

async fn get_as(address: SocketAddr, path: &'static str, accept: &'static str) -> (u16, String) {
    let request = move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\naccept: {accept}\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    };
    tokio::task::spawn_blocking(request).await.unwrap()
}

async fn health(address: SocketAddr) -> Result<String, String> {
    tokio::task::spawn_blocking(move || check_health(address)).await.unwrap()
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[actix_rt::test]
async fn health_follows_the_lifecycle() {
    let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
    let server = AdminServer::start(anywhere(), &lifecycle, &metrics).unwrap();
    let address = server.address();
    let source = lifecycle.register("kafka source forebay.features");
    source.unready("broker not reached");

    let (status, body) = get(address, "/health/ready").await;
    let report: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &report["status"]), (503, &"unready".into()));
    let expected =
        serde_json::json!({ "name": "kafka source forebay.features", "ready": false, "reason": "broker not reached" });
    assert_eq!(report["components"][0], expected);
    assert_eq!(get(address, "/health/live").await.0, 200);
    assert!(health(address).await.unwrap_err().contains("broker not reached"));

    source.ready();
    assert_eq!(get(address, "/health/ready").await.0, 200);
    assert!(health(address).await.unwrap().contains("\"ready\""));

    lifecycle.shutdown("test");
    let (status, body) = get(address, "/health/ready").await;
    assert!(status == 503 && body.contains("draining"), "{body}");
    assert_eq!(get(address, "/health/live").await.0, 200, "a draining process must not be killed");
    source.finished();
    server.stop().await;
    assert!(health(address).await.unwrap_err().contains("does not answer"));
}

#[actix_rt::test]
async fn a_stalled_component_fails_liveness() {
    let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
    let server = AdminServer::start(anywhere(), &lifecycle, &metrics).unwrap();
    lifecycle.watch_stalls(Duration::from_millis(100)).unwrap();
    let poller = lifecycle.heartbeat("poller");
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    let (mut status, mut body) = get(server.address(), "/health/live").await;
    assert_eq!((status, body.as_str()), (200, r#"{"stalled":[],"status":"alive"}"#));
    while status == 200 && std::time::Instant::now() < deadline {
        (status, body) = get(server.address(), "/health/live").await;
    }
    assert_eq!((status, body.as_str()), (503, r#"{"stalled":["poller"],"status":"stalled"}"#));
    drop(poller);
    assert_eq!(get(server.address(), "/health/live").await.0, 200);
    server.stop().await;
}

#[actix_rt::test]
async fn stages_of_one_process_share_families() {
    let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
    let server = AdminServer::start(anywhere(), &lifecycle, &metrics).unwrap();
    let caching = StageMetrics::register(&metrics, "caching");
    let prediction = StageMetrics::register(&metrics, "prediction");
    caching.received.inc_by(3);
    prediction.received.inc();
    caching.sent("forebay.predict").inc();
    caching.failed("deadline_exceeded").inc();
    caching.waited_seconds.inc_by(0.25);
    caching.duration_seconds.observe(0.003);
    StageMetrics::register(&metrics, "caching").received.inc();
    metrics.legacy().requests.inc();
    metrics.legacy().consumer_lag("inference-requests", 2).set(41);
    metrics.legacy().consumer_lag("inference-requests", 3).set(7);
    metrics.legacy().forget_lag("inference-requests", 3);

    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let (status, text) = get_as(server.address(), "/metrics", accept).await;
    assert_eq!(status, 200);
    for line in [
        "forebay_stage_received_total{stage=\"caching\"} 4",
        "forebay_stage_received_total{stage=\"prediction\"} 1",
        "forebay_stage_sent_total{stage=\"caching\",destination=\"forebay.predict\"} 1",
        "forebay_stage_failed_total{stage=\"caching\",code=\"deadline_exceeded\"} 1",
        "forebay_stage_waited_seconds_total{stage=\"caching\"} 0.25",
        "forebay_stage_duration_seconds_bucket{le=\"0.005\",stage=\"caching\"} 1",
        "forebay_stage_in_flight{stage=\"caching\"} 0",
        "inference_requests_total 1",
        "inference_errors_total 0",
        "inference_latency_seconds_count 0",
        "kafka_consumer_lag{topic=\"inference-requests\",partition=\"2\"} 41",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert_eq!(text.matches("# TYPE forebay_stage_received counter").count(), 1, "{text}");
    assert!(!text.contains("partition=\"3\""));
    for name in
        ["process_resident_memory_bytes ", "process_cpu_seconds_total ", "process_open_fds ", "process_threads "]
    {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}\n{text}");
    }
    let (_, text) = get(server.address(), "/metrics").await;
    assert!(text.contains("# TYPE forebay_stage_received_total counter\n") && !text.contains("# EOF"), "{text}");
    server.stop().await;
}

#[actix_rt::test]
async fn readiness_is_a_metric() {
    let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
    let host = Host::new(Process::service("test"), shared(), lifecycle, metrics, Telemetry::disabled());
    let component = host.lifecycle().register("kafka source a");
    let twin = host.lifecycle().register("kafka source a");
    twin.ready();
    let has = |line: &str| host.metrics().encode().unwrap().lines().any(|found| found == line);
    assert!(has("forebay_ready 0") && has("forebay_component_ready{component=\"kafka source a\"} 0"));
    component.ready();
    assert!(has("forebay_ready 1") && has("forebay_component_ready{component=\"kafka source a\"} 1"));
    host.lifecycle().shutdown("test");
    assert!(has("forebay_ready 0"), "a draining process takes no work");
    component.finished();
    twin.finished();
}

#[test]
fn a_bucket_names_a_trace_as_its_example() {
    let metrics = Metrics::new();
    let trace = TraceContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    metrics.legacy().latency_seconds.observe(0.003, trace);
    metrics.legacy().latency_seconds.observe(0.03, None);
    let text = metrics.encode().unwrap();
    let bucket = |le: &str| {
        let start = format!("inference_latency_seconds_bucket{{le=\"{le}\"}}");
        text.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
    };
    let example = " 1 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.003 ";
    assert!(bucket("0.005").contains(example), "{text}");
    assert!(!bucket("0.05").contains('#'), "{text}");
    assert!(!metrics.encode_prometheus_text().unwrap().contains("trace_id"));
}

fn shared() -> CommonSettings {
    settings(&[]).common()
}

#[actix_rt::test]
async fn a_taken_port_names_the_setting() {
    let taken = TcpListener::bind(anywhere()).unwrap();
    let error = AdminServer::start(taken.local_addr().unwrap(), &Lifecycle::new(), &Metrics::new()).unwrap_err();
    let error = StartError::from(error).to_string();
    assert!(error.starts_with("admin.listen: ") && error.contains("FOREBAY__ADMIN__LISTEN"), "{error}");
}

/// Posts from another thread.
async fn post(address: SocketAddr, headers: &str, body: String) -> (u16, String) {
    let head = format!("POST /posted HTTP/1.0\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    receive(address, head + &body).await
}

/// Sends what a request consists of, from another thread.
async fn receive(address: SocketAddr, sent: String) -> (u16, String) {
    let request = move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // a refusal may come, and close the connection, before all of a large body is written
        let _ = stream.write_all(sent.as_bytes());
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    };
    tokio::task::spawn_blocking(request).await.unwrap()
}

#[actix_rt::test]
async fn posts_reach_the_route_that_a_service_added() {
    let (lifecycle, metrics, routes) = (Lifecycle::new(), Metrics::new(), AdminRoutes::default());
    let server = AdminServer::start_with(anywhere(), &lifecycle, &metrics, &routes).unwrap();
    assert_eq!(post(server.address(), "", "{}".to_owned()).await.0, 404, "there is no route");
    routes.post("/posted", |request| {
        let body =
            json!({ "length": request.body.len(), "header": request.header("x-one"), "peer": request.peer.is_some() });
        PostResponse { status: 202, body }
    });
    let (status, body) = post(server.address(), "X-One: 1\r\n", "{not json".to_owned()).await;
    assert_eq!((status, body.as_str()), (202, r#"{"header":"1","length":9,"peer":true}"#));
    assert_eq!(get(server.address(), "/posted").await.0, 405);
    for path in ["/health/live", "/metrics"] {
        let (status, body) = receive(server.address(), format!("HEAD {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
    }
    let (status, body) = post(server.address(), "", "x".repeat(300 * 1024)).await;
    assert_eq!(status, 413, "{body}");
    server.stop().await;
}
