//! Everything around the mesh hangs at once, for longer than a loop may stand still: Kafka, Redis, RabbitMQ and MLflow
//! are stopped with SIGSTOP while work is under way. No process may fail its liveness probe, as a restart would not
//! help, and everything answers again afterwards. The one process that may end is publishing, when its producer has lost
//! the brokers for good with records that are unsettled: it is started again, as an orchestrator would.
//!
//! The default is an outage of 25 s with a bound of 10 s. `REAL_OUTAGE=300 bash loadtest/real.sh liveness` is the long
//! run: five minutes with the default bound.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::disallowed_methods,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::time::{Duration, Instant};

use harness::load::{HttpLoad, KafkaLoad};
use harness::rabbit::{Client, reply_to, server};
use harness::{Mesh, ROW, Service, http, native, redis, stop_all, variable, wait_until};

const SOON: Duration = Duration::from_secs(90);
const AROUND: [&str; 3] = ["kafka", "redis", "mlflow"];

/// Resumes everything however the test ends: other tests need it.
struct ResumeOnDrop;

impl Drop for ResumeOnDrop {
    fn drop(&mut self) {
        for service in AROUND {
            // what runs already refuses
            let _ = std::panic::catch_unwind(|| native(&["resume", service]));
        }
        let _ = std::panic::catch_unwind(|| server().native(&["resume", "rabbitmq"]));
    }
}

/// How long everything hangs, and the bound if it is not the default.
fn outage() -> (Duration, Option<&'static str>) {
    let given = std::env::var("REAL_OUTAGE").ok().and_then(|text| text.parse().ok());
    given.map_or((Duration::from_secs(25), Some("10s")), |seconds| (Duration::from_secs(seconds), None))
}

fn set_all(mesh: &mut Mesh, queue: &str, bound: Option<&str>) {
    mesh.set("FOREBAY__RABBITMQ__URL", server().url());
    mesh.set("FOREBAY__RABBITMQ__QUEUE", queue);
    mesh.set("FOREBAY__RABBITMQ__DEAD_LETTER_EXCHANGE", format!("{queue}.dead"));
    mesh.set("FOREBAY__REDIS__URL", format!("redis://{}", redis()));
    // the outage and what follows it may take longer than the default of a minute on a busy machine
    mesh.set("FOREBAY__DELIVERY__TIMEOUT", "4m");
    mesh.set("MLFLOW_TRACKING_URI", format!("http://{}", variable("REAL_MLFLOW")));
    mesh.set("FOREBAY__MODELS__REFRESH", "1s");
    mesh.set("FOREBAY__MODELS__CACHE_DIR", mesh.folder().join("cache").display().to_string());
    if let Some(bound) = bound {
        mesh.set("FOREBAY__ADMIN__STALL_AFTER", bound);
    }
}

/// The answer to `/health/live`.
fn liveness(service: &Service) -> (u16, String) {
    http::get(service.admin, "/health/live").map_or((0, String::new()), |reply| (reply.status, reply.text()))
}

#[test]
fn nothing_that_hangs_around_the_mesh_fails_its_liveness() {
    let (time, bound) = outage();
    let _resume = ResumeOnDrop;
    let queue = format!("liveness-{}", std::process::id());
    let mut mesh = Mesh::with_topics("liveness");
    set_all(&mut mesh, &queue, bound);
    let mut services = mesh.start_all();
    // in one process on memory edges, so that work continues while Kafka hangs, and reaches the cache that hangs
    let mut alone = Mesh::unset("liveness-up");
    set_all(&mut alone, &format!("{queue}-up"), bound);
    let mut up = alone.launch("forebay", &["up"], &[]);
    up.wait_ready();
    let client = Client::new();
    let replies = format!("{queue}.replies");
    client.declare(&replies);
    let body = format!(r#"{{"request_id":"r","features":{ROW}}}"#);
    client.publish(&queue, body.as_bytes(), reply_to(&replies, "before")).unwrap();
    client.wait(&replies);
    drop(client);
    let load = KafkaLoad::start(&mesh, 50.0, 0.2);
    let callers = HttpLoad::start(vec![up.http], 2, Duration::from_millis(20));
    wait_until(SOON, "answers over http", || callers.answered() > 50);

    for service in AROUND {
        native(&["pause", service]);
    }
    server().native(&["pause", "rabbitmq"]);
    let (began, answered) = (Instant::now(), callers.answered());
    while began.elapsed() < time {
        for service in services.iter_mut().chain([&mut up]) {
            let (status, text) = liveness(service);
            let after = began.elapsed();
            assert_eq!(status, 200, "{} {after:?} into the outage: {text}", service.name);
            assert!(service.exit_status().is_none(), "{} ended", service.name);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    println!(
        "{} answers without Redis while everything hung for {:.0?}",
        callers.answered() - answered,
        began.elapsed()
    );
    assert!(callers.answered() > answered + 50, "the process without Kafka has to answer");

    for service in AROUND {
        native(&["resume", service]);
    }
    server().native(&["resume", "rabbitmq"]);
    let resumed = Instant::now();
    for service in &mut services {
        mesh.ready_again(service, SOON);
    }
    up.wait_ready();
    println!("everything was ready {:.1?} after the outage", resumed.elapsed());
    let called = callers.finish();
    assert!(called.wrong.is_empty(), "{} of {}: {:#?}", called.wrong.len(), called.answered, called.wrong.first());
    let client = Client::new();
    client.publish(&queue, body.as_bytes(), reply_to(&replies, "after")).unwrap();
    client.wait(&replies);
    let findings = load.judge(SOON, Duration::from_secs(2));
    println!("{findings}");
    services.push(up);
    for service in &services {
        assert!(!service.output().contains("component is stalled"), "{}", service.tail(20));
    }
    stop_all(services);
}
