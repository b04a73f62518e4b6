//! Copies of requests that come later than the dedupe window remembers: after a stage was away, after a restart of
//! publishing, after work that did not end, and from clients whose clocks are ahead.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::time::{Duration, Instant};

use harness::load::KafkaLoad;
use harness::topic::{Out, Reader, Writer, delete};
use harness::{Mesh, STAGES, Service, row, stop_all, wait_until};

const RATE: f64 = 200.0;
const WINDOW: Duration = Duration::from_secs(4);

/// A mesh with a window of seconds.
fn mesh(name: &str) -> Mesh {
    let mut mesh = Mesh::with_topics(name);
    mesh.short_sessions();
    mesh.set("FOREBAY__DELIVERY__DEDUPE_WINDOW", format!("{}s", WINDOW.as_secs()));
    mesh
}

fn index(stage: &str) -> usize {
    STAGES.iter().position(|it| *it == stage).unwrap()
}

/// Kills the only replica of a stage under load, and starts it again after `away`.
fn interrupt(
    mesh: &Mesh,
    services: &mut [Service],
    stage: &str,
    away: Duration,
    meanwhile: impl FnOnce(&mut [Service]),
) {
    let killed = Instant::now();
    services[index(stage)].kill();
    meanwhile(services);
    std::thread::sleep(away.saturating_sub(killed.elapsed()));
    services[index(stage)] = mesh.start(stage);
    services[index(stage)].wait_ready();
}

fn looked_up(publishing: &Service) -> f64 {
    publishing.metric("forebay_publishing_looked_up_total", &[])
}

#[test]
fn a_stage_that_was_away_for_longer_than_the_window_repeats_nothing() {
    let mesh = mesh("away");
    let mut services = mesh.start_all();
    let load = KafkaLoad::start(&mesh, RATE, 0.3);
    for stage in ["prediction", "ingestion"] {
        std::thread::sleep(Duration::from_secs(3));
        let before = looked_up(&services[index("publishing")]);
        interrupt(&mesh, &mut services, stage, WINDOW * 3, |_| ());
        let copies = || looked_up(&services[index("publishing")]) > before;
        wait_until(Duration::from_secs(20), "copies to be looked up", copies);
    }
    let findings = load.judge(Duration::from_secs(60), WINDOW);
    assert!(findings.clean(), "{findings}");
    stop_all(services);
}

#[test]
fn a_restart_of_publishing_while_a_stage_is_away_repeats_nothing() {
    let mesh = mesh("restart");
    let mut services = mesh.start_all();
    let load = KafkaLoad::start(&mesh, RATE, 0.3);
    std::thread::sleep(Duration::from_secs(3));
    // longer than a take-over is given: the session, five seconds, and the slack of clocks
    interrupt(&mesh, &mut services, "prediction", Duration::from_secs(16), |services| {
        std::thread::sleep(Duration::from_secs(1));
        services[index("publishing")].stop();
        services[index("publishing")] = mesh.start("publishing");
        services[index("publishing")].wait_ready();
    });
    let findings = load.judge(Duration::from_secs(60), WINDOW);
    assert!(findings.clean(), "{findings}");
    stop_all(services);
}

#[test]
fn a_dead_letter_that_cannot_be_written_delays_no_commit_for_long() {
    let mesh = mesh("letter");
    let mut services = mesh.start_all();
    let (writer, results) = (Writer::new(), Reader::from_now(&mesh.topic("results_out")));
    let requests = mesh.topic("requests_in");
    let write = |payload: &[u8]| {
        writer.write(Out { topic: &requests, payload, partition: Some(1), ..Out::default() });
    };
    delete(&mesh.topic("dead_letters"));
    write(b"\xff garbage");
    for number in 0..100 {
        write(format!(r#"{{"request_id":"r{number}","features":{}}}"#, row(number)).as_bytes());
    }
    // what was written after the hold began is answered when the letter has been given up
    assert_eq!((0..100).filter_map(|_| results.poll(Duration::from_secs(60))).count(), 100);
    let ingestion = &services[index("ingestion")];
    let idle = || ingestion.metric("forebay_stage_in_flight", &[]) == 0.0;
    wait_until(Duration::from_secs(45), "the dead letter to be given up", idle);
    // it may be unready for the missing topic, but holds nothing back
    wait_until(Duration::from_secs(5), "the end of the hold", || {
        ingestion.health().is_some_and(|(_, health)| !health.to_string().contains("held back"))
    });
    std::thread::sleep(WINDOW);
    services[index("ingestion")].stop();
    mesh.create_topics();
    services[index("ingestion")] = mesh.start("ingestion");
    services[index("ingestion")].wait_ready();
    assert_eq!(results.rest(Duration::from_secs(5)).len(), 0, "answered again");
    stop_all(services);
}

#[test]
fn clients_whose_clocks_are_ahead_get_one_answer_from_the_fused_form() {
    for ahead in [Duration::from_millis(100), Duration::from_secs(2)] {
        let mut mesh = Mesh::with_topics("ahead");
        mesh.short_sessions();
        let start = || {
            let mut up = mesh.launch("forebay", &["up", "--kafka"], &[]);
            up.wait_ready();
            up
        };
        let mut up = start();
        let load = KafkaLoad::start_ahead(&mesh, 300.0, 0.3, ahead);
        for _ in 0..2 {
            std::thread::sleep(Duration::from_secs(2));
            up.kill();
            std::thread::sleep(Duration::from_secs(1));
            up = start();
        }
        let findings = load.judge(Duration::from_secs(40), Duration::from_secs(3));
        assert!(findings.clean(), "{ahead:?} ahead: {findings}");
        up.stop();
    }
}
