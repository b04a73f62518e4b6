//! Joining rows, several callers, duplicates, replies of other replicas and deadlines.

use std::time::Duration;

use forebay_contract::{Answer, Context, ContextFields, HttpOrigin, Item, Score};

use super::*;

const INSTANCE: u64 = 42;
const LONG: Duration = Duration::from_secs(30);
/// Deadlines, in the microseconds that the items carry.
const EARLY: u64 = 1_000_000;
const LATE: u64 = 2_000_000;

fn outcome(value: f64) -> Outcome {
    Answer { score: Some(Score { value, ..Score::default() }), ..Answer::default() }.into()
}

fn reply(id: RequestId, instance: u64, rows: &[(u32, f64)]) -> Batch<Outcome> {
    let rows: Vec<_> = rows.iter().map(|(row, value)| (*row, outcome(*value))).collect();
    reply_to(id, instance, None, LATE, rows)
}

fn reply_to(
    id: RequestId,
    instance: u64,
    idempotent: Option<[u8; 16]>,
    deadline_us: u64,
    rows: Vec<(u32, Outcome)>,
) -> Batch<Outcome> {
    let item = |(row, payload)| {
        let context = Context::new(ContextFields {
            request_id: id,
            row,
            rows: 3,
            client_request_id: None,
            trace_id: [1; 16],
            trace_flags: 0,
            accepted_us: 0,
            deadline_us,
            priority: 1,
            result_partition: 0,
            origin: Origin::Http(HttpOrigin { instance, reply_partition: 0 }),
            idempotent,
        });
        Item { context, parent_span: 0, attempt: 0, payload }
    };
    Batch { batch_partition: 0, stages: vec![], items: rows.into_iter().map(item).collect() }
}

async fn rows(caller: PendingCaller) -> RowOutcomes {
    match caller.reply(LONG).await {
        CallerReply::Rows(rows) => rows,
        CallerReply::Expired => panic!("expired"),
    }
}

#[tokio::test]
async fn rows_come_back_in_any_order_and_once() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::random();
    let (caller, new) = pending.register(id, 3, None, LATE).unwrap();
    assert!(new);
    pending.on_replies(reply(id, INSTANCE, &[(2, 2.0), (2, 9.0)]));
    pending.on_replies(reply(id, INSTANCE + 1, &[(0, 9.0), (1, 9.0)]));
    pending.on_replies(reply(RequestId::random(), INSTANCE, &[(0, 9.0), (7, 9.0)]));
    assert_eq!(pending.len(), 1);
    pending.on_replies(reply(id, INSTANCE, &[(0, 0.0), (1, 1.0)]));
    assert!(pending.is_empty());
    assert_eq!(rows(caller).await, [outcome(0.0), outcome(1.0), outcome(2.0)]);
}

#[tokio::test]
async fn the_deadline_answers_what_has_not_come() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::random();
    let (caller, _) = pending.register(id, 3, None, LATE).unwrap();
    pending.on_replies(reply(id, INSTANCE, &[(1, 1.0)]));
    let CallerReply::Rows(rows) = caller.reply(Duration::from_millis(50)).await else { panic!() };
    assert_eq!(rows[1], outcome(1.0));
    let late = Problem::new(ErrorCode::DeadlineExceeded, "no answer within 50 ms");
    assert_eq!((&rows[0], &rows[2]), (&late.clone().into(), &late.into()));
    assert!(pending.is_empty());
}

#[tokio::test]
async fn a_second_caller_of_a_key_shares_the_answer_and_another_payload_conflicts() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::of_key("", "k");
    let (first, _) = pending.register(id, 1, Some([1; 16]), LATE).unwrap();
    let (second, new) = pending.register(id, 1, Some([1; 16]), LATE).unwrap();
    assert!(!new);
    assert_eq!(pending.register(id, 1, Some([2; 16]), LATE).unwrap_err(), PayloadConflict);
    drop(first);
    assert_eq!(pending.len(), 1, "the second caller still waits");
    pending.on_replies(reply_to(id, INSTANCE, Some([1; 16]), LATE, vec![(0, outcome(5.0))]));
    assert_eq!(rows(second).await, [outcome(5.0)]);
}

