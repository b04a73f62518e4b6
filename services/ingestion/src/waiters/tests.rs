//! Joining rows, second callers, copies, strangers and deadlines.

use std::time::Duration;

use forebay_contract::{Answer, HttpOrigin, Origin, Score};
use forebay_testkit::context;

use super::*;

const INSTANCE: u64 = 42;
const LONG: Duration = Duration::from_secs(30);

fn outcome(value: f64) -> Outcome {
    Answer { score: Some(Score { value, ..Score::default() }), ..Answer::default() }.into()
}

fn reply(ask: RequestId, instance: u64, rows: &[(u32, f64)]) -> Batch<Outcome> {
    let item = |(row, value): &(u32, f64)| {
        let origin = Origin::Http(HttpOrigin { instance, reply_partition: 0 });
        context().request(ask).row(*row, 3).origin(origin).item(outcome(*value))
    };
    Batch { batch_partition: 0, stages: vec![], items: rows.iter().map(item).collect() }
}

#[tokio::test]
async fn rows_come_back_in_any_order_and_once() {
    let waiters = Waiters::new(INSTANCE);
    let ask = RequestId::random();
    let (waiter, new) = waiters.enter(ask, 3, None).unwrap();
    assert!(new);
    waiters.settle(reply(ask, INSTANCE, &[(2, 2.0), (2, 9.0)]));
    waiters.settle(reply(ask, INSTANCE + 1, &[(0, 9.0), (1, 9.0)]));
    waiters.settle(reply(RequestId::random(), INSTANCE, &[(0, 9.0), (7, 9.0)]));
    assert_eq!(waiters.len(), 1);
    waiters.settle(reply(ask, INSTANCE, &[(0, 0.0), (1, 1.0)]));
    assert!(waiters.is_empty());
    assert_eq!(waiter.rows(LONG).await, [outcome(0.0), outcome(1.0), outcome(2.0)]);
}

#[tokio::test]
async fn the_deadline_answers_what_has_not_come() {
    let waiters = Waiters::new(INSTANCE);
    let ask = RequestId::random();
    let (waiter, _) = waiters.enter(ask, 3, None).unwrap();
    waiters.settle(reply(ask, INSTANCE, &[(1, 1.0)]));
    let rows = waiter.rows(Duration::from_millis(50)).await;
    assert_eq!(rows[1], outcome(1.0));
    let late = Problem::new(ErrorCode::DeadlineExceeded, "no answer within 50 ms");
    assert_eq!((&rows[0], &rows[2]), (&late.clone().into(), &late.into()));
    assert!(waiters.is_empty());
}

#[tokio::test]
async fn a_second_caller_of_a_key_shares_the_answer_and_another_payload_conflicts() {
    let waiters = Waiters::new(INSTANCE);
    let ask = RequestId::of_key("", "k");
    let (first, _) = waiters.enter(ask, 1, Some([1; 16])).unwrap();
    let (second, new) = waiters.enter(ask, 1, Some([1; 16])).unwrap();
    assert!(!new);
    assert_eq!(waiters.enter(ask, 1, Some([2; 16])).unwrap_err(), Conflict);
    drop(first);
    assert_eq!(waiters.len(), 1, "the second caller still waits");
    waiters.settle(reply(ask, INSTANCE, &[(0, 5.0)]));
    assert_eq!(second.rows(LONG).await, [outcome(5.0)]);
}

#[tokio::test]
async fn who_leaves_frees_the_place_and_idle_is_told() {
    let waiters = Waiters::new(INSTANCE);
    let (waiter, _) = waiters.enter(RequestId::random(), 1, None).unwrap();
    let idle = tokio::spawn({
        let waiters = waiters.clone();
        async move { waiters.idle().await }
    });
    tokio::task::yield_now().await;
    assert!(!idle.is_finished());
    drop(waiter);
    tokio::time::timeout(LONG, idle).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_failed_hand_over_is_told() {
    let waiters = Waiters::new(INSTANCE);
    let ask = RequestId::random();
    let (waiter, _) = waiters.enter(ask, 1, None).unwrap();
    let problem = Problem::new(ErrorCode::Unavailable, "x");
    waiters.fail(ask, &problem);
    assert_eq!(waiter.rows(LONG).await, [Outcome::from(problem)]);
}
