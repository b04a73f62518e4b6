//! The items that were answered, or are being answered: makes at-least-once delivery effectively once.
//!
//! "Seen" is not "sent": a copy that arrives while the first one is in flight waits for that one's confirmation. At
//! capacity the window takes no new ids; it never drops one early.

use std::time::{Duration, Instant};

use forebay_contract::ItemId;
use rustc_hash::FxHashMap;

use crate::expiring_ids::ExpiringIdSet;

/// What to do with a copy of an item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OfferResult<C> {
    /// It is the first, or the first after a failure: send it, then call [`DedupeWindow::settle`].
    Send(C),
    /// The window holds it until the copy in flight is settled.
    Waits,
    /// The item was answered within the window.
    Answered(C),
    /// There is no room for another id.
    Full(C),
}

/// Recognises copies of items. `C` is a copy with its acknowledgement.
#[derive(Debug)]
pub(crate) struct DedupeWindow<C> {
    answered: ExpiringIdSet,
    /// Ids in flight, with the copies that wait for the one in flight in their order of arrival.
    in_flight: FxHashMap<u128, Vec<C>>,
    capacity: usize,
}

/// A request id is a hash or random, so the row can be mixed in without making two items equal.
fn key(item: ItemId) -> u128 {
    u128::from_le_bytes(item.request_id.0)
        ^ u128::from(item.row).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

impl<C> DedupeWindow<C> {
    /// Remembers answered items for at least `window`; holds at most `capacity` ids.
    pub(crate) fn new(window: Duration, capacity: usize, now: Instant) -> Self {
        Self { answered: ExpiringIdSet::new(window, now), in_flight: FxHashMap::default(), capacity }
    }

    /// Decides what happens to `copy`.
    pub(crate) fn offer(&mut self, item: ItemId, copy: C) -> OfferResult<C> {
        let key = key(item);
        if let Some(waiting) = self.in_flight.get_mut(&key) {
            waiting.push(copy);
            return OfferResult::Waits;
        }
        if self.answered.contains(key) {
            return OfferResult::Answered(copy);
        }
        if self.len() >= self.capacity {
            return OfferResult::Full(copy);
        }
        self.in_flight.insert(key, Vec::new());
        OfferResult::Send(copy)
    }

    /// Settles the copy in flight, which was sent or could not be. Returns the copies that waited for it: if it was
    /// sent, they are duplicates; otherwise they are to be offered again.
    pub(crate) fn settle(&mut self, item: ItemId, sent: bool) -> Vec<C> {
        let key = key(item);
        if sent {
            self.answered.insert(key);
        }
        self.in_flight.remove(&key).unwrap_or_default()
    }

    /// Adds an item that an earlier owner of its partition answered.
    pub(crate) fn restore(&mut self, item: ItemId) {
        let key = key(item);
        if !self.answered.contains(key) {
            self.answered.insert(key);
        }
    }

    /// Removes ids that are older than the window.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.answered.advance(now);
    }

    /// Number of ids held, answered or in flight.
    pub(crate) fn len(&self) -> usize {
        self.answered.len() + self.in_flight.len()
    }

    /// Whether there is room for another id.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < self.capacity
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::RequestId;

    fn item(request: u8, row: u32) -> ItemId {
        ItemId { request_id: RequestId([request; 16]), row }
    }

    fn window(capacity: usize) -> (DedupeWindow<u32>, Instant) {
        let now = Instant::now();
        (DedupeWindow::new(Duration::from_secs(60), capacity, now), now)
    }

    #[test]
    fn rows_of_a_request_are_different_items() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1), OfferResult::Send(1));
        assert_eq!(window.offer(item(1, 1), 2), OfferResult::Send(2));
        assert_eq!(window.offer(item(2, 0), 3), OfferResult::Send(3));
    }

    #[test]
    fn a_copy_waits_for_the_confirmation_of_the_first() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1), OfferResult::Send(1));
        assert_eq!(window.offer(item(1, 0), 2), OfferResult::Waits);
        assert_eq!(window.offer(item(1, 0), 3), OfferResult::Waits);
        assert_eq!(window.settle(item(1, 0), true), [2, 3]);
        assert_eq!(window.offer(item(1, 0), 4), OfferResult::Answered(4));
    }

    #[test]
    fn a_failure_lets_the_next_copy_through() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1), OfferResult::Send(1));
        assert_eq!(window.offer(item(1, 0), 2), OfferResult::Waits);
        assert_eq!(window.settle(item(1, 0), false), [2]);
        assert_eq!(window.offer(item(1, 0), 2), OfferResult::Send(2));
        assert!(window.settle(item(1, 0), false).is_empty());
        assert_eq!(window.len(), 0, "a failure leaves nothing behind");
    }

    #[test]
    fn at_capacity_new_ids_wait_outside_and_known_ones_are_still_recognised() {
        let (mut window, start) = window(2);
        assert_eq!(window.offer(item(1, 0), 1), OfferResult::Send(1));
        window.settle(item(1, 0), true);
        assert_eq!(window.offer(item(2, 0), 2), OfferResult::Send(2));
        assert_eq!(window.offer(item(3, 0), 3), OfferResult::Full(3));
        assert_eq!(window.offer(item(1, 0), 4), OfferResult::Answered(4));
        assert_eq!(window.offer(item(2, 0), 5), OfferResult::Waits);
        assert!(!window.has_room());
        window.advance(start + Duration::from_secs(90));
        assert!(window.has_room());
        assert_eq!(window.offer(item(3, 0), 3), OfferResult::Send(3));
    }

    #[test]
    fn a_restored_item_is_answered() {
        let (mut window, _) = window(10);
        window.restore(item(1, 0));
        window.restore(item(1, 0));
        assert_eq!(window.len(), 1);
        assert_eq!(window.offer(item(1, 0), 1), OfferResult::Answered(1));
    }
}