#[tokio::test]
async fn a_caller_that_leaves_unregisters_and_notifies_idle() {
    let pending = PendingRequests::new(INSTANCE);
    let (caller, _) = pending.register(RequestId::random(), 1, None, LATE).unwrap();
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
    let (caller, _) = pending.register(id, 1, None, LATE).unwrap();
    let problem = Problem::new(ErrorCode::Unavailable, "x");
    pending.fail(id, caller.number() + 1, &problem);
    assert_eq!(pending.len(), 1, "the items of another caller");
    pending.fail(id, caller.number(), &problem);
    assert_eq!(rows(caller).await, [Outcome::from(problem)]);
}

#[tokio::test]
async fn a_reply_to_another_payload_of_a_caller_that_left_is_ignored() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::of_key("", "k");
    let (first, _) = pending.register(id, 1, Some([1; 16]), LATE).unwrap();
    let sent_first = first.number();
    drop(first);
    let (second, new) = pending.register(id, 1, Some([2; 16]), LATE).unwrap();
    assert!(new);
    pending.on_replies(reply_to(id, INSTANCE, Some([1; 16]), LATE, vec![(0, outcome(1.0))]));
    pending.on_replies(reply_to(id, INSTANCE, None, LATE, vec![(0, outcome(1.0))]));
    pending.fail(id, sent_first, &Problem::new(ErrorCode::Unavailable, "x"));
    assert_eq!(pending.len(), 1, "its own reply is still to come");
    let conflict: Outcome = Problem::new(ErrorCode::IdempotencyConflict, "other payload").into();
    pending.on_replies(reply_to(id, INSTANCE, Some([2; 16]), LATE, vec![(0, conflict.clone())]));
    assert_eq!(rows(second).await, [conflict]);
}

fn late() -> Outcome {
    Problem::new(ErrorCode::DeadlineExceeded, "late").into()
}

#[tokio::test]
async fn a_caller_with_more_time_outlives_the_items_of_the_first() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::of_key("", "k");
    let digest = Some([1; 16]);
    let (first, _) = pending.register(id, 2, digest, EARLY).unwrap();
    let (second, new) = pending.register(id, 2, digest, LATE).unwrap();
    assert!(!new);
    pending.on_replies(reply_to(id, INSTANCE, digest, EARLY, vec![(0, late())]));
    assert_eq!(second.reply(LONG).await, CallerReply::Expired);
    assert!(rows(first).await.iter().all(is_expired));

    let (second, new) = pending.register(id, 2, digest, LATE).unwrap();
    assert!(new, "its items are sent with its own deadline");
    pending.on_replies(reply_to(id, INSTANCE, digest, EARLY, vec![(1, late())]));
    pending.on_replies(reply_to(id, INSTANCE, digest, LATE, vec![(0, outcome(1.0)), (1, late())]));
    assert_eq!(rows(second).await, [outcome(1.0), late()]);
    assert!(pending.is_empty());
}

#[tokio::test]
async fn the_expired_items_of_a_caller_that_left_are_not_those_of_the_next() {
    let pending = PendingRequests::new(INSTANCE);
    let id = RequestId::of_key("", "k");
    let digest = Some([1; 16]);
    drop(pending.register(id, 1, digest, EARLY).unwrap());
    let (second, new) = pending.register(id, 1, digest, LATE).unwrap();
    assert!(new);
    pending.on_replies(reply_to(id, INSTANCE, digest, EARLY, vec![(0, late())]));
    pending.on_replies(reply_to(id, INSTANCE, digest, LATE, vec![(0, outcome(1.0))]));
    assert_eq!(rows(second).await, [outcome(1.0)]);
}
