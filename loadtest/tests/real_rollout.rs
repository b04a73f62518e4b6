//! Two replicas of every service under load, while one replica at a time is stopped, killed and started again.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::load::{HttpLoad, KafkaLoad};
use harness::{Mesh, STAGES, Service, stop_all, wait_all, wait_until};

const RATE: f64 = 300.0;

struct Replicas<'m> {
    mesh: &'m Mesh,
    of: Vec<[Service; 2]>,
}

impl<'m> Replicas<'m> {
    fn start(mesh: &'m Mesh) -> Self {
        let mut of: Vec<[Service; 2]> = STAGES.iter().map(|stage| [mesh.start(stage), mesh.start(stage)]).collect();
        wait_all(of.iter_mut().flatten());
        Self { mesh, of }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.of[0].iter().map(|service| service.http).collect()
    }

    /// Starts a new replica instead of one that has ended.
    fn again(&mut self, stage: usize, replica: usize) -> Duration {
        self.of[stage][replica] = self.mesh.start(STAGES[stage]);
        self.of[stage][replica].wait_ready()
    }
}

#[test]
fn a_rolling_restart_under_load_loses_and_repeats_nothing() {
    let mesh = Mesh::with_topics("rollout");
    let mut replicas = Replicas::start(&mesh);
    let load = KafkaLoad::start(&mesh, RATE, 0.3);
    let callers = HttpLoad::start(replicas.addresses(), 4, Duration::from_millis(40));
    for service in replicas.of.iter().flatten() {
        wait_until(Duration::from_secs(30), &format!("both replicas of {} to share the work", service.name), || {
            service.metric("forebay_stage_received_total", &[]) > 0.0
        });
    }
    for (stage, name) in STAGES.iter().enumerate() {
        for replica in 0..2 {
            let began = Instant::now();
            if stage == 0 {
                // what a load balancer does when a replica is about to leave
                callers.use_addresses(vec![replicas.of[0][1 - replica].http]);
            }
            replicas.of[stage][replica].stop();
            let stopped = began.elapsed();
            let ready = replicas.again(stage, replica);
            println!("{name} {replica}: stopped in {stopped:.1?}, ready again in {ready:.1?}");
            if stage == 0 {
                callers.use_addresses(replicas.addresses());
            }
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    let called = callers.finish();
    let findings = load.judge(Duration::from_secs(30), Duration::from_secs(3));
    assert!(findings.clean(), "{findings}");
    assert!(called.wrong.is_empty(), "{} of {} callers: {:#?}", called.wrong.len(), called.answered, called.wrong);
    println!("{} HTTP calls answered, the slowest in {:?}", called.answered, called.slowest);
    replicas.of.into_iter().for_each(|pair| stop_all(pair.into()));
}

#[test]
fn killed_replicas_under_load_lose_and_repeat_nothing() {
    let mut mesh = Mesh::with_topics("kills");
    mesh.short_sessions();
    let mut replicas = Replicas::start(&mesh);
    let load = KafkaLoad::start(&mesh, RATE, 0.3);
    // callers use the ingestion replica that is not killed: a connection ends with its process
    let callers = HttpLoad::start(vec![replicas.of[0][0].http], 4, Duration::from_millis(40));
    std::thread::sleep(Duration::from_secs(2));
    for (stage, name) in STAGES.iter().enumerate() {
        replicas.of[stage][1].kill();
        let ready = replicas.again(stage, 1);
        println!("{name}: killed, ready again in {ready:.1?}");
        // until the broker has noticed (the session) and its partitions have found an owner, they stand still
        std::thread::sleep(Duration::from_secs(7));
    }
    let called = callers.finish();
    let findings = load.judge(Duration::from_secs(40), Duration::from_secs(3));
    assert!(findings.clean(), "{findings}");
    assert!(called.wrong.is_empty(), "{} of {} callers: {:#?}", called.wrong.len(), called.answered, called.wrong);
    println!("{} HTTP calls answered, the slowest in {:?}", called.answered, called.slowest);
    replicas.of.into_iter().for_each(|pair| stop_all(pair.into()));
}
