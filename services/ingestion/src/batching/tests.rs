//! Rate limiting of batches, with the clock passed in.

use std::sync::mpsc::{Receiver, channel};

use forebay_bus::AckOutcome;
use forebay_contract::{Context, ContextFields, KafkaOrigin, Origin, RequestId};

use super::*;

const INTERVAL: Duration = Duration::from_millis(5);

fn item(values: usize) -> Item<Request> {
    let context = Context::new(ContextFields {
        request_id: RequestId::random(),
        row: 0,
        rows: 1,
        client_request_id: None,
        trace_id: [1; 16],
        trace_flags: 0,
        accepted_us: 7,
        deadline_us: 8,
        priority: 1,
        result_partition: 0,
        origin: Origin::Kafka(KafkaOrigin { partition: 0, offset: 0, timestamp_ms: 0, ..KafkaOrigin::default() }),
        idempotent: None,
    });
    let payload = Request { features: vec![0.0; values], ..Request::default() };
    Item { context, parent_span: 0, attempt: 0, payload }
}

fn pending(items: usize, values: usize) -> (PendingItems, Receiver<AckOutcome>) {
    let (tx, rx) = channel();
    let ack = Ack::new(move |outcome| {
        let _ = tx.send(outcome);
    });
    (PendingItems { items: (0..items).map(|_| item(values)).collect(), ack, spans: vec![] }, rx)
}

fn add(batcher: &mut Batcher, items: PendingItems, now: Instant) -> Vec<ReadyBatch> {
    let mut full = Vec::new();
    batcher.add(items, now, |ready| full.push(ready));
    full
}

#[test]
fn an_idle_batcher_flushes_at_once_and_a_busy_one_every_interval() {
    let start = Instant::now();
    let mut batcher = Batcher::new(INTERVAL, 4, 0);
    assert_eq!(batcher.flush_time(start), FlushTime::Idle);
    assert!(add(&mut batcher, pending(1, 1).0, start).is_empty());
    assert_eq!(batcher.flush_time(start), FlushTime::Now);
    assert_eq!(batcher.flush(start).unwrap().batch.items.len(), 1);

    for _ in 0..BURST {
        add(&mut batcher, pending(1, 1).0, start);
        assert_eq!(batcher.flush_time(start), FlushTime::Now, "an unused burst is kept");
        batcher.flush(start);
    }
    for ms in 1..4 {
        add(&mut batcher, pending(2, 1).0, start + Duration::from_millis(ms));
        assert_eq!(batcher.flush_time(start + Duration::from_millis(ms)), FlushTime::At(start + INTERVAL));
    }
    assert_eq!(batcher.flush_time(start + INTERVAL), FlushTime::Now);
    let ready = batcher.flush(start + INTERVAL).unwrap();
    assert_eq!((ready.batch.items.len(), ready.batch.batch_partition), (6, 0));
    assert!(batcher.flush(start + INTERVAL).is_none());

    let later = start + Duration::from_secs(1);
    add(&mut batcher, pending(1, 1).0, later);
    assert_eq!(batcher.flush_time(later), FlushTime::Now, "after a pause no item waits");
}

#[test]
fn at_most_200_batches_a_second_leave_however_many_requests_come() {
    let start = Instant::now();
    let mut batcher = Batcher::new(INTERVAL, 3, 0);
    let (mut batches, mut items) = (0, 0);
    for step in 0..10_000u64 {
        let now = start + Duration::from_micros(step * 100);
        let full = add(&mut batcher, pending(1, 1).0, now);
        let due = if batcher.flush_time(now) == FlushTime::Now { batcher.flush(now) } else { None };
        for ready in full.into_iter().chain(due) {
            batches += 1;
            items += ready.batch.items.len();
        }
    }
    assert_eq!(batches, 200 + BURST);
    assert!(items > 9_900);
}

/// Batches and items that leave within a second when `rate` items a second come.
fn second_of(batcher: &mut Batcher, rate: u64) -> (u32, usize) {
    let start = Instant::now();
    let (mut batches, mut items) = (0, 0);
    for tick in 0..10_000u64 {
        let now = start + Duration::from_micros(tick * 100);
        let mut left = Vec::new();
        if tick * rate / 10_000 != (tick + 1) * rate / 10_000 {
            left = add(batcher, pending(1, 1).0, now);
            left.extend(batcher.flush_if_large(now));
        }
        let due = if batcher.flush_time(now) == FlushTime::Now { batcher.flush(now) } else { None };
        for ready in left.into_iter().chain(due) {
            batches += 1;
            items += ready.batch.items.len();
        }
    }
    (batches, items)
}

