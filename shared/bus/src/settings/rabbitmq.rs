//! Settings of requests over RabbitMQ and of the answers that leave over RabbitMQ; both ends read one section.

use std::time::Duration;

use forebay_runtime::{Problems, Secret, duration, size};
use serde::Deserialize;

/// The broker's own limit of levels is 255, and each costs it memory.
const MOST_LEVELS: u8 = 10;

/// `[rabbitmq]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RabbitMqSettings {
    /// `amqp://` or `amqps://`, with user, password and virtual host; empty means off.
    pub url: Secret,
    /// The queue of requests.
    pub queue: String,
    /// Whether the queue and where it dead-letters to are declared, or have to be there.
    pub declare: bool,
    /// Levels of a declared queue; 0 declares one without priorities.
    pub max_priority: u8,
    /// How long a message may wait in a declared queue; zero means forever.
    #[serde(with = "duration")]
    pub message_ttl: Duration,
    /// Dead-letter exchange of a declared queue; empty declares none.
    pub dead_letter_exchange: String,
    /// Kind of a declared queue.
    pub queue_type: QueueType,
    /// Unacknowledged messages of one replica; see [`RabbitMqSettings::prefetch_within`].
    pub prefetch: u16,
    /// Bytes of the largest message that is read; larger ones are rejected.
    #[serde(with = "size")]
    pub max_message: usize,
    /// Bytes of the largest message that the server accepts, so that may arrive here.
    #[serde(with = "size")]
    pub broker_max_message: usize,
    /// Where results go besides `reply-to`; empty is nowhere.
    pub results_exchange: String,
    /// Routing key of results at that exchange.
    pub results_routing: String,
    /// Where replicas of publishing announce what they have replied to; empty is nowhere.
    pub replied_exchange: String,
    /// PEM file of the authorities to trust instead of the system's; empty means the system's.
    pub ca_file: String,
    /// PEM file of this client's certificate chain; empty means none.
    pub client_cert_file: String,
    /// PEM file of its key.
    pub client_key_file: String,
    /// Silence after which a connection is given up.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
}

/// Kind of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// On one node, with priorities.
    Classic,
    /// Replicated, with a limit of deliveries; it has two levels of priority at most, whatever `max_priority` says.
    Quorum,
}

impl RabbitMqSettings {
    /// Messages that may be unacknowledged at once, so that all of them, each as large as the server admits, fit into `bytes`.
    pub fn prefetch_within(&self, bytes: u64) -> u16 {
        let fitting = bytes / u64::try_from(self.broker_max_message.max(1)).unwrap_or(u64::MAX);
        self.prefetch.min(u16::try_from(fitting).unwrap_or(u16::MAX)).max(1)
    }

    /// Whether there is a RabbitMQ at all.
    pub fn enabled(&self) -> bool {
        !self.url.is_empty()
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let url = self.url.expose();
        if self.enabled() && !url.starts_with("amqp://") && !url.starts_with("amqps://") {
            problems.add("rabbitmq.url", "is no address, expected amqp://user:password@host:5672/vhost or amqps://");
        }
        if self.queue.is_empty() || self.queue.len() > 255 {
            problems.add("rabbitmq.queue", "is empty or longer than 255 bytes");
        }
        if self.max_priority > MOST_LEVELS {
            problems.add("rabbitmq.max_priority", format!("is {}, expected 0 to {MOST_LEVELS}", self.max_priority));
        }
        if self.max_message == 0 || self.broker_max_message < self.max_message {
            let text = "is 0, or larger than rabbitmq.broker_max_message, the largest message that can arrive";
            problems.add("rabbitmq.max_message", text);
        }
        if self.prefetch == 0 {
            problems.add("rabbitmq.prefetch", "is 0, which means without a bound; expected 1 to 65535");
        }
        if self.client_cert_file.is_empty() != self.client_key_file.is_empty() {
            problems
                .add("rabbitmq.client_cert_file", "and rabbitmq.client_key_file belong together, one of them is empty");
        }
        let seconds = self.heartbeat.as_secs();
        if self.heartbeat < Duration::from_secs(2) || seconds > 600 {
            problems.add("rabbitmq.heartbeat", "is not between 2s and 10m");
        }
        for (key, name) in [
            ("rabbitmq.dead_letter_exchange", &self.dead_letter_exchange),
            ("rabbitmq.results_exchange", &self.results_exchange),
            ("rabbitmq.results_routing", &self.results_routing),
            ("rabbitmq.replied_exchange", &self.replied_exchange),
        ] {
            if name.len() > 255 {
                problems.add(key, "is longer than 255 bytes");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_runtime::{COMMON_DEFAULTS, Layers};

    use super::*;

    fn read(flags: &[&str]) -> (RabbitMqSettings, usize) {
        let layers = Layers::from_parts(&[COMMON_DEFAULTS, crate::DEFAULTS], "", &[], flags).unwrap();
        let mut problems = layers.problems();
        let settings: RabbitMqSettings = layers.section("rabbitmq", &mut problems).unwrap();
        settings.check(&mut problems);
        (settings, problems.iter().count())
    }

    #[test]
    fn what_is_prefetched_fits_into_memory() {
        let (usual, _) = read(&[]);
        assert_eq!(usual.prefetch_within(1 << 40), 256);
        assert_eq!(usual.prefetch_within(64 << 20), 4, "the server admits 16 MiB a message");
        assert_eq!(usual.prefetch_within(0), 1);
        let (small, _) = read(&["rabbitmq.broker_max_message=1MiB"]);
        assert_eq!(small.prefetch_within(64 << 20), 64);
        assert_eq!(read(&["rabbitmq.max_message=2MiB", "rabbitmq.broker_max_message=1MiB"]).1, 1);
        assert_eq!(read(&["rabbitmq.queue_type=quorum"]).0.queue_type, QueueType::Quorum);
    }
}
