//! Requests that are answered later, over five binaries with Redis: any replica has the answer, also when the one that
//! accepted the request is dead.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test that cannot continue should stop")]

mod harness;

use std::time::Duration;

use harness::topic::Reader;
use harness::{Mesh, ROW, ROW_V3, Service, assert_close, http, native, redis, stop_all, wait_until};
use serde_json::Value;

const LATER: &[(&str, &str)] = &[("Prefer", "respond-async")];

fn submit(service: &Service, body: &str) -> String {
    let reply = http::predict(service.http, LATER, body).unwrap();
    assert_eq!((reply.status, reply.header("preference-applied")), (202, Some("respond-async")), "{}", reply.text());
    reply.header("location").unwrap().to_owned()
}

fn body(request_id: &str) -> String {
    format!(r#"{{"features":{ROW},"request_id":"{request_id}"}}"#)
}

/// The answer at `location`, as `service` has it.
fn answer(service: &Service, location: &str) -> Value {
    let mut answer = None;
    wait_until(Duration::from_secs(90), "the answer", || {
        let reply = http::get(service.http, &format!("{location}?wait=10")).unwrap();
        answer = (reply.status != 202).then(|| (reply.status, reply.json()));
        answer.is_some()
    });
    let (status, answer) = answer.unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

fn start(name: &str) -> (Mesh, Vec<Service>, Service) {
    let mut mesh = Mesh::with_topics(name);
    mesh.set("FOREBAY__ASYNC__STORE", "redis");
    mesh.set("FOREBAY__REDIS__URL", format!("redis://{}", redis()));
    mesh.set("FOREBAY__RESULTS__ALSO_HTTP", "true");
    // every request is one for prediction
    mesh.set("FOREBAY__CACHE__POLICY", "off");
    mesh.short_sessions();
    let services = mesh.start_all();
    let mut second = mesh.start("ingestion");
    second.wait_ready();
    (mesh, services, second)
}

#[test]
fn an_answer_is_read_at_any_replica_though_the_one_that_accepted_the_request_is_dead() {
    let (mesh, mut services, second) = start("async");
    let outside = Reader::from_now(&mesh.topic("results_out"));
    let location = submit(&services[0], &body("alive"));
    for service in [&services[0], &second] {
        let answer = answer(service, &location);
        assert_close(&answer["prediction"], ROW_V3, 1e-4);
        assert_eq!(answer["request_id"], "alive");
    }
    outside.result("alive");

    // without prediction the requests wait in the mesh, and their replica dies
    services[3].kill();
    let ids: Vec<String> = (0..20).map(|number| format!("orphan-{number}")).collect();
    let locations: Vec<String> = ids.iter().map(|id| submit(&services[0], &body(id))).collect();
    assert_eq!(http::get(second.http, &locations[0]).unwrap().status, 202);
    services[0].kill();
    services[3] = mesh.start("prediction");
    services[3].wait_ready();
    for (id, location) in ids.iter().zip(&locations) {
        let answer = answer(&second, location);
        assert_close(&answer["prediction"], ROW_V3, 1e-4);
        assert_eq!(answer["request_id"], id.as_str());
    }
    assert_eq!(second.metric("forebay_async_taken_over_total", &[]), 20.0);
    let mut results = outside.rest(Duration::from_secs(3));
    results.retain(|record| record.json()["request_id"].as_str().is_some_and(|id| id.starts_with("orphan-")));
    assert_eq!(results.len(), 20, "each went out once, though it entered the mesh twice");
    services.remove(0);
    services.push(second);
    stop_all(services);
}

/// Lets Redis continue however the test ends.
struct RedisComesBack;

impl Drop for RedisComesBack {
    fn drop(&mut self) {
        native(&["resume", "redis"]);
    }
}

#[test]
fn while_redis_hangs_requests_are_refused_and_what_is_in_work_is_answered_after_it() {
    let (mesh, mut services, second) = start("async-outage");
    services[3].kill();
    let location = submit(&services[0], &body("during"));
    let back = RedisComesBack;
    native(&["pause", "redis"]);
    let refused = http::predict(services[0].http, LATER, body("refused")).unwrap();
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &Value::from("unavailable")));
    let unread = http::get(second.http, &location).unwrap();
    assert_eq!(unread.status, 503, "{}", unread.text());
    services[3] = mesh.start("prediction");
    services[3].wait_ready();
    let direct = http::predict(services[0].http, &[], body("direct")).unwrap();
    assert_eq!(direct.status, 200, "others are answered as ever: {}", direct.text());
    drop(back);
    assert_close(&answer(&second, &location)["prediction"], ROW_V3, 1e-4);
    services.push(second);
    stop_all(services);
}
