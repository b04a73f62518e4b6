//! Results of partitions that have left this process: another replica reads what they answer, and sends them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_bus::RequestRecord;
use forebay_contract::{KafkaOrigin, Origin};
use parking_lot::Mutex;

use crate::pending::PendingResult;
use crate::rebuild::Assigned;

/// How long after partitions have left results are checked: work that takes longer ends its process.
const CHECKED: Duration = Duration::from_secs(600);

/// When partitions last left. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<Mutex<Option<Revocation>>>);

#[derive(Clone, Copy, Debug)]
struct Revocation {
    at: Instant,
    of: Assigned,
}

impl Revocations {
    /// Partitions are about to leave; `of` says of which topic.
    pub fn note(&self, of: Assigned) {
        *self.0.lock() = Some(Revocation { at: Instant::now(), of });
    }

    /// The results that are still to be sent here. The others are not done.
    pub(crate) fn without_revoked(&self, results: Vec<PendingResult>, now: Instant) -> Vec<PendingResult> {
        let revocation = *self.0.lock();
        let recent = |revocation: &Revocation| now.saturating_duration_since(revocation.at) < CHECKED;
        let Some(Revocation { of, .. }) = revocation.filter(recent) else { return results };
        let mut left = 0;
        let stays = |result: PendingResult| match record_of(&result, of) {
            Some(record) if result.ack.has_left(record) => {
                left += 1;
                result.ack.leave(record);
                None
            }
            _ => Some(result),
        };
        let results = results.into_iter().filter_map(stays).collect();
        if left > 0 {
            tracing::info!(items = left, "results are left to the replica that has their partitions now");
        }
        results
    }
}

/// By what a result is known to the acknowledgement that it shares; `None` for one whose partition cannot leave.
fn record_of(result: &PendingResult, of: Assigned) -> Option<Option<RequestRecord>> {
    match (of, result.item.context.origin()) {
        (Assigned::ResultPartitions, _) => Some(None),
        (Assigned::SourcePartitions, Some(Origin::Kafka(KafkaOrigin { partition, offset, .. }))) => {
            Some(Some(RequestRecord { partition: *partition, offset: *offset }))
        }
        // those of callers over HTTP and RabbitMQ share acknowledgements with records, and stay
        (Assigned::SourcePartitions, _) => None,
    }
}
