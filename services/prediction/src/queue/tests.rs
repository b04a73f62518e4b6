//! The order of rows, and what groups take out of it.

use super::*;
use crate::fakes;

const MAX_AGE: Duration = Duration::from_millis(250);

/// Rows `(priority, milliseconds before now)`; the delivery numbers them.
fn queue(rows: &[(i32, u64)]) -> (Queue, Instant) {
    let now = Instant::now() + Duration::from_secs(10);
    let mut queue = Queue::new(MAX_AGE);
    for (delivery, &(priority, age)) in rows.iter().enumerate() {
        let item = fakes::item(priority, "m", 1, &[1.0]);
        let accepted = now - Duration::from_millis(age);
        queue.push(QueuedRow { item, delivery, arrived: now, accepted });
    }
    (queue, now)
}

fn order(mut queue: Queue, now: Instant) -> Vec<usize> {
    std::iter::from_fn(|| queue.pop(now)).map(|row| row.delivery).collect()
}

fn numbers(rows: Vec<QueuedRow>) -> Vec<usize> {
    rows.into_iter().map(|row| row.delivery).collect()
}

#[test]
fn priority_first_then_arrival() {
    let (queue, now) = queue(&[(1, 50), (5, 49), (0, 48), (1, 47), (-3, 46)]);
    assert_eq!(order(queue, now), [4, 2, 0, 3, 1]);
}

#[test]
fn an_urgent_row_goes_first_though_everything_is_late() {
    // wherever the share of age stands, it takes one row at most before the urgent one
    for before in 0..10 {
        let mut rows = vec![(9, 5_000); 2_000];
        rows.extend(vec![(0, 400); before + 1]);
        let (queue, now) = queue(&rows);
        let urgent = order(queue, now).iter().position(|&row| row == 2_000 + before).unwrap();
        assert!(urgent <= before + before / 7 + 1, "the {before}. went after {urgent} rows");
    }
}

#[test]
fn a_low_priority_gets_an_eighth_while_higher_ones_never_end() {
    let (mut queue, now) = queue(&[(5, 400), (5, 399), (9, 500)]);
    let mut low = Vec::new();
    for turn in 0..32 {
        queue.push(QueuedRow { item: fakes::item(0, "m", 1, &[1.0]), delivery: 100, arrived: now, accepted: now });
        let row = queue.pop(now).unwrap();
        if row.delivery < 100 {
            low.push((turn, row.delivery));
        }
    }
    assert_eq!(low, [(7, 2), (15, 0), (23, 1)], "the oldest first, one in eight");
}

#[test]
fn a_row_that_is_not_late_has_no_share() {
    let (mut queue, now) = queue(&[(9, 100)]);
    for _ in 0..50 {
        queue.push(QueuedRow { item: fakes::item(0, "m", 1, &[1.0]), delivery: 100, arrived: now, accepted: now });
        assert_eq!(queue.pop(now).unwrap().delivery, 100);
    }
    queue.push(QueuedRow { item: fakes::item(0, "m", 1, &[1.0]), delivery: 100, arrived: now, accepted: now });
    assert_eq!(queue.pop(now + MAX_AGE).unwrap().delivery, 0, "its turn was kept");
}

#[test]
fn there_are_at_most_sixteen_lanes() {
    let priorities = [i32::MIN, -9, -8, 0, 7, 8, 9, 1_000, i32::MAX];
    let (mut queue, now) = queue(&priorities.map(|priority| (priority, 10)));
    assert_eq!(queue.lanes.len(), 3);
    (-1_000..1_000).for_each(|priority| {
        queue.push(QueuedRow { item: fakes::item(priority, "m", 1, &[1.0]), delivery: 9, arrived: now, accepted: now })
    });
    assert_eq!(queue.lanes.len(), 16);
}

#[test]
fn a_group_is_taken_in_order() {
    let (mut queue, now) = queue(&[(1, 9), (2, 8), (1, 7), (1, 6), (3, 5)]);
    assert_eq!(numbers(queue.take(now, 4)), [0, 2, 3, 1]);
    assert_eq!(order(queue, now), [4]);
}

#[test]
fn age_counts_from_the_acceptance_of_the_request() {
    let (now, now_us) = (Instant::now() + Duration::from_secs(10), 1_000_000_000);
    let item = |accepted_us| forebay_testkit::context().accepted_us(accepted_us).item(fakes::features("m", 1, &[1.0]));
    let row = QueuedRow::arriving(item(now_us - 300_000), 0, now, now_us);
    assert_eq!((row.arrived, row.accepted), (now, now - Duration::from_millis(300)));
    // the clock of the stage that accepted it may be ahead
    assert_eq!(QueuedRow::arriving(item(now_us + 300_000), 0, now, now_us).accepted, now);
}

#[test]
fn a_group_has_a_share_for_late_rows() {
    let mut rows = vec![(9, 500); 5];
    rows.extend([(0, 400); 40]);
    let (mut queue, now) = queue(&rows);
    let taken = numbers(queue.take(now, 16));
    assert_eq!(taken[..2], [0, 1], "an eighth by age");
    assert_eq!(taken[2..], (5..19).collect::<Vec<_>>()[..], "the others by priority");
    assert_eq!(order(queue, now).len(), 29);
}
