//! Filling the dedupe window after a take-over, from the results on the result topic.
//!
//! Replies to HTTP callers and cached answers are not on a topic, so they are not restored: a copy is replied to again,
//! which its caller ignores, and the next caller with an `Idempotency-Key` gets the answer that was computed for it.

use crate::dedupe::SharedDeduplicator;
use crate::kafka_results::parse_request_id_header;

/// Adds results that an earlier owner of a partition wrote to the dedupe window. Cheap to clone, and usable on any
/// thread, before the first outcome of a newly assigned partition is delivered.
#[derive(Clone, Debug)]
pub struct WindowRebuild(pub(crate) SharedDeduplicator);

impl WindowRebuild {
    /// Adds a record by the value of its header [`crate::kafka_results::REQUEST_ID_HEADER`]. Returns `false` if it is
    /// not a record of Forebay.
    pub fn header(&self, value: &[u8]) -> bool {
        self.headers([value]) == 1
    }

    /// Adds records by their headers. Returns how many of them are records of Forebay.
    pub fn headers<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> usize {
        let mut deduplicator = self.0.lock();
        values.into_iter().filter_map(parse_request_id_header).map(|item| deduplicator.restore(item)).count()
    }
}
