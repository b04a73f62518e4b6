//! Services that start before Kafka does, and a Kafka that dies and comes back under load.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::time::{Duration, Instant};

use harness::load::{HttpLoad, KafkaLoad};
use harness::topic::{Reader, Writer};
use harness::{Mesh, ROW, ROW_V3, STAGES, Service, assert_close, http, native, row, stop_all, wait_until};

/// Brings Kafka back however the test ends: other tests need it.
struct KafkaComesBack;

impl Drop for KafkaComesBack {
    fn drop(&mut self) {
        native(&["up", "kafka"]);
    }
}

#[test]
fn any_service_may_start_before_kafka_does() {
    let mut mesh = Mesh::named("early");
    mesh.set("FOREBAY__KAFKA__CREATE_TOPICS", "true");
    let guard = KafkaComesBack;
    native(&["down", "kafka"]);
    // from the last to the first, for once
    let mut services: Vec<Service> = STAGES.iter().rev().map(|stage| mesh.start(stage)).collect();
    for service in &services {
        wait_until(Duration::from_secs(10), &format!("{} to be alive", service.name), || service.is_live());
    }
    std::thread::sleep(Duration::from_secs(2));
    for service in &mut services {
        assert!(service.exit_status().is_none(), "{} ended:\n{}", service.name, service.tail(20));
        assert!(service.is_live(), "{} is not alive", service.name);
        let (status, health) = service.health().unwrap();
        assert_eq!((status, health["status"].as_str()), (503, Some("unready")), "{}: {health}", service.name);
        let unready = health["components"].as_array().unwrap().iter().filter(|it| it["ready"] == false);
        let reasons: Vec<&str> = unready.filter_map(|it| it["reason"].as_str()).collect();
        assert!(reasons.iter().any(|reason| reason.len() > 5), "{}: {health}", service.name);
        // a metric scrape and the logs continue as well
        assert!(http::get(service.admin, "/metrics").is_ok_and(|reply| reply.status == 200));
    }
    let address = services.last().unwrap().http;
    let early = http::predict(address, &[], format!(r#"{{"features":{ROW},"timeout_ms":300}}"#)).unwrap();
    assert!(matches!(early.status, 503 | 504), "{} {}", early.status, early.text());
    assert!(early.json()["error"]["message"].as_str().is_some_and(|text| text.len() > 10), "{}", early.text());
    native(&["up", "kafka"]);
    drop(guard);
    let up = Instant::now();
    for service in &mut services {
        service.wait_ready_within(Duration::from_secs(30));
        println!("{} ready {:.1?} after Kafka", service.name, up.elapsed());
    }
    let reply = http::predict(address, &[], format!(r#"{{"features":{ROW}}}"#)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_close(&reply.json()["prediction"], ROW_V3, 1e-4);
    let results = Reader::from_now(&mesh.topic("results_out"));
    Writer::new().request(&mesh.topic("requests_in"), &format!(r#"{{"request_id":"late","features":{}}}"#, row(1)));
    assert!(results.result("late").json()["prediction"].is_number());
    stop_all(services);
}

#[test]
fn a_mesh_that_is_ready_knows_its_models() {
    for round in 0..4 {
        let mesh = Mesh::with_topics(&format!("known{round}"));
        let mut ingestion = mesh.start("ingestion");
        ingestion.wait_ready();
        let mut prediction = mesh.start("prediction");
        prediction.wait_ready();
        // what is left is the time that a record takes from the broker to a reader that waits for it
        std::thread::sleep(Duration::from_millis(100));
        let model = http::get(ingestion.http, "/v2/models/diabetes-rf-model/ready").unwrap();
        assert_eq!(model.status, 200, "round {round}: {}", model.text());
        stop_all(vec![ingestion, prediction]);
    }
}

#[test]
fn services_stop_at_once_while_kafka_is_away() {
    let mesh = Mesh::named("away");
    let guard = KafkaComesBack;
    native(&["down", "kafka"]);
    let services: Vec<Service> = STAGES.iter().map(|stage| mesh.start(stage)).collect();
    for service in &services {
        wait_until(Duration::from_secs(10), &format!("{} to be alive", service.name), || service.is_live());
    }
    let began = Instant::now();
    stop_all(services);
    let took = began.elapsed();
    drop(guard);
    assert!(took < Duration::from_secs(60), "five services with nothing to do took {took:?} to stop");
}

#[test]
fn a_restart_of_kafka_under_load_loses_and_repeats_nothing() {
    let mut mesh = Mesh::with_topics("outage");
    // two outages may take longer than the default of a minute on a busy machine, and then late requests are errors
    mesh.set("FOREBAY__DELIVERY__TIMEOUT", "4m");
    let mut services = mesh.start_all();
    let load = KafkaLoad::start(&mesh, 200.0, 0.3);
    std::thread::sleep(Duration::from_secs(3));
    let guard = KafkaComesBack;
    for how in ["restart", "kill"] {
        let began = Instant::now();
        native(&[how, "kafka"]);
        if how == "kill" {
            native(&["up", "kafka"]);
        }
        println!("{how}: Kafka is back after {:.1?}", began.elapsed());
        for service in &mut services {
            mesh.ready_again(service, Duration::from_secs(60));
        }
        let address = services[0].http;
        wait_until(Duration::from_secs(60), "an answer over HTTP after the outage", || {
            let body = format!(r#"{{"features":{ROW},"timeout_ms":5000}}"#);
            http::predict(address, &[], body).is_ok_and(|reply| reply.status == 200)
        });
        std::thread::sleep(Duration::from_secs(4));
    }
    drop(guard);
    let findings = load.judge(Duration::from_secs(60), Duration::from_secs(3));
    assert!(findings.clean(), "{findings}");
    let callers = HttpLoad::start(vec![services[0].http], 2, Duration::from_millis(20));
    std::thread::sleep(Duration::from_secs(1));
    let called = callers.finish();
    assert!(called.wrong.is_empty() && called.answered > 0, "{called:?}");
    stop_all(services);
}
