//! Whether a delivery report can be believed that has no offset.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// After so many reports without an offset, and none with one, the broker is one that gives none.
const GIVES_NONE: u32 = 1000;

/// What the reports of one client say of offsets.
pub(super) struct OffsetReports {
    wanted: bool,
    given: AtomicBool,
    /// Reports without an offset before the first with one.
    missing: AtomicU32,
}

impl OffsetReports {
    /// `wanted`: the client asks for the offset of every record.
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, given: AtomicBool::new(false), missing: AtomicU32::new(0) }
    }

    pub(super) fn wanted(&self) -> bool {
        self.wanted
    }

    /// Notes a report of a delivery; whether it leaves in doubt that the record was written.
    pub(super) fn leave_in_doubt(&self, topic: &str, offset: i64) -> bool {
        if offset >= 0 {
            // read first, as every report would else take the cache line from the other threads
            if !self.given.load(Ordering::Relaxed) {
                self.given.store(true, Ordering::Relaxed);
            }
            return false;
        }
        if !self.wanted || self.given.load(Ordering::Relaxed) {
            return self.wanted;
        }
        let before = self.missing.fetch_add(1, Ordering::Relaxed);
        if before == GIVES_NONE {
            tracing::warn!(topic, "broker gives no offsets, its reports are believed without");
        }
        before < GIVES_NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_an_offset_is_doubted_where_others_have_one() {
        let reports = OffsetReports::new(true);
        assert!(reports.leave_in_doubt("topic", -1001), "the first of all");
        assert!(!reports.leave_in_doubt("topic", 0));
        assert!((0..2 * GIVES_NONE).all(|_| reports.leave_in_doubt("topic", -1001)));
    }

    #[test]
    fn a_broker_that_gives_no_offsets_is_believed_in_the_end() {
        let reports = OffsetReports::new(true);
        assert!((0..GIVES_NONE).all(|_| reports.leave_in_doubt("topic", -1001)));
        assert!((0..GIVES_NONE).all(|_| !reports.leave_in_doubt("topic", -1001)));
        assert!(!OffsetReports::new(false).leave_in_doubt("topic", -1001), "none was asked for");
    }
}
