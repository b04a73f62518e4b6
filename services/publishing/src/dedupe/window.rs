//! The items that were answered, or are being answered: makes at-least-once delivery effectively once.
//!
//! "Seen" is not "sent": a copy that arrives while the first one is in flight waits for that one's confirmation. At
//! capacity the window takes no new ids; it never drops one early.

use std::time::{Duration, Instant};

use forebay_contract::ItemId;
use rustc_hash::FxHashMap;

use crate::expiring_ids::{ExpiringIdSet, Position};

/// What to do with a copy of an item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OfferResult<C> {
    /// It is the first, or the first after a failure: send it, then call [`DedupeWindow::settle`].
    Send(C),
    /// The window holds it until the copy in flight is settled.
    Waits,
    /// The item was answered within the window.
    Answered(C),
    /// It may have been answered before the window's knowledge begins.
    Unknown(C),
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

    /// Decides what happens to `copy`. `known` says whether the window would know an answer to it, from the answers that
    /// have expired.
    pub(crate) fn offer(
        &mut self,
        item: ItemId,
        copy: C,
        known: impl FnOnce(&ExpiringIdSet) -> bool,
    ) -> OfferResult<C> {
        let key = key(item);
        if let Some(waiting) = self.in_flight.get_mut(&key) {
            waiting.push(copy);
            return OfferResult::Waits;
        }
        if self.answered.contains(key) {
            return OfferResult::Answered(copy);
        }
        if !known(&self.answered) {
            return OfferResult::Unknown(copy);
        }
        if self.len() >= self.capacity {
            return OfferResult::Full(copy);
        }
        self.in_flight.insert(key, Vec::new());
        OfferResult::Send(copy)
    }

    /// Settles the copy in flight, which was sent or could not be. Returns the copies that waited for it: if it was
    /// sent, they are duplicates; otherwise they are to be offered again.
    pub(crate) fn settle(&mut self, item: ItemId, position: Option<Position>, sent: bool) -> Vec<C> {
        let key = key(item);
        if sent {
            self.answered.insert(key, position);
        }
        self.in_flight.remove(&key).unwrap_or_default()
    }

    /// Adds an item that the result topic has an answer to; its time starts now.
    pub(crate) fn restore(&mut self, item: ItemId, position: Option<Position>) {
        self.answered.renew(key(item), position);
    }

    /// Drops the expired answers of a partition of the result topic.
    pub(crate) fn drop_forgotten(&mut self, partition: u32) {
        self.answered.drop_forgotten(partition);
    }

    /// Whether there is room for another id to restore. Three quarters of the window are left to new answers.
    pub(crate) fn has_room_to_restore(&self) -> bool {
        self.len() < self.capacity / 4
    }

    /// Whether there is room for another id that another replica has announced. A quarter of the window is left to new answers.
    pub(crate) fn has_room_for_announced(&self) -> bool {
        self.len() < self.capacity / 4 * 3
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
        assert_eq!(window.offer(item(1, 0), 1, |_| true), OfferResult::Send(1));
        assert_eq!(window.offer(item(1, 1), 2, |_| true), OfferResult::Send(2));
        assert_eq!(window.offer(item(2, 0), 3, |_| true), OfferResult::Send(3));
    }

    #[test]
    fn a_copy_waits_for_the_confirmation_of_the_first() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1, |_| true), OfferResult::Send(1));
        assert_eq!(window.offer(item(1, 0), 2, |_| true), OfferResult::Waits);
        assert_eq!(window.offer(item(1, 0), 3, |_| true), OfferResult::Waits);
        assert_eq!(window.settle(item(1, 0), None, true), [2, 3]);
        assert_eq!(window.offer(item(1, 0), 4, |_| true), OfferResult::Answered(4));
    }

    #[test]
    fn a_failure_lets_the_next_copy_through() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1, |_| true), OfferResult::Send(1));
        assert_eq!(window.offer(item(1, 0), 2, |_| true), OfferResult::Waits);
        assert_eq!(window.settle(item(1, 0), None, false), [2]);
        assert_eq!(window.offer(item(1, 0), 2, |_| true), OfferResult::Send(2));
        assert!(window.settle(item(1, 0), None, false).is_empty());
        assert_eq!(window.len(), 0, "a failure leaves nothing behind");
    }

    #[test]
    fn at_capacity_new_ids_wait_outside_and_known_ones_are_still_recognised() {
        let (mut window, start) = window(2);
        assert_eq!(window.offer(item(1, 0), 1, |_| true), OfferResult::Send(1));
        window.settle(item(1, 0), None, true);
        assert_eq!(window.offer(item(2, 0), 2, |_| true), OfferResult::Send(2));
        assert_eq!(window.offer(item(3, 0), 3, |_| true), OfferResult::Full(3));
        assert_eq!(window.offer(item(1, 0), 4, |_| true), OfferResult::Answered(4));
        assert_eq!(window.offer(item(2, 0), 5, |_| true), OfferResult::Waits);
        assert!(!window.has_room());
        window.advance(start + Duration::from_secs(90));
        assert!(window.has_room());
        assert_eq!(window.offer(item(3, 0), 3, |_| true), OfferResult::Send(3));
    }

    #[test]
    fn what_the_window_cannot_know_is_neither_sent_nor_held() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1, |_| false), OfferResult::Unknown(1));
        assert_eq!(window.len(), 0);
        assert_eq!(window.offer(item(1, 0), 1, |_| true), OfferResult::Send(1));
        assert_eq!(window.offer(item(1, 0), 2, |_| false), OfferResult::Waits);
        window.settle(item(1, 0), None, true);
        assert_eq!(window.offer(item(1, 0), 3, |_| false), OfferResult::Answered(3));
    }

    #[test]
    fn a_restored_item_is_answered() {
        let (mut window, _) = window(10);
        window.restore(item(1, 0), None);
        window.restore(item(1, 0), None);
        assert_eq!(window.len(), 1);
        assert_eq!(window.offer(item(1, 0), 1, |_| true), OfferResult::Answered(1));
    }
}
