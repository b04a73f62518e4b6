//! Records of a source that are in flight, and the acknowledgement of what was made of them.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::ack::{OnEnd, RequestRecord, SourcePartition};
use crate::kafka::offset_tracker::{InFlightRecord, OffsetTracker};
use crate::{Ack, AckOutcome, Permit};

/// Begins the work on the record at `offset` of the partition with this key, which requests have as `origin`; `None` when
/// its partition has just left.
pub(super) fn begin(
    (key, origin): (i32, u32),
    offset: i64,
    offsets: &Arc<OffsetTracker>,
    permit: Permit,
) -> Option<(InFlightRecord, Ack)> {
    let in_flight = offsets.begin(key, offset, offset)?.of_requests(origin);
    Some((in_flight, ack_of(vec![in_flight], Arc::clone(offsets), permit)))
}

/// An ack for one item of a record, which says how that ended.
pub(super) fn ack_of_item(record: InFlightRecord, offsets: &Arc<OffsetTracker>, ended: Sender<AckOutcome>) -> Ack {
    Ack::of(TakenItem { record, offsets: Arc::clone(offsets), ended })
}

/// An item of a record whose acknowledgement is open.
struct TakenItem {
    record: InFlightRecord,
    offsets: Arc<OffsetTracker>,
    ended: Sender<AckOutcome>,
}

impl OnEnd for TakenItem {
    fn end(self: Box<Self>, outcome: AckOutcome) {
        // no one waits for an item of a partition that has left
        let _ = self.ended.send(outcome);
    }

    fn has_left(&self, record: Option<RequestRecord>) -> Option<bool> {
        record.is_none_or(|record| self.record.has(record)).then(|| self.offsets.has_left(&self.record))
    }
}

/// An ack that ends the work on these records and returns the permits.
pub(super) fn ack_of(
    in_flight: Vec<InFlightRecord>,
    offsets: Arc<OffsetTracker>,
    permit: impl Into<Option<Permit>>,
) -> Ack {
    Ack::of(TakenRecords { in_flight, offsets, permit: permit.into() })
}

/// Records of a source whose acknowledgement is open.
struct TakenRecords {
    in_flight: Vec<InFlightRecord>,
    offsets: Arc<OffsetTracker>,
    permit: Option<Permit>,
}

impl OnEnd for TakenRecords {
    fn end(self: Box<Self>, outcome: AckOutcome) {
        let Self { in_flight, offsets, permit } = *self;
        for record in in_flight {
            offsets.end(record, outcome);
        }
        drop(permit);
    }

    fn source(&self) -> Option<SourcePartition> {
        match self.in_flight.as_slice() {
            [record] => Some(record.source()),
            _ => None,
        }
    }

    fn has_left(&self, record: Option<RequestRecord>) -> Option<bool> {
        let mut taken = self.in_flight.iter().filter(|taken| record.is_none_or(|record| taken.has(record))).peekable();
        taken.peek()?;
        Some(taken.all(|taken| self.offsets.has_left(taken)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use forebay_contract::Lane;

    use super::*;

    fn of(partition: u32, offset: u64) -> Option<RequestRecord> {
        Some(RequestRecord { partition, offset })
    }

    fn taken(offsets: &Arc<OffsetTracker>, runs: &[(i32, u32)]) -> Ack {
        let run = |(key, origin): &(i32, u32)| offsets.begin(*key, 5, 9).unwrap().of_requests(*origin);
        ack_of(runs.iter().map(run).collect(), Arc::clone(offsets), None)
    }

    #[test]
    fn of_records_that_share_an_acknowledgement_those_have_left_whose_partition_has() {
        let offsets = Arc::new(OffsetTracker::default());
        offsets.assign(&[0, 1], 1);
        let caller = Ack::new(|_| ());
        let joined = Ack::join(vec![taken(&offsets, &[(0, 0), (1, 1)]), caller]);
        assert!(!joined.has_left(of(0, 7)));
        offsets.revoke(&[0]);
        assert!(joined.has_left(of(0, 7)) && !joined.has_left(of(1, 7)) && !joined.has_left(of(0, 10)));
        assert!(!joined.has_left(None), "some of it stays");
        // the partition comes back, and the record is read again
        offsets.assign(&[0], 2);
        let both = Ack::join(vec![joined.share(), taken(&offsets, &[(0, 0)])]);
        assert!(!both.has_left(of(0, 7)) && joined.has_left(of(0, 7)));
        // a rewind and a new position are no revocation
        offsets.move_position(1, 3);
        assert!(!joined.has_left(of(1, 7)));
        offsets.revoke(&[0, 1]);
        assert!(joined.has_left(None) && both.has_left(of(0, 7)));
    }

    #[test]
    fn work_that_leaves_is_not_done_and_what_shares_its_acknowledgement_is() {
        let offsets = Arc::new(OffsetTracker::default());
        offsets.assign(&[0, 1], 1);
        let (ended, ends) = channel();
        let caller = Ack::new(move |outcome| ended.send(outcome).unwrap_or_default());
        let joined = Ack::join(vec![taken(&offsets, &[(0, 0)]), taken(&offsets, &[(1, 1)]), caller]);
        offsets.give_up(&[0]);
        joined.leave(of(0, 7));
        assert_eq!(ends.recv(), Ok(AckOutcome::Done));
        assert!(offsets.take_rewinds(2).is_empty());
        assert_eq!(offsets.revoke(&[0, 1]), [(0, 5), (1, 10)]);
    }

    #[test]
    fn items_that_are_taken_one_at_a_time_leave_with_their_record() {
        let (offsets, origin) = (Arc::new(OffsetTracker::default()), Lane::Low.origin_partition(2));
        offsets.assign(&[8], 1);
        let (record, ack) = begin((8, origin), 5, &offsets, crate::Permits::new(1).try_take(1).unwrap()).unwrap();
        let (ended, ends) = channel();
        let item = ack_of_item(record, &offsets, ended);
        for ack in [&ack, &item] {
            assert!(!ack.has_left(of(origin, 5)) && !ack.has_left(None));
        }
        offsets.revoke(&[8]);
        for ack in [&ack, &item] {
            assert!(ack.has_left(of(origin, 5)) && ack.has_left(None) && !ack.has_left(of(2, 5)));
        }
        item.ack();
        assert_eq!(ends.recv(), Ok(AckOutcome::Done));
    }
}
