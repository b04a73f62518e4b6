//! The dedupe window against a naive model of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use forebay_contract::{ItemId, RequestId};
use proptest::prelude::*;

use super::{DedupeWindow, OfferResult};

const WINDOW: Duration = Duration::from_millis(400);
const CAPACITY: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Offer(u8),
    Settle(u8, bool),
    Restore(u8),
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0u8..7;
    let step = prop_oneof![
        5 => id.clone().prop_map(Step::Offer),
        3 => (id.clone(), any::<bool>()).prop_map(|(id, sent)| Step::Settle(id, sent)),
        1 => id.prop_map(Step::Restore),
        2 => (0u16..250).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..200)
}

/// What the window should do, written without regard to memory or speed.
#[derive(Default)]
struct Model {
    /// Ids in flight, with the copies that wait.
    in_flight: BTreeMap<u8, VecDeque<u32>>,
    /// When an id was answered last.
    answered: BTreeMap<u8, Instant>,
}

impl Model {
    fn age(&self, id: u8, now: Instant) -> Option<Duration> {
        self.answered.get(&id).map(|at| now - *at)
    }
}

fn item(id: u8) -> ItemId {
    ItemId { request_id: RequestId([id / 2; 16]), row: u32::from(id % 2) }
}

fn offer(
    window: &mut DedupeWindow<u32>,
    model: &mut Model,
    id: u8,
    copy: u32,
    now: Instant,
) -> Result<(), TestCaseError> {
    let held = window.len();
    let age = model.age(id, now);
    match window.offer(item(id), copy, |_| true) {
        OfferResult::Waits => match model.in_flight.get_mut(&id) {
            Some(waiting) => waiting.push_back(copy),
            None => prop_assert!(false, "nothing is in flight for {}", id),
        },
        OfferResult::Send(same) => {
            prop_assert_eq!(same, copy);
            prop_assert!(!model.in_flight.contains_key(&id), "two copies of {} in flight", id);
            prop_assert!(age.is_none_or(|age| age > WINDOW), "{} sent again after {:?}", id, age);
            prop_assert!(held < CAPACITY);
            model.in_flight.insert(id, VecDeque::new());
        }
        OfferResult::Answered(same) => {
            prop_assert_eq!(same, copy);
            prop_assert!(!model.in_flight.contains_key(&id));
            prop_assert!(age.is_some_and(|age| age <= WINDOW * 5 / 4), "{} remembered after {:?}", id, age);
        }
        OfferResult::Unknown(_) => prop_assert!(false, "everything is known here"),
        OfferResult::Full(same) => {
            prop_assert_eq!(same, copy);
            prop_assert!(held >= CAPACITY, "refused with room for {}", CAPACITY - held);
            prop_assert!(!model.in_flight.contains_key(&id));
            prop_assert!(age.is_none_or(|age| age > WINDOW), "{} is alive and was not recognised", id);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_item_is_in_flight_twice_or_sent_again_within_the_window(steps in steps()) {
        let mut now = Instant::now();
        let mut window = DedupeWindow::new(WINDOW, CAPACITY, now);
        let mut model = Model::default();
        for (copy, step) in (0u32..).zip(steps) {
            match step {
                Step::Offer(id) => offer(&mut window, &mut model, id, copy, now)?,
                Step::Settle(id, sent) => {
                    let Some(waiting) = model.in_flight.remove(&id) else { continue };
                    prop_assert_eq!(window.settle(item(id), None, sent), Vec::from(waiting), "each copy once, in order");
                    if sent {
                        model.answered.insert(id, now);
                    }
                }
                Step::Restore(id) => {
                    // an item in flight is restored when its answer is read back before its report comes
                    window.restore(item(id), None);
                    model.answered.insert(id, now);
                }
                Step::Pass(ms) => {
                    now += Duration::from_millis(u64::from(ms));
                    window.advance(now);
                }
            }
        }
    }
}
