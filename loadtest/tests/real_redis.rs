//! The second level of the cache on a real Redis: shared by replicas, and no request fails when it is slow or dead.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::load::{HttpLoad, KafkaLoad};
use harness::{Mesh, ROW, ROW_V3, Service, assert_close, http, native, redis, row, stop_all, wait_until};

/// One command, and its answer as text.
fn command(words: &str) -> String {
    let mut stream = TcpStream::connect(redis()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "{words}\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    if let Some(length) = line.strip_prefix('$').and_then(|it| it.trim().parse::<usize>().ok()) {
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).unwrap();
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    line.trim().to_owned()
}

fn keys() -> usize {
    command("DBSIZE").trim_start_matches(':').parse().unwrap()
}

/// Brings Redis back however the test ends.
struct RedisComesBack;

impl Drop for RedisComesBack {
    fn drop(&mut self) {
        // it may be paused or gone: the one or the other fails
        let _ = std::panic::catch_unwind(|| native(&["resume", "redis"]));
        native(&["up", "redis"]);
    }
}

struct Cached {
    services: Vec<Service>,
}

impl Cached {
    /// One replica of each service, and two of caching, with Redis behind them, which may take `timeout`: on a
    /// busy machine even a healthy Redis reaches the default of 20 ms.
    fn start(mesh: &mut Mesh, timeout: &str) -> Self {
        mesh.set("FOREBAY__REDIS__URL", format!("redis://{}", redis()));
        mesh.set("FOREBAY__REDIS__TIMEOUT", timeout);
        mesh.set("FOREBAY__REDIS__BREAKER_OPEN", "1s");
        let mut services = mesh.start_all();
        services.push(mesh.start("caching"));
        services.last_mut().unwrap().wait_ready();
        Self { services }
    }

    fn ingestion(&self) -> std::net::SocketAddr {
        self.services[0].http
    }

    fn replicas(&self) -> [&Service; 2] {
        [&self.services[2], &self.services[5]]
    }

    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.replicas().iter().map(|service| service.metric(name, labels)).sum()
    }

    fn predict(&self, row: &str) -> serde_json::Value {
        let reply = http::predict(self.ingestion(), &[], format!(r#"{{"features":{row}}}"#)).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }
}

#[test]
fn replicas_share_answers_through_redis() {
    let mut mesh = Mesh::with_topics("shared-cache");
    assert_eq!(command("FLUSHALL"), "+OK");
    let cached = Cached::start(&mut mesh, "5s");
    let first = cached.predict(ROW);
    assert_close(&first["prediction"], ROW_V3, 1e-4);
    wait_until(Duration::from_secs(10), "the answer to lie in Redis", || keys() == 1);
    let key = command("RANDOMKEY");
    assert!(key.starts_with("forebay:"), "{key}");
    let ttl: u64 = command(&format!("TTL {key}")).trim_start_matches(':').parse().unwrap();
    assert!((3_000..=3_960).contains(&ttl), "an hour, give or take the jitter: {ttl}");
    let received = |service: &Service| service.metric("forebay_stage_received_total", &["stage=\"caching\""]);
    let mut sent = 0;
    wait_until(Duration::from_secs(30), "both replicas to get requests", || {
        let again = cached.predict(ROW);
        assert_eq!((&again["prediction"], &again["cached"]), (&first["prediction"], &serde_json::json!(true)));
        sent += 1;
        sent > 20 && cached.replicas().iter().all(|service| received(service) > 1.0)
    });
    let inferences = cached.services[3].metric("forebay_stage_received_total", &["stage=\"prediction\""]);
    assert_eq!(inferences, 1.0, "one inference for {sent} requests to two replicas");
    assert!(
        cached.sum("forebay_cache_hits_total", &["level=\"redis\""]) >= 1.0,
        "the second replica had it from Redis"
    );
    stop_all(cached.services);
}

#[test]
fn a_redis_that_is_slow_dead_or_new_fails_no_request() {
    let mut mesh = Mesh::with_topics("bad-redis");
    let cached = Cached::start(&mut mesh, "300ms");
    let load = KafkaLoad::start(&mesh, 100.0, 0.3);
    let bypassed = || cached.sum("forebay_cache_bypassed_total", &[]);
    let stored = || cached.sum("forebay_cache_stored_total", &["level=\"redis\""]);
    wait_until(Duration::from_secs(10), "answers to be stored in Redis", || stored() > 20.0);
    // a busy machine may make a healthy Redis late now and then
    assert!(bypassed() < stored(), "Redis is well: {} bypassed it, {} answers stored", bypassed(), stored());
    let received = |service: &&Service| service.metric("forebay_stage_received_total", &["stage=\"caching\""]) > 10.0;
    wait_until(Duration::from_secs(15), "both replicas to have work", || cached.replicas().iter().all(received));
    let callers = HttpLoad::start(vec![cached.ingestion()], 2, Duration::from_millis(20));
    let guard = RedisComesBack;
    for (how, back) in [("CLIENT PAUSE 10000 ALL", ""), ("pause", "resume"), ("kill", "up")] {
        let (before, began) = (bypassed(), Instant::now());
        if how.starts_with("CLIENT") {
            drop(command(how))
        } else {
            native(&[how, "redis"])
        }
        wait_until(Duration::from_secs(9), &format!("bypasses to be counted after {how}"), || {
            bypassed() > before + 20.0
        });
        let answer = cached.predict(&row(77_000 + before as usize));
        assert!(
            answer["prediction"].is_number() && answer["latency_ms"].as_f64().unwrap() < 8_000.0,
            "{how}: {answer}"
        );
        for service in cached.replicas() {
            assert!(service.is_ready(), "a cache is no reason to be unready: {:?}", service.health());
        }
        if back.is_empty() {
            std::thread::sleep(Duration::from_secs(10).saturating_sub(began.elapsed()))
        } else {
            native(&[back, "redis"])
        }
        let before = stored();
        wait_until(Duration::from_secs(30), &format!("Redis to be used again after {how}"), || {
            stored() > before + 20.0
        });
    }
    drop(guard);
    let called = callers.finish();
    let findings = load.judge(Duration::from_secs(30), Duration::from_secs(2));
    assert!(findings.clean(), "{findings}");
    assert!(called.wrong.is_empty(), "{:#?}", called.wrong);
    println!("{} HTTP calls, the slowest took {:?}; {} bypasses", called.answered, called.slowest, bypassed());
    // who waited for Redis would have waited ten seconds
    assert!(called.slowest < Duration::from_secs(8), "the slowest call took {:?}", called.slowest);
    stop_all(cached.services);
}
