//! The thread that serves the delivery reports of one client.

use std::sync::Arc;
use std::time::Duration;

use forebay_runtime::{Heartbeat, LONGEST_UNMARKED_WAIT};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, ProducerContext};

/// Longest wait for a delivery report, and about the longest time for which a producer outlives its last handle. The
/// wrapper spins through the last millisecond of it.
pub(super) const REPORTS: Duration = Duration::from_secs(4);
const _: () = assert!(REPORTS.as_millis() <= LONGEST_UNMARKED_WAIT.as_millis());

/// Serves delivery reports on a separate thread until the last handle to the producer is dropped, and waits for each at most
/// `longest`. The client's own thread for this waits 100 ms at a time and spins through the last of them, which is a core's
/// percent on an idle service.
pub(crate) fn serve_reports<C: ProducerContext + 'static>(
    producer: &Arc<BaseProducer<C>>,
    heartbeat: Heartbeat,
    longest: Duration,
) -> Result<(), KafkaError> {
    let producer = Arc::downgrade(producer);
    let serve = move || {
        while let Some(producer) = producer.upgrade() {
            heartbeat.beat();
            producer.poll(longest);
        }
    };
    let spawned = std::thread::Builder::new().name("kafka-reports".into()).spawn(serve);
    spawned.map(drop).map_err(|error| KafkaError::ClientCreation(format!("report thread: {error}")))
}