#[test]
fn replicas_share_the_rate_until_their_batches_are_large() {
    for (replicas, batches) in [(1, 200), (2, 100), (4, 50), (9, 50)] {
        let mut batcher = Batcher::new(INTERVAL, 3, 0);
        batcher.share_rate(replicas);
        let (left, items) = second_of(&mut batcher, 1000);
        assert!((batches..=batches + BURST).contains(&left), "{replicas} replicas: {left} batches");
        assert!(items > 970, "{items}");

        let mut busy = Batcher::new(INTERVAL, 3, 0);
        busy.share_rate(replicas);
        let (left, _) = second_of(&mut busy, 10_000);
        assert!((195..=200 + BURST).contains(&left), "{replicas} replicas with large batches: {left}");
    }
}

#[test]
fn what_comes_seldom_never_waits_for_the_share_of_others() {
    let mut batcher = Batcher::new(INTERVAL, 3, 0);
    batcher.share_rate(4);
    assert_eq!(second_of(&mut batcher, 45), (45, 45));
}

#[test]
fn a_large_delivery_leaves_in_full_batches_and_is_done_when_all_are() {
    let now = Instant::now();
    let mut batcher = Batcher::new(INTERVAL, 2, 1);
    let (one, done_one) = pending(1, 1);
    let (many, done_many) = pending(600, 1);
    add(&mut batcher, one, now);
    let full = add(&mut batcher, many, now);
    assert_eq!(full.iter().map(|ready| ready.batch.items.len()).collect::<Vec<_>>(), [256, 256]);
    assert_eq!(full.iter().map(|ready| ready.batch.batch_partition).collect::<Vec<_>>(), [1, 0]);
    full.into_iter().for_each(|ready| ready.ack.ack());
    assert_eq!(done_one.try_recv(), Ok(AckOutcome::Done));
    assert!(done_many.try_recv().is_err());
    let rest = batcher.flush(now).unwrap();
    assert_eq!(rest.batch.items.len(), 601 - 512);
    rest.ack.nack();
    assert_eq!(done_many.try_recv(), Ok(AckOutcome::Failed));
}

#[test]
fn a_batch_is_full_by_bytes_as_well_and_exactly_full_ones_do_not_wait() {
    let now = Instant::now();
    let mut batcher = Batcher::new(INTERVAL, 1, 0);
    let full = add(&mut batcher, pending(20, 1000).0, now);
    assert!(full.len() >= 2 && full.iter().all(|ready| ready.batch.items.len() <= 8));
    batcher.flush(now);
    assert_eq!(add(&mut batcher, pending(256, 1).0, now).len(), 1);
    assert_eq!(batcher.flush_time(now), FlushTime::Idle);
    let (nothing, done) = pending(0, 0);
    assert!(add(&mut batcher, nothing, now).is_empty());
    assert_eq!(done.try_recv(), Ok(AckOutcome::Done));
}

#[test]
fn a_batch_knows_when_its_oldest_item_came() {
    let now = Instant::now();
    let mut batcher = Batcher::new(INTERVAL, 1, 0);
    add(&mut batcher, pending(3, 1).0, now);
    let stages = batcher.flush(now).unwrap().batch.stages;
    assert_eq!((stages.len(), stages[0].entered_us), (1, 7));
    assert!(stages[0].left_us > 7);
}

#[test]
fn parameters_count_as_the_rows_do() {
    let mut item = item(1);
    item.payload.output = "predict_proba".to_owned();
    item.payload.params = (0..64).map(|number| (format!("parameter {number}"), Value::text("x".repeat(490)))).collect();
    let encoded = prost::Message::encoded_len(&item.payload);
    assert!(encoded > 32_000 && weight(&item) >= encoded, "{encoded} bytes, counted as {}", weight(&item));
    let mut batcher = Batcher::new(INTERVAL, 4, 0);
    let items = PendingItems { items: vec![item; 10], ack: Ack::none(), spans: vec![] };
    assert!(add(&mut batcher, items, Instant::now()).len() >= 9, "a batch holds 64 KiB");
}
