//! Which items are being answered and which were: makes at-least-once hops effectively once.
//!
//! "Seen" is not "sent": a copy that comes while the first one is on its way waits for that one's delivery report. At
//! capacity the window takes no new id, it never forgets a live one.

use std::time::{Duration, Instant};

use forebay_contract::ItemId;
use rustc_hash::FxHashMap;

use crate::ring::Ring;

/// What to do with a copy of an item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offer<C> {
    /// The first one, or the first after a failure: send it, then call [`Window::settle`].
    Send(C),
    /// The window keeps it until the copy that is on its way is settled.
    Waits,
    /// It was answered within the window.
    Answered(C),
    /// There is no room for another id now.
    Full(C),
}

/// The window. `C` is a copy of an item with its acknowledgement.
#[derive(Debug)]
pub(crate) struct Window<C> {
    answered: Ring,
    /// Copies that wait for the one on its way, in their order of arrival.
    sending: FxHashMap<u128, Vec<C>>,
    capacity: usize,
}

/// A request id is a hash or random, so the row can be mixed in without making two items equal.
fn key(item: ItemId) -> u128 {
    u128::from_le_bytes(item.request_id.0)
        ^ u128::from(item.row).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

impl<C> Window<C> {
    /// Remembers answered items for at least `window` and holds at most `capacity` of them.
    pub(crate) fn new(window: Duration, capacity: usize, now: Instant) -> Self {
        Self { answered: Ring::new(window, now), sending: FxHashMap::default(), capacity }
    }

    /// Decides what happens to `copy`.
    pub(crate) fn offer(&mut self, item: ItemId, copy: C) -> Offer<C> {
        let key = key(item);
        if let Some(waiting) = self.sending.get_mut(&key) {
            waiting.push(copy);
            return Offer::Waits;
        }
        if self.answered.contains(key) {
            return Offer::Answered(copy);
        }
        if self.len() >= self.capacity {
            return Offer::Full(copy);
        }
        self.sending.insert(key, Vec::new());
        Offer::Send(copy)
    }

    /// The copy on its way arrived (`sent`) or did not. Gives the copies that waited for it: after a failure they are to
    /// be offered again, after a success they are duplicates.
    pub(crate) fn settle(&mut self, item: ItemId, sent: bool) -> Vec<C> {
        let key = key(item);
        if sent {
            self.answered.insert(key);
        }
        self.sending.remove(&key).unwrap_or_default()
    }

    /// Notes an item that an earlier owner of its partition answered.
    pub(crate) fn restore(&mut self, item: ItemId) {
        let key = key(item);
        if !self.answered.contains(key) {
            self.answered.insert(key);
        }
    }

    /// Forgets what is older than the window.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.answered.advance(now);
    }

    /// Ids held, answered or on their way.
    pub(crate) fn len(&self) -> usize {
        self.answered.len() + self.sending.len()
    }

    /// Whether another id can be taken.
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

    fn item(ask: u8, row: u32) -> ItemId {
        ItemId { request_id: RequestId([ask; 16]), row }
    }

    fn window(capacity: usize) -> (Window<u32>, Instant) {
        let now = Instant::now();
        (Window::new(Duration::from_secs(60), capacity, now), now)
    }

    #[test]
    fn rows_of_an_ask_are_different_items() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1), Offer::Send(1));
        assert_eq!(window.offer(item(1, 1), 2), Offer::Send(2));
        assert_eq!(window.offer(item(2, 0), 3), Offer::Send(3));
    }

    #[test]
    fn a_copy_waits_for_the_report_of_the_first() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1), Offer::Send(1));
        assert_eq!(window.offer(item(1, 0), 2), Offer::Waits);
        assert_eq!(window.offer(item(1, 0), 3), Offer::Waits);
        assert_eq!(window.settle(item(1, 0), true), [2, 3]);
        assert_eq!(window.offer(item(1, 0), 4), Offer::Answered(4));
    }

    #[test]
    fn a_failure_lets_the_next_copy_through() {
        let (mut window, _) = window(10);
        assert_eq!(window.offer(item(1, 0), 1), Offer::Send(1));
        assert_eq!(window.offer(item(1, 0), 2), Offer::Waits);
        assert_eq!(window.settle(item(1, 0), false), [2]);
        assert_eq!(window.offer(item(1, 0), 2), Offer::Send(2));
        assert!(window.settle(item(1, 0), false).is_empty());
        assert_eq!(window.len(), 0, "a failure leaves nothing behind");
    }

    #[test]
    fn at_capacity_new_ids_wait_outside_and_known_ones_are_still_recognised() {
        let (mut window, start) = window(2);
        assert_eq!(window.offer(item(1, 0), 1), Offer::Send(1));
        window.settle(item(1, 0), true);
        assert_eq!(window.offer(item(2, 0), 2), Offer::Send(2));
        assert_eq!(window.offer(item(3, 0), 3), Offer::Full(3));
        assert_eq!(window.offer(item(1, 0), 4), Offer::Answered(4));
        assert_eq!(window.offer(item(2, 0), 5), Offer::Waits);
        assert!(!window.has_room());
        window.advance(start + Duration::from_secs(90));
        assert!(window.has_room());
        assert_eq!(window.offer(item(3, 0), 3), Offer::Send(3));
    }

    #[test]
    fn a_restored_item_is_answered() {
        let (mut window, _) = window(10);
        window.restore(item(1, 0));
        window.restore(item(1, 0));
        assert_eq!(window.len(), 1);
        assert_eq!(window.offer(item(1, 0), 1), Offer::Answered(1));
    }
}
