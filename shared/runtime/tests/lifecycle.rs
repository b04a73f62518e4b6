//! Components that die, finish, stall and drain.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue stops")]

use std::time::Duration;

use forebay_runtime::{COMMON_DEFAULTS, CommonSettings, Layers, Lifecycle, Phase};
use forebay_testkit::wait_until;

const SOON: Duration = Duration::from_secs(5);
const BOUND: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_dropped_component_takes_the_process_down() {
    let lifecycle = Lifecycle::new();
    let component = lifecycle.register("kafka source forebay.features");
    component.ready();
    assert!(lifecycle.is_ready());
    let waiter = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.draining().await }
    });
    drop(component);
    tokio::time::timeout(SOON, waiter).await.unwrap().unwrap();
    assert_eq!(lifecycle.phase(), Phase::Draining);
    assert_eq!(lifecycle.failure().as_deref(), Some("kafka source forebay.features ended unexpectedly"));
    assert!(!lifecycle.is_ready());
}

#[test]
fn a_panic_is_told_apart_and_the_first_reason_is_kept() {
    let lifecycle = Lifecycle::new();
    let component = lifecycle.register("model thread");
    let thread = std::thread::spawn(move || {
        component.ready();
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    lifecycle.fail("something later");
    assert_eq!(lifecycle.failure().as_deref(), Some("model thread panicked"));
}

#[test]
fn a_planned_end_is_no_failure() {
    let lifecycle = Lifecycle::new();
    lifecycle.register("loader").finished();
    assert!(lifecycle.failure().is_none() && !lifecycle.is_draining());
    let source = lifecycle.register("source");
    lifecycle.shutdown("SIGTERM");
    drop(source);
    assert!(lifecycle.failure().is_none() && lifecycle.is_draining());
}

#[test]
fn readiness_needs_every_component_and_says_why_not() {
    let lifecycle = Lifecycle::new();
    let (broker, registry) = (lifecycle.register("broker"), lifecycle.register("registry"));
    broker.ready();
    assert!(!lifecycle.is_ready());
    assert_eq!(lifecycle.components()[1].unready.as_deref(), Some("starting"));
    registry.unready("no answer from mlflow");
    assert_eq!(lifecycle.components()[1].unready.as_deref(), Some("no answer from mlflow"));
    registry.ready();
    assert!(lifecycle.is_ready() && lifecycle.is_alive());
    broker.unready("broker not reached");
    assert!(!lifecycle.is_ready() && lifecycle.is_alive(), "an absent broker is not a reason to be killed");
    broker.finished();
    registry.finished();
}

#[test]
fn a_silent_component_is_stalled_until_it_beats() {
    let lifecycle = Lifecycle::new();
    lifecycle.watch_stalls(BOUND).unwrap();
    let (poller, loader) = (lifecycle.register("poller"), lifecycle.register("loader"));
    let (polls, loads) = (poller.heartbeat(), loader.heartbeat());
    let load = loads.waiting(SOON * 100);
    wait_until(SOON, "the silence to be seen", || !lifecycle.is_alive());
    assert_eq!(lifecycle.stalled(), ["poller"]);
    wait_until(SOON, "the recovery", || {
        polls.beat();
        lifecycle.is_alive()
    });
    drop(load);
    poller.finished();
    loader.finished();
}

#[test]
fn nothing_new_stalls_while_the_process_drains() {
    let lifecycle = Lifecycle::new();
    lifecycle.watch_stalls(BOUND).unwrap();
    let source = lifecycle.heartbeat("source");
    lifecycle.shutdown("SIGTERM");
    std::thread::sleep(BOUND * 3);
    assert!(lifecycle.is_alive(), "the drain has its own deadline");
    drop(source);
}

#[tokio::test]
async fn a_task_beats_while_its_executor_turns() {
    let lifecycle = Lifecycle::new();
    lifecycle.watch_stalls(BOUND).unwrap();
    let beats = tokio::spawn(lifecycle.heartbeat("main thread").beat_from_task());
    tokio::time::sleep(BOUND * 3).await;
    assert!(lifecycle.is_alive(), "an idle executor turns");
    // what a handler that blocks does to all other tasks of its thread
    wait_until(SOON, "the blocked executor to be seen", || lifecycle.stalled() == ["main thread"]);
    tokio::time::sleep(BOUND).await;
    assert!(lifecycle.is_alive());
    beats.abort();
}

#[tokio::test]
async fn draining_is_seen_by_later_callers() {
    let lifecycle = Lifecycle::new();
    lifecycle.shutdown("requested");
    tokio::time::timeout(SOON, lifecycle.draining()).await.unwrap();
}

#[test]
fn the_bound_is_longer_than_every_wait_that_is_not_marked() {
    let problems = |flag: &str| -> Vec<String> {
        let layers = Layers::from_parts(&[COMMON_DEFAULTS], "", &[], &[flag]).unwrap();
        let mut problems = layers.problems();
        let shared = CommonSettings::read(&layers, &mut problems).unwrap();
        assert!(shared.admin.stall_after > Duration::ZERO);
        problems.iter().map(|problem| problem.key.clone()).collect()
    };
    assert_eq!(problems("admin.stall_after=10s"), [""; 0]);
    assert_eq!(problems("admin.stall_after=9s"), ["admin.stall_after"]);
    assert_eq!(problems("admin.stall_after=11m"), ["admin.stall_after"]);
}
