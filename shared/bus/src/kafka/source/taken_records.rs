//! Records of a source that are in flight, and the acknowledgement of what was made of them.

use std::sync::Arc;

use crate::ack::{OnEnd, RequestRecord, SourcePartition};
use crate::kafka::offset_tracker::{InFlightRecord, OffsetTracker};
use crate::{Ack, AckOutcome, Permit};

/// Begins the work on the record at `offset` of the partition with this key; `None` when its partition has just left.
pub(super) fn begin(
    key: i32,
    offset: i64,
    offsets: &Arc<OffsetTracker>,
    permit: Permit,
) -> Option<(InFlightRecord, Ack)> {
    let in_flight = offsets.begin(key, offset, offset)?;
    Some((in_flight, ack_of(vec![in_flight], Arc::clone(offsets), permit)))
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
