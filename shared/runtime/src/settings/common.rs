//! The sections that all services share.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::units::auto_size;
use super::{Layers, LogSettings, Problems, address, duration, size};
use crate::lifecycle::LONGEST_UNMARKED_WAIT;

/// The settings of `shared/runtime/settings.toml`, checked. That file describes each of them.
#[derive(Debug, Clone)]
pub struct CommonSettings {
    /// Names of the topics.
    pub topics: TopicSettings,
    /// The endpoint for health and metrics.
    pub admin: AdminSettings,
    /// The memory that the process may use.
    pub memory: MemorySettings,
    /// Limits on time and on items in flight.
    pub delivery: DeliverySettings,
    /// Sampling of traces.
    pub telemetry: TelemetrySettings,
    /// Level and format of log lines.
    pub log: LogSettings,
}

/// `[topics]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is the edge of that name; the settings file describes them")]
pub struct TopicSettings {
    pub requests_in: String,
    pub results_out: String,
    pub requests: String,
    pub features: String,
    pub predict: String,
    pub predictions: String,
    pub results: String,
    pub replies: String,
    pub dead_letters: String,
    pub models: String,
}

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// Address of the endpoint for health and metrics; port 0 takes a free port.
    #[serde(with = "address")]
    pub listen: SocketAddr,
    /// How long a loop may be silent before liveness fails.
    #[serde(with = "duration")]
    pub stall_after: Duration,
}

/// `[memory]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySettings {
    /// The bytes that the process may use; `None` means what its control group or its machine allows.
    #[serde(deserialize_with = "auto_size")]
    pub limit: Option<u64>,
}

/// `[delivery]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverySettings {
    /// Most items in flight in one stage.
    pub in_flight: usize,
    /// Most bytes of those that come from Kafka.
    #[serde(with = "size")]
    pub in_flight_memory: usize,
    /// Default timeout of a request.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Longest timeout that a request may specify.
    #[serde(with = "duration")]
    pub max_timeout: Duration,
    /// Time limit of the drain at shutdown.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// How long ids of answered requests are kept to recognise duplicates.
    #[serde(with = "duration")]
    pub dedupe_window: Duration,
}

/// `[telemetry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Share of new traces that are sampled, 0 to 1.
    pub sample_ratio: f64,
    /// Requests slower than this are recorded even if they were not sampled.
    #[serde(with = "duration")]
    pub slow: Duration,
}

impl CommonSettings {
    /// Reads and checks the shared sections, and adds what is wrong to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let topics = layers.section::<TopicSettings>("topics", problems);
        let admin = layers.section::<AdminSettings>("admin", problems);
        let memory = layers.section::<MemorySettings>("memory", problems);
        let delivery = layers.section::<DeliverySettings>("delivery", problems);
        let telemetry = layers.section::<TelemetrySettings>("telemetry", problems);
        let log = layers.section::<LogSettings>("log", problems);
        topics.iter().for_each(|topics| topics.check(problems));
        admin.iter().for_each(|admin| admin.check(problems));
        delivery.iter().for_each(|delivery| delivery.check(problems));
        if let Some(telemetry) = telemetry.as_ref().filter(|it| !(0.0..=1.0).contains(&it.sample_ratio)) {
            problems.add("telemetry.sample_ratio", format!("is {}, expected 0 to 1", telemetry.sample_ratio));
        }
        log.iter().for_each(|log| log.check(problems));
        let (topics, admin, memory, delivery) = (topics?, admin?, memory?, delivery?);
        Some(Self { topics, admin, memory, delivery, telemetry: telemetry?, log: log? })
    }
}

impl TopicSettings {
    /// Every topic with the key of its setting, in the order of the path.
    pub fn all(&self) -> [(&'static str, &str); 10] {
        [
            ("topics.requests_in", &self.requests_in),
            ("topics.requests", &self.requests),
            ("topics.features", &self.features),
            ("topics.predict", &self.predict),
            ("topics.predictions", &self.predictions),
            ("topics.results", &self.results),
            ("topics.replies", &self.replies),
            ("topics.results_out", &self.results_out),
            ("topics.dead_letters", &self.dead_letters),
            ("topics.models", &self.models),
        ]
    }

    fn check(&self, problems: &mut Problems) {
        let all = self.all();
        for (index, (key, name)) in all.iter().enumerate() {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || name.len() > 249 || !name.chars().all(legal) {
                problems.add(*key, format!("is {name:?}, expected 1 to 249 letters, digits, '.', '_' or '-'"));
            }
            if let Some((other, _)) = all.iter().take(index).find(|(_, earlier)| earlier == name) {
                problems.add(*key, format!("is {name:?}, which {other} has already; each edge needs a separate topic"));
            }
        }
    }
}

impl AdminSettings {
    /// Longer waits are marked where they are done and have their own bounds, so this bound depends on no other setting.
    fn check(&self, problems: &mut Problems) {
        let (shortest, longest) = (LONGEST_UNMARKED_WAIT * 2, Duration::from_secs(600));
        if self.stall_after < shortest || self.stall_after > longest {
            let text = format!("is {:?}, expected 10s to 10m: one call to a broker may take 5s", self.stall_after);
            problems.add("admin.stall_after", text);
        }
    }
}

impl DeliverySettings {
    /// Least value of `in_flight`: two full batches, one that is read while the other is worked on.
    pub const MIN_IN_FLIGHT: usize = 512;
    /// Least value of `in_flight_memory`: what the largest record may take.
    pub const MIN_IN_FLIGHT_MEMORY: usize = 16 << 20;

    /// Longest value of `max_timeout`: a process in which a record has been in work for ten minutes ends.
    pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(9 * 60);

    /// How old the oldest unfinished record of a partition may be; then the partition is held back.
    pub fn held_back_after(&self) -> Duration {
        self.dedupe_window / 2
    }

    /// How long a record may wait for one thing, such as a server that is away, without its partition being held back, which
    /// would hold up all others.
    pub fn longest_wait(&self) -> Duration {
        self.held_back_after().mul_f64(0.75)
    }

    fn check(&self, problems: &mut Problems) {
        if self.in_flight < Self::MIN_IN_FLIGHT {
            let text = format!(
                "is {}, expected at least {}: a source reserves a full batch of 256 before it reads, and would never read",
                self.in_flight,
                Self::MIN_IN_FLIGHT
            );
            problems.add("delivery.in_flight", text);
        }
        if self.in_flight_memory < Self::MIN_IN_FLIGHT_MEMORY {
            let text =
                format!("is {} bytes, expected at least 16MiB: one record may take as much", self.in_flight_memory);
            problems.add("delivery.in_flight_memory", text);
        }
        for (key, value) in [
            ("delivery.timeout", self.timeout),
            ("delivery.drain", self.drain),
            ("delivery.dedupe_window", self.dedupe_window),
        ] {
            if value.is_zero() {
                problems.add(key, "is 0, expected a time");
            }
        }
        if self.timeout > self.max_timeout {
            problems.add("delivery.timeout", "is longer than delivery.max_timeout");
        }
        if self.max_timeout > Self::LONGEST_TIMEOUT {
            let text = format!("is {:?}, expected at most {:?}", self.max_timeout, Self::LONGEST_TIMEOUT);
            problems.add("delivery.max_timeout", text);
        }
    }
}
