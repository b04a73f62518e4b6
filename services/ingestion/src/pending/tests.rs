//! Joining rows, several callers, duplicates, replies of other replicas and deadlines.

use std::time::Duration;

use forebay_contract::{Answer, Context, ContextFields, HttpOrigin, Item, Score};

use super::*;

const INSTANCE: u64 = 42;
const LONG: Duration = Duration::from_secs(30);

fn outcome(value: f64) -> Outcome {
    Answer { score: Some(Score { value, ..Score::default() }), ..Answer::default() }.into()
}

fn reply(id: RequestId, instance: u64, rows: &[(u32, f64)]) -> Batch<Outcome> {
    let item = |(row, value): &(u32, f64)| {
        let context = Context::new(ContextFields {
            request_id: id,
            row: *row,
            rows: 3,
            client_request_id: None,
            trace_id: [1; 16],
            trace_flags: 0,
            accepted_us: 0,
            deadline_us: 0,
            priority: 1,
            result_partition: 0,
            origin: Origin::Http(HttpOrigin { instance, reply_partition: 0 }),
            idempotent: None,
        });
        Item { context, parent_span: 0, attempt: 0, payload: outcome(*value) }
    };
    Batch { batch_partition: 0, stages: vec![], items: rows.iter().map(item).collect() }
}

#[tokio::test]
async fn rows_come_back_in_any_order_and_once() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::random();
    let (caller, new) = pending.register(id, 3, None).unwrap();
    assert!(new);
    pending.on_replies(reply(id, INSTANCE, &[(2, 2.0), (2, 9.0)]));
    pending.on_replies(reply(id, INSTANCE + 1, &[(0, 9.0), (1, 9.0)]));
    pending.on_replies(reply(RequestId::random(), INSTANCE, &[(0, 9.0), (7, 9.0)]));
    assert_eq!(pending.len(), 1);
    pending.on_replies(reply(id, INSTANCE, &[(0, 0.0), (1, 1.0)]));
    assert!(pending.is_empty());
    assert_eq!(caller.rows(LONG).await, [outcome(0.0), outcome(1.0), outcome(2.0)]);
}

#[tokio::test]
async fn the_deadline_answers_what_has_not_come() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::random();
    let (caller, _) = pending.register(id, 3, None).unwrap();
    pending.on_replies(reply(id, INSTANCE, &[(1, 1.0)]));
    let rows = caller.rows(Duration::from_millis(50)).await;
    assert_eq!(rows[1], outcome(1.0));
    let late = Problem::new(ErrorCode::DeadlineExceeded, "no answer within 50 ms");
    assert_eq!((&rows[0], &rows[2]), (&late.clone().into(), &late.into()));
    assert!(pending.is_empty());
}

#[tokio::test]
async fn a_second_caller_of_a_key_shares_the_answer_and_another_payload_conflicts() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::of_key("", "k");
    let (first, _) = pending.register(id, 1, Some([1; 16])).unwrap();
    let (second, new) = pending.register(id, 1, Some([1; 16])).unwrap();
    assert!(!new);
    assert_eq!(pending.register(id, 1, Some([2; 16])).unwrap_err(), PayloadConflict);
    drop(first);
    assert_eq!(pending.len(), 1, "the second caller still waits");
    pending.on_replies(reply(id, INSTANCE, &[(0, 5.0)]));
    assert_eq!(second.rows(LONG).await, [outcome(5.0)]);
}

#[tokio::test]
async fn a_caller_that_leaves_unregisters_and_notifies_idle() {
    let pending = PendingRequests::new(INSTANCE);
    let (caller, _) = pending.register(RequestId::random(), 1, None).unwrap();
    let idle = tokio::spawn({
        let pending = pending.clone();
        async move { pending.idle().await }
    });
    tokio::task::yield_now().await;
    assert!(!idle.is_finished());
    drop(caller);
    tokio::time::timeout(LONG, idle).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_failed_send_is_answered() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::random();
    let (caller, _) = pending.register(id, 1, None).unwrap();
    let problem = Problem::new(ErrorCode::Unavailable, "x");
    pending.fail(id, &problem);
    assert_eq!(caller.rows(LONG).await, [Outcome::from(problem)]);
}
