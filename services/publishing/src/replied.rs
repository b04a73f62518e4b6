//! The requests over RabbitMQ that earlier owners of a partition have replied to. A reply is on no topic of clients, but the
//! outcome that it was made of is on the results topic between the stages, before the offset up to which work had ended. A
//! request that was computed twice has another outcome behind it, which must not become a second reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_bus::kafka::{Client, Tail, TailError, TailSpec};
use forebay_contract::{ItemId, Origin, Outcome, decode};

/// Time between two looks at the clock.
const PART: Duration = Duration::from_millis(200);

/// Reads the outcomes that were replied with.
#[derive(Clone)]
pub(crate) struct RepliedRequests {
    client: Client,
    /// The results topic between the stages.
    topic: Arc<str>,
}

impl RepliedRequests {
    pub(crate) fn new(client: Client, topic: &str) -> Self {
        Self { client, topic: topic.into() }
    }

    /// The requests over RabbitMQ whose outcomes were written since `since_us` (Unix microseconds) and lie before the
    /// offsets `done_up_to` of their partitions.
    ///
    /// # Errors
    /// When the broker does not answer, or the outcomes are not read by `deadline`.
    pub(crate) fn since(
        &self,
        since_us: u64,
        done_up_to: &[(u32, u64)],
        deadline: Instant,
    ) -> Result<Vec<ItemId>, TailError> {
        let partitions: Vec<u32> = done_up_to.iter().map(|(partition, _)| *partition).collect();
        let since_ms = i64::try_from(since_us / 1000).unwrap_or(i64::MAX);
        let (topic, until, before, await_transactions) = (&*self.topic, done_up_to, 0, false);
        let spec = TailSpec { topic, partitions: &partitions, since_ms, until, before, await_transactions };
        let (began, mut ids) = (Instant::now(), Vec::new());
        let mut tail = Tail::open(&self.client, spec)?;
        while !tail.read(PART, |record| {
            let done = until.iter().any(|(partition, end)| *partition == record.partition() && record.offset() < *end);
            ids.extend(done.then(|| replied_in(record.payload())).into_iter().flatten());
        })? {
            if Instant::now() > deadline {
                return Err(TailError::Late { topic: topic.to_owned(), limit: began.elapsed() });
            }
        }
        tail.discard();
        Ok(ids)
    }
}

/// The requests over RabbitMQ whose outcomes are in a record. One that cannot be decoded was a dead letter.
fn replied_in(record: &[u8]) -> Vec<ItemId> {
    let Ok(batch) = decode::<Outcome>(Bytes::copy_from_slice(record)) else { return Vec::new() };
    let over_rabbitmq = batch.items.iter().filter(|item| matches!(item.context.origin(), Some(Origin::Amqp(_))));
    over_rabbitmq.map(|item| item.context.item()).collect()
}

#[cfg(test)]
mod tests {
    use forebay_contract::{Batch, Item, RequestId, encode};
    use forebay_testkit::{amqp, context, http};

    use super::*;

    #[test]
    fn only_requests_over_rabbitmq_are_replied_to() {
        let items: Vec<Item<Outcome>> = vec![
            amqp(RequestId::random(), "replies", "first").item(Outcome::default()),
            http(RequestId::random(), 0).item(Outcome::default()),
            context().item(Outcome::default()),
        ];
        let expected = vec![items[0].context.item()];
        let mut record = Vec::new();
        encode(&Batch { batch_partition: 0, stages: Vec::new(), items }, &mut record);
        assert_eq!(replied_in(&record), expected);
        assert_eq!(replied_in(b"\xff\xff"), []);
    }
}
