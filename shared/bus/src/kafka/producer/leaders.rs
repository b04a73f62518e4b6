//! Whether the leaders of partitions know of them yet.

use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::context::Context;

/// Asks the leaders of `partitions`, for at most about `limit`. A partition stands in the metadata a moment before its leader
/// takes records: of the first two batches the leader might refuse one and take the other, out of order.
///
/// # Errors
/// When a leader does not know its partition. One that does not answer is left to the client.
pub(super) fn leaders_know(
    client: &Client<Context>,
    topic: &str,
    partitions: impl Iterator<Item = i32>,
    limit: Duration,
) -> Result<(), KafkaError> {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, UnknownPartition, UnknownTopicOrPartition};
    let deadline = Instant::now() + limit;
    for partition in partitions {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let Err(error) = client.fetch_watermarks(topic, partition, left) else { continue };
        tracing::debug!(topic, partition, %error, "leader of partition cannot be asked");
        if let Some(LeaderNotAvailable | NotLeaderForPartition | UnknownPartition | UnknownTopicOrPartition) =
            error.rdkafka_error_code()
        {
            return Err(error);
        }
    }
    Ok(())
}
