//! Pacing on a clock of its own.

use std::sync::mpsc::Receiver;

use forebay_bus::AckOutcome;
use forebay_testkit::{context, probe};

use super::*;

const GAP: Duration = Duration::from_millis(5);

fn item(values: usize) -> Item<Request> {
    let payload = Request { features: vec![0.0; values], ..Request::default() };
    context().item(payload)
}

fn offer(items: usize, values: usize) -> (Offer, Receiver<AckOutcome>) {
    let (ack, rx) = probe::ack();
    (Offer { items: (0..items).map(|_| item(values)).collect(), ack, spans: vec![] }, rx)
}

fn add(gathering: &mut Gathering, offer: Offer, now: Instant) -> Vec<Flush> {
    let mut full = Vec::new();
    gathering.add(offer, now, |flush| full.push(flush));
    full
}

#[test]
fn an_idle_door_hands_over_at_once_and_a_busy_one_every_gap() {
    let start = Instant::now();
    let mut gathering = Gathering::new(GAP, 4, 0);
    assert_eq!(gathering.due(start), Due::Idle);
    assert!(add(&mut gathering, offer(1, 1).0, start).is_empty());
    assert_eq!(gathering.due(start), Due::Now);
    assert_eq!(gathering.flush(start).unwrap().batch.items.len(), 1);

    for _ in 0..SAVED {
        add(&mut gathering, offer(1, 1).0, start);
        assert_eq!(gathering.due(start), Due::Now, "turns that nobody used are kept");
        gathering.flush(start);
    }
    for ms in 1..4 {
        add(&mut gathering, offer(2, 1).0, start + Duration::from_millis(ms));
        assert_eq!(gathering.due(start + Duration::from_millis(ms)), Due::At(start + GAP));
    }
    assert_eq!(gathering.due(start + GAP), Due::Now);
    let flush = gathering.flush(start + GAP).unwrap();
    assert_eq!((flush.batch.items.len(), flush.batch.batch_partition), (6, 0));
    assert!(gathering.flush(start + GAP).is_none());

    let later = start + Duration::from_secs(1);
    add(&mut gathering, offer(1, 1).0, later);
    assert_eq!(gathering.due(later), Due::Now, "after a pause nobody waits");
}

#[test]
fn at_most_200_batches_a_second_leave_however_many_requests_come() {
    let start = Instant::now();
    let mut gathering = Gathering::new(GAP, 3, 0);
    let (mut batches, mut items) = (0, 0);
    for step in 0..10_000u64 {
        let now = start + Duration::from_micros(step * 100);
        let full = add(&mut gathering, offer(1, 1).0, now);
        let due = if gathering.due(now) == Due::Now { gathering.flush(now) } else { None };
        for flush in full.into_iter().chain(due) {
            batches += 1;
            items += flush.batch.items.len();
        }
    }
    assert_eq!(batches, 200 + SAVED);
    assert!(items > 9_900);
}

#[test]
fn a_large_delivery_leaves_in_full_batches_and_is_done_when_all_are() {
    let now = Instant::now();
    let mut gathering = Gathering::new(GAP, 2, 1);
    let (one, done_one) = offer(1, 1);
    let (many, done_many) = offer(600, 1);
    add(&mut gathering, one, now);
    let full = add(&mut gathering, many, now);
    assert_eq!(full.iter().map(|flush| flush.batch.items.len()).collect::<Vec<_>>(), [256, 256]);
    assert_eq!(full.iter().map(|flush| flush.batch.batch_partition).collect::<Vec<_>>(), [1, 0]);
    full.into_iter().for_each(|flush| flush.ack.ack());
    assert_eq!(done_one.try_recv(), Ok(AckOutcome::Done));
    assert!(done_many.try_recv().is_err());
    let rest = gathering.flush(now).unwrap();
    assert_eq!(rest.batch.items.len(), 601 - 512);
    rest.ack.nack();
    assert_eq!(done_many.try_recv(), Ok(AckOutcome::Failed));
}

#[test]
fn a_batch_is_full_by_bytes_as_well_and_exactly_full_ones_do_not_wait() {
    let now = Instant::now();
    let mut gathering = Gathering::new(GAP, 1, 0);
    let full = add(&mut gathering, offer(20, 1000).0, now);
    assert!(full.len() >= 2 && full.iter().all(|flush| flush.batch.items.len() <= 8));
    gathering.flush(now);
    assert_eq!(add(&mut gathering, offer(256, 1).0, now).len(), 1);
    assert_eq!(gathering.due(now), Due::Idle);
    let (nothing, done) = offer(0, 0);
    assert!(add(&mut gathering, nothing, now).is_empty());
    assert_eq!(done.try_recv(), Ok(AckOutcome::Done));
}

#[test]
fn a_batch_knows_when_its_oldest_item_came() {
    let now = Instant::now();
    let mut gathering = Gathering::new(GAP, 1, 0);
    add(&mut gathering, offer(3, 1).0, now);
    let stages = gathering.flush(now).unwrap().batch.stages;
    assert_eq!((stages.len(), stages[0].entered_us), (1, 7));
    assert!(stages[0].left_us > 7);
}
