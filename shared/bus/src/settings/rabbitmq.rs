//! Settings of requests over RabbitMQ and of the answers that leave over RabbitMQ; both ends read one section.

use std::time::Duration;

use forebay_runtime::{Problems, Secret, duration};
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
    /// Unacknowledged messages of one replica.
    pub prefetch: u16,
    /// Where results go besides `reply-to`; empty is nowhere.
    pub results_exchange: String,
    /// Routing key of results at that exchange.
    pub results_routing: String,
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

impl RabbitMqSettings {
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
        ] {
            if name.len() > 255 {
                problems.add(key, "is longer than 255 bytes");
            }
        }
    }
}
