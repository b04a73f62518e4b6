//! Components that die, finish, stall and drain.

use std::time::Duration;

use forebay_runtime::{Lifecycle, Phase};

const SOON: Duration = Duration::from_secs(5);

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
    let poller = lifecycle.register("poller").stall_after(Duration::from_millis(300));
    let patient = lifecycle.register("patient").stall_after(Duration::from_secs(600));
    let deadline = std::time::Instant::now() + SOON;
    while lifecycle.is_alive() {
        assert!(std::time::Instant::now() < deadline, "the silence was not seen");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let stalled: Vec<_> = lifecycle.components().into_iter().filter(|it| it.stalled).map(|it| it.name).collect();
    assert_eq!(stalled, ["poller"]);
    poller.beat();
    assert!(lifecycle.is_alive());
    poller.finished();
    patient.finished();
}

#[tokio::test]
async fn draining_is_seen_by_those_who_ask_later() {
    let lifecycle = Lifecycle::new();
    lifecycle.shutdown("asked to");
    tokio::time::timeout(SOON, lifecycle.draining()).await.unwrap();
}
