//! The queues of Kafka's clients.

/// What a client of Kafka may hold, in units of 1,024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientQueues {
    /// Records that a producer has not sent yet.
    pub producer_kbytes: u32,
    /// Records that a consumer has fetched and not handed out.
    pub consumer_kbytes: u32,
}

impl ClientQueues {
    /// The property of a producer.
    pub(crate) const PRODUCER: &str = "queue.buffering.max.kbytes";
    /// The property of a consumer.
    pub(crate) const CONSUMER: &str = "queued.max.messages.kbytes";
}

/// What is enough for a backlog, and for a broker that stops for a while.
impl Default for ClientQueues {
    fn default() -> Self {
        Self { producer_kbytes: 131_072, consumer_kbytes: 16_384 }
    }
}
