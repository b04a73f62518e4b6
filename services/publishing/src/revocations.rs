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

    /// The results that are still to be sent here. The others are acknowledged, which counts for nothing where their
    /// partition has left.
    pub(crate) fn without_revoked(&self, results: Vec<PendingResult>, now: Instant) -> Vec<PendingResult> {
        let revocation = *self.0.lock();
        let recent = |revocation: &Revocation| now.saturating_duration_since(revocation.at) < CHECKED;
        let Some(Revocation { of, .. }) = revocation.filter(recent) else { return results };
        let (left, results): (Vec<_>, Vec<_>) = results.into_iter().partition(|result| has_left(result, of));
        if !left.is_empty() {
            tracing::info!(items = left.len(), "results are left to the replica that has their partitions now");
            left.into_iter().for_each(|result| result.ack.ack());
        }
        results
    }
}

fn has_left(result: &PendingResult, of: Assigned) -> bool {
    match of {
        Assigned::ResultPartitions => result.ack.has_left(None),
        // those of callers over HTTP and RabbitMQ share acknowledgements with records, and stay
        Assigned::SourcePartitions => match result.item.context.origin() {
            Some(Origin::Kafka(KafkaOrigin { partition, offset, .. })) => {
                result.ack.has_left(Some(RequestRecord { partition: *partition, offset: *offset }))
            }
            _ => false,
        },
    }
}
