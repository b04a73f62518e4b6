//! `forebay up`: alone, fused between the outside topics, and with some of the stages as processes of their own.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use harness::load::{HttpLoad, KafkaLoad, Wrong};
use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, ROW, ROW_V1, ROW_V3, assert_close, binary, http, row, service, stop_all, wait_all, wait_until};

/// Far above the targets of 1 s and 3 s: the tests run unoptimised binaries, maybe beside a compiler.
const BANNER: Duration = Duration::from_secs(20);
const READY: Duration = Duration::from_secs(30);

/// The line of the banner that begins with `start`.
fn line(banner: &str, start: &str) -> String {
    let found = banner.lines().map(str::trim).find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no {start:?} in {banner}")).to_owned()
}

#[test]
fn up_needs_nothing_and_its_banner_is_true() {
    let mesh = Mesh::unset("up");
    let mut up = mesh.launch("forebay", &["up"], &[]);
    wait_until(BANNER, "the banner", || up.output().contains("Ctrl-C"));
    let banner_after = up.started.elapsed();
    let ready_after = up.wait_ready_within(READY);
    let banner = up.output();
    let expected = banner.lines().find_map(|line| line.split("the prediction is ").nth(1)).unwrap();
    let expected: f64 = expected.trim_end_matches(':').parse().unwrap_or_else(|error| panic!("{expected}: {error}"));

    let curl = line(&banner, "curl ");
    let output = Command::new("sh").args(["-c", &curl]).output().unwrap();
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{curl}: {error} {output:?}"));
    assert_eq!(answer["prediction"].as_f64(), Some(expected), "{curl}: {answer}");
    assert_eq!(answer["model_version"], "v3");
    let words = line(&banner, "forebay predict ");
    let words: Vec<&str> = words.split_whitespace().skip(1).collect();
    let output = Command::new(binary("forebay")).args(&words).output().unwrap();
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error} {output:?}"));
    assert_eq!(answer["prediction"].as_f64(), Some(expected), "{answer}");

    // Idempotency-Key, many rows, versions: the same mesh as over Kafka
    let body = format!(r#"{{"features":[{ROW},{}],"model_version":"v1"}}"#, row(1));
    let call = || http::predict(up.http, &[("Idempotency-Key", "a")], &body).unwrap().json();
    let (one, two) = (call(), call());
    assert_eq!(one["predictions"], two["predictions"]);
    assert_eq!((one["predictions"][0].as_f64(), one["predictions"][1].is_number()), (Some(ROW_V1), true), "{one}");
    let resident = up.resident_mib();
    println!("banner after {banner_after:.2?}, ready after {ready_after:.2?}, {resident:.0} MiB resident");
    assert!(resident < 150.0, "{resident} MiB resident");

    // a request that is waiting when it stops is answered
    let callers = HttpLoad::start(vec![up.http], 4, Duration::ZERO);
    wait_until(Duration::from_secs(20), "callers to be answered", || callers.answered() > 20);
    let stopped_at = Instant::now();
    up.signal("TERM");
    assert_eq!(up.wait_exit(service::STOP), Some(0), "{}", up.tail(20));
    let called = callers.finish();
    // a request to a server that is about to close may be refused or find it closed; one accepted before is answered
    let refused = |it: &Wrong| it.sent_at + Duration::from_millis(20) >= stopped_at || it.what.contains(": 503 ");
    let wrong: Vec<_> = called.wrong.iter().filter(|it| !refused(it)).collect();
    assert!(wrong.is_empty(), "{} answered, {wrong:#?}", called.answered);
}

