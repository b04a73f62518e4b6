//! The stage over a real Redis that is slow, frozen, killed, restarted, or not there yet. Each test starts its own
//! `redis-server` on a free port: `cargo test -p forebay-caching --test redis -- --ignored`.
#![cfg(test)]

mod bench;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, LONG, features, item, score};
use forebay_bus::AckOutcome;
use forebay_caching::CacheEntry;
use forebay_contract::CacheKey;

/// A server that is killed when dropped.
struct Server {
    port: u16,
    child: Option<Child>,
}

impl Server {
    fn nowhere() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, child: None }
    }

    fn running() -> Self {
        let mut server = Self::nowhere();
        server.start();
        server
    }

    fn start(&mut self) {
        self.start_in(&std::env::temp_dir());
    }

    fn start_in(&mut self, folder: &std::path::Path) {
        let child = Command::new("redis-server")
            .current_dir(folder)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is not installed");
        self.child = Some(child);
        let since = Instant::now();
        while redis::Client::open(self.url()).unwrap().get_connection().is_err() {
            assert!(since.elapsed() < LONG, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(word));
        command.query(&mut connection).unwrap()
    }

    /// Stores answers as another replica would.
    fn fill(&self, keys: std::ops::Range<u8>) {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        for n in keys {
            let entry = CacheEntry { model: "m".into(), version: 3, score: bench::value(f64::from(n)) };
            let bytes = entry.encode(&CacheKey([n; 32])).unwrap();
            redis::cmd("SET").arg(name(n)).arg(bytes).exec(&mut connection).unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn name(n: u8) -> String {
    format!("forebay:{}", format!("{n:02x}").repeat(32))
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

/// One question with the usual settings of these tests: a short pause of the breaker.
const QUICK: [&str; 2] = ["redis.breaker_open=200ms", "redis.timeout=50ms"];

/// Sends a request and returns whether it was answered from Redis. It never takes longer than a lookup may.
async fn hit(bench: &mut Bench, n: u8) -> bool {
    let before = bench.metric("forebay_cache_hits_total{level=\"redis\"}");
    let since = Instant::now();
    let request = bench.submit(vec![item(features(n))]);
    bench.anything().await;
    request.expect(AckOutcome::Done).await;
    assert!(since.elapsed() < Duration::from_secs(1), "held up for {:?}", since.elapsed());
    bench.metric("forebay_cache_hits_total{level=\"redis\"}") > before
}

/// Has `n` predicted until the stage has stored it: a store while Redis is away is left out.
async fn store(bench: &Bench, server: &Server, n: u8) {
    let since = Instant::now();
    while !server.command::<bool>(&["EXISTS", &name(n)]) {
        bench.land(n, score(f64::from(n))).expect(AckOutcome::Done).await;
        assert!(since.elapsed() < LONG, "not stored");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends requests until Redis answers. Each attempt takes another key: memory may hold the answer of an earlier one.
async fn until_hit(bench: &mut Bench, keys: std::ops::Range<u8>) {
    for n in keys {
        if hit(bench, n).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("redis is never used again");
}

#[test]
#[ignore = "needs redis-server"]
fn replicas_share_answers_and_entries_expire_around_the_ttl() {
    run(async {
        let server = Server::running();
        let one = Bench::redis(&server.url(), &[]);
        let mut other = Bench::redis(&server.url(), &QUICK);
        for n in 1..20 {
            store(&one, &server, n).await;
            let ttl: i64 = server.command(&["TTL", &name(n)]);
            assert!((3239..=3960).contains(&ttl), "{ttl}");
        }
        until_hit(&mut other, 1..20).await;
    });
}

#[test]
#[ignore = "needs redis-server"]
fn an_entry_goes_after_its_ttl() {
    run(async {
        let server = Server::running();
        let bench = Bench::redis(&server.url(), &["cache.ttl=1s"]);
        store(&bench, &server, 1).await;
        let since = Instant::now();
        while server.command::<bool>(&["EXISTS", &name(1)]) {
            assert!(since.elapsed() < LONG, "does not expire");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_slow_redis_is_bypassed_and_used_again() {
    run(async {
        let server = Server::running();
        server.fill(1..100);
        let mut bench = Bench::redis(&server.url(), &QUICK);
        until_hit(&mut bench, 1..20).await;
        let _: () = server.command(&["CLIENT", "PAUSE", "600", "ALL"]);
        for n in 20..30 {
            assert!(!hit(&mut bench, n).await);
        }
        assert!(bench.metric("forebay_cache_bypassed_total{reason=\"timeout\"}") >= 1.0);
        until_hit(&mut bench, 30..100).await;
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_frozen_redis_is_bypassed_and_used_again() {
    run(async {
        let server = Server::running();
        server.fill(1..100);
        let mut bench = Bench::redis(&server.url(), &QUICK);
        until_hit(&mut bench, 1..20).await;
        server.signal("-STOP");
        for n in 20..40 {
            assert!(!hit(&mut bench, n).await);
        }
        assert_ne!(bench.metric("forebay_cache_redis_breaker"), 0.0);
        server.signal("-CONT");
        until_hit(&mut bench, 40..100).await;
        assert_eq!(bench.metric("forebay_cache_redis_breaker"), 0.0);
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_killed_redis_is_bypassed_and_used_again_when_restarted() {
    run(async {
        let mut server = Server::running();
        server.fill(1..20);
        let mut bench = Bench::redis(&server.url(), &QUICK);
        until_hit(&mut bench, 1..20).await;
        server.kill();
        for n in 20..40 {
            assert!(!hit(&mut bench, n).await);
        }
        server.start();
        server.fill(40..140);
        until_hit(&mut bench, 40..140).await;
        store(&bench, &server, 200).await;
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_comes_later_is_used_then() {
    run(async {
        let mut server = Server::nowhere();
        let mut bench = Bench::redis(&server.url(), &QUICK);
        for n in 0..10 {
            assert!(!hit(&mut bench, n).await);
        }
        server.start();
        server.fill(20..100);
        until_hit(&mut bench, 20..100).await;
    });
}

#[test]
#[ignore = "needs redis-server"]
fn values_of_others_under_our_keys_are_misses() {
    run(async {
        let server = Server::running();
        let _: () = server.command(&["SET", &name(1), "not an entry"]);
        let _: i64 = server.command(&["LPUSH", &name(2), "a list"]);
        let _: () = server.command(&["SET", &name(3), &"x".repeat(100_000)]);
        let mut bench = Bench::redis(&server.url(), &["redis.timeout=1s"]);
        let request = bench.submit((1..=3).map(|n| item(features(n))).collect());
        assert_eq!(bench.predicted().await.done(), 3);
        request.expect(AckOutcome::Done).await;
        assert_eq!(bench.metric("forebay_cache_corrupt_total"), 2.0);
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_takes_no_writes_opens_the_breaker_until_it_does() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::nowhere();
        server.start_in(folder.path());
        let mut bench = Bench::redis(&server.url(), &QUICK);
        store(&bench, &server, 1).await;
        // a lookup is the probe that closes the breaker; each is of another row, or it would wait for the one before
        let mut key = 100;
        let port = Server::nowhere().port.to_string();
        let replica = ["REPLICAOF", "127.0.0.1", &port];
        let refused = |bench: &Bench| bench.metric("forebay_cache_redis_errors_total{reason=\"refused\"}");
        for (number, (refuse, accept)) in [
            (&replica[..], &["REPLICAOF", "NO", "ONE"][..]),
            (&["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
            // nothing can be saved in a folder that is gone
            (&["CONFIG", "SET", "save", "1 1"], &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]),
        ]
        .into_iter()
        .enumerate()
        {
            if refuse[2] == "save" {
                std::fs::remove_dir_all(folder.path()).unwrap();
            }
            let _: redis::Value = server.command(refuse);
            let (before, since) = (refused(&bench), Instant::now());
            while refused(&bench) == before || bench.metric("forebay_cache_redis_breaker") == 0.0 {
                key = 101 + (key - 100) % 150;
                hit(&mut bench, key).await;
                bench.land(99, score(1.0)).expect(AckOutcome::Done).await;
                assert!(since.elapsed() < LONG, "{refuse:?} is not noticed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let _: redis::Value = server.command(accept);
            let (stored, since) = (10 + u8::try_from(number).unwrap(), Instant::now());
            while !server.command::<bool>(&["EXISTS", &name(stored)]) {
                key = 101 + (key - 100) % 150;
                hit(&mut bench, key).await;
                bench.land(stored, score(1.0)).expect(AckOutcome::Done).await;
                assert!(since.elapsed() < LONG, "not used again after {refuse:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}
