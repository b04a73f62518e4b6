//! What was answered: the window of ids and the kept answers, changed together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, ItemId, Problem};
use parking_lot::Mutex;

use crate::kept::Kept;
use crate::letter::Letter;
use crate::window::{Offer, Window};

/// The ledger as the stage, delivery reports and a rebuild share it. Held for as long as a batch needs, never while
/// anything is sent or acked.
pub(crate) type SharedLedger = Arc<Mutex<Ledger>>;

/// Window and kept answers.
#[derive(Debug)]
pub(crate) struct Ledger {
    window: Window<Letter>,
    kept: Kept,
}

/// What becomes of an outcome.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It goes out and is settled by its report.
    Send(Letter),
    /// Its caller gets an answer, nothing else happens.
    Again(Letter),
    /// It was answered before.
    Duplicate(Letter),
    /// The ledger has it until the copy on its way is settled.
    Waits,
    /// There is no room for it now.
    Full(Letter),
}

impl Ledger {
    pub(crate) fn new(window: Duration, capacity: usize, answers: usize, now: Instant) -> Self {
        // an id lives a quarter longer than the window at most; its answer should not go before it
        let kept = Kept::new(window + window / 4, answers);
        Self { window: Window::new(window, capacity, now), kept }
    }

    pub(crate) fn judge(&mut self, mut letter: Letter, now: Instant) -> Verdict {
        let id = letter.id();
        let digest = letter.idempotency();
        if digest.is_some_and(|digest| self.kept.conflicts(id.request_id, digest)) {
            let text = "this Idempotency-Key was used before with another payload";
            letter.item.payload = Problem::new(ErrorCode::IdempotencyConflict, text).into();
            return Verdict::Again(letter);
        }
        match self.window.offer(id, letter) {
            Offer::Send(mut letter) => {
                if let Some(digest) = digest {
                    letter.item.payload = self.kept.again(id, letter.item.payload);
                    self.kept.keep(id, digest, &letter.item.payload, now);
                }
                Verdict::Send(letter)
            }
            Offer::Answered(mut letter) if digest.is_some() => {
                letter.item.payload = self.kept.again(id, letter.item.payload);
                Verdict::Again(letter)
            }
            Offer::Answered(letter) => Verdict::Duplicate(letter),
            Offer::Waits => Verdict::Waits,
            Offer::Full(letter) => Verdict::Full(letter),
        }
    }

    /// See [`Window::settle`]. An id lives from now on, so the buckets have to stand where now is.
    pub(crate) fn settle(&mut self, id: ItemId, sent: bool, now: Instant) -> Vec<Letter> {
        self.window.advance(now);
        self.window.settle(id, sent)
    }

    pub(crate) fn restore(&mut self, id: ItemId) {
        self.window.restore(id);
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        self.window.advance(now);
        self.kept.advance(now);
    }

    pub(crate) fn ids(&self) -> usize {
        self.window.len()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.window.has_room()
    }
}
