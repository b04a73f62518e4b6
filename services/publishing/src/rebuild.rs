//! The window after a take-over: filled again from the results that stand on the outside topic.
//!
//! Replies to HTTP callers and kept answers stand nowhere, so they are not restored: a copy is replied to again, which
//! nobody waits for, and the next caller with an `Idempotency-Key` gets the answer that was computed for it.

use crate::ledger::SharedLedger;
use crate::outside::item_of;

/// Puts results that an earlier owner of a partition wrote into the window. Cheap to clone, for any thread; to be used
/// before the first outcome of a newly assigned partition is delivered.
#[derive(Clone, Debug)]
pub struct Rebuild(pub(crate) SharedLedger);

impl Rebuild {
    /// Notes a record by the value of its header [`crate::outside::ASK_HEADER`]. `false` when it is not one of ours.
    pub fn header(&self, value: &[u8]) -> bool {
        self.headers([value]) == 1
    }

    /// Notes many records by their headers; how many of them are ours.
    pub fn headers<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> usize {
        let mut ledger = self.0.lock();
        values.into_iter().filter_map(item_of).map(|item| ledger.restore(item)).count()
    }
}