#[test]
fn up_with_kafka_is_the_fused_form() {
    let mut mesh = Mesh::with_topics("fused");
    mesh.short_sessions();
    let start = || {
        let mut up = mesh.launch("forebay", &["up", "--kafka"], &[]);
        up.wait_ready();
        up
    };
    let mut up = start();
    let banner = line(&up.output(), "kafka");
    assert!(banner.contains(&mesh.topic("requests_in")) && banner.contains(&mesh.topic("results_out")), "{banner}");
    let results = Reader::from_now(&mesh.topic("results_out"));
    let writer = Writer::new();
    let body = format!(r#"{{"request_id":"fused","features":{ROW},"model_version":"v1"}}"#);
    writer.request(&mesh.topic("requests_in"), &body);
    assert_eq!(results.result("fused").json()["prediction"].as_f64(), Some(ROW_V1));
    let reply = http::predict(up.http, &[], format!(r#"{{"features":{ROW}}}"#)).unwrap();
    assert_close(&reply.json()["prediction"], ROW_V3, 1e-4);
    writer.write(Out { topic: &mesh.topic("requests_in"), payload: b"\xff garbage", ..Out::default() });
    let letter = Reader::from_start(&mesh.topic("dead_letters")).find(Duration::from_secs(10), "the letter", |_| true);
    assert_eq!(letter.payload, b"\xff garbage");

    // stopped and started under load, then killed: everything is answered, and once
    let load = KafkaLoad::start(&mesh, 300.0, 0.3).among_others();
    std::thread::sleep(Duration::from_secs(2));
    up.stop();
    up = start();
    std::thread::sleep(Duration::from_secs(2));
    up.kill();
    up = start();
    std::thread::sleep(Duration::from_secs(2));
    let findings = load.judge(Duration::from_secs(40), Duration::from_secs(3));
    assert!(findings.clean(), "{findings}");
    // nothing went through the inner topics
    for setting in ["requests", "features", "predict", "predictions", "results", "replies"] {
        assert_eq!(Reader::from_start(&mesh.topic(setting)).held(), 0, "{setting}");
    }
    up.stop();
}

/// What waits for a slow model when partitions leave is answered by the replica that has them then, and by no other.
#[test]
fn fused_replicas_that_join_and_leave_a_backlog_answer_it_once() {
    let mut mesh = Mesh::with_topics("joined");
    mesh.short_sessions();
    // a hundred rows a second
    let slow = [("FOREBAY_TEST_ROW_DELAY_US", "10000")];
    let start = || {
        let mut up = mesh.launch("forebay", &["up", "--kafka"], &slow);
        up.wait_ready();
        up
    };
    let first = start();
    let load = KafkaLoad::start(&mesh, 160.0, 0.0);
    // six seconds of requests are four seconds of backlog, more than the work of a partition that leaves has time for
    std::thread::sleep(Duration::from_secs(6));
    let mut second = start();
    let left = || first.output().contains("left to the replica that has their partitions now");
    wait_until(Duration::from_secs(20), "results that are another replica's", left);
    second.stop();
    second = start();
    let findings = load.judge(Duration::from_secs(60), Duration::from_secs(3));
    assert!(findings.clean(), "{findings}");
    stop_all(vec![first, second]);
}

#[test]
fn some_stages_fused_and_others_apart() {
    let mesh = Mesh::with_topics("partly");
    let mut services = vec![
        mesh.start("ingestion"),
        mesh.launch("forebay", &["up", "--stages", "preprocessing,caching,prediction"], &[]),
        mesh.start("publishing"),
    ];
    wait_all(&mut services);
    let call = |body: String| http::predict(services[0].http, &[], body).unwrap().json();
    let first = call(format!(r#"{{"features":{ROW}}}"#));
    assert_close(&first["prediction"], ROW_V3, 1e-4);
    wait_until(Duration::from_secs(5), "the row to be cached", || {
        call(format!(r#"{{"features":{ROW}}}"#))["cached"] == true
    });
    assert_eq!(call(format!(r#"{{"features":{ROW},"model_version":"v1"}}"#))["prediction"].as_f64(), Some(ROW_V1));
    assert_eq!(call(r#"{"features":[1,2]}"#.to_owned())["error"]["code"], json!("invalid_features"));
    let load = KafkaLoad::start(&mesh, 300.0, 0.3);
    std::thread::sleep(Duration::from_secs(3));
    services[1].stop();
    services[1] = mesh.launch("forebay", &["up", "--stages", "preprocessing,caching,prediction"], &[]);
    services[1].wait_ready();
    std::thread::sleep(Duration::from_secs(1));
    let findings = load.judge(Duration::from_secs(30), Duration::from_secs(2));
    assert!(findings.clean(), "{findings}");
    for setting in ["features", "predict", "predictions"] {
        assert_eq!(Reader::from_start(&mesh.topic(setting)).held(), 0, "{setting} is an edge inside the process");
    }
    stop_all(services);
}
