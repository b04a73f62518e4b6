//! Client configuration: what every consumer, producer and admin client of the mesh has in common.

use std::time::Duration;

use forebay_runtime::KafkaSettings;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::statistics::Statistics;
use rdkafka::{ClientConfig, ClientContext};

/// Makes client configurations from the settings. The operator's `kafka.options` come last and win.
#[derive(Clone, Debug)]
pub struct Client {
    settings: KafkaSettings,
    id: String,
}

impl Client {
    /// `id` is the client id brokers log: the service's name.
    pub fn new(settings: &KafkaSettings, id: &str) -> Self {
        Self { settings: settings.clone(), id: id.to_owned() }
    }

    /// The settings behind the configurations.
    pub fn settings(&self) -> &KafkaSettings {
        &self.settings
    }

    /// Admin requests and metadata.
    pub fn admin(&self) -> ClientConfig {
        self.finish(self.base())
    }

    /// A member of a consumer group. Offsets are stored by the source and committed by librdkafka, on the interval and
    /// whenever a partition leaves.
    pub fn consumer(&self, group: &str, reset: &str) -> ClientConfig {
        let session = self.settings.session_timeout.as_millis();
        let mut config = self.reader();
        config
            .set("group.id", group)
            .set("auto.offset.reset", reset)
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", self.settings.commit_interval.as_millis().to_string())
            .set("enable.auto.offset.store", "false")
            // incremental: members that keep their partitions go on working through a rebalance
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            // a member learns of a rebalance with its next heartbeat, and partitions on the move stand still until then
            .set("heartbeat.interval.ms", (session / 5).clamp(200, 500).to_string())
            .set("statistics.interval.ms", "5000");
        self.finish(config)
    }

    /// A reader of partitions it chooses itself; it commits nothing.
    pub fn reader_of_partitions(&self) -> ClientConfig {
        let mut config = self.reader();
        config.set("group.id", format!("{}-follower", self.id)).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "latest");
        self.finish(config)
    }

    /// The producer of a stage.
    pub fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // batches are made at the door; waiting again on every hop only adds latency
            .set("linger.ms", "0")
            .set("compression.type", "none")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "131072")
            .set("message.timeout.ms", "30000")
            .set("request.timeout.ms", "10000")
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "500")
            .set("statistics.interval.ms", "5000");
        self.finish(config)
    }

    fn reader(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("enable.partition.eof", "false")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "500")
            // the default of a second stalls a partition whenever the local queue was full
            .set("fetch.queue.backoff.ms", "2")
            .set("fetch.error.backoff.ms", "50")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "16384");
        config
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.settings.brokers)
            .set("client.id", format!("forebay-{}", self.id))
            .set("broker.address.family", "v4")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("allow.auto.create.topics", "false")
            .set("log.connection.close", "false");
        config
    }

    fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.settings.options {
            config.set(key, value.expose());
        }
        config
    }
}

/// librdkafka repeats itself many times a second while a broker is away; what matters reaches the log once, as the
/// component that becomes unready.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, text, "kafka client");
        }
        _ => tracing::debug!(facility, text, "kafka client"),
    }
}

/// The longest throttling by any broker in the last interval of `statistics`.
pub(crate) fn throttled(statistics: &Statistics) -> Duration {
    let windows = statistics.brokers.values().filter_map(|broker| broker.throttle.as_ref());
    let longest = windows.filter(|window| window.cnt > 0).map(|window| window.max).max().unwrap_or(0);
    Duration::from_millis(longest.unsigned_abs())
}

/// The mean round trip to the brokers in the last interval, over all requests; `None` when there was none.
pub(crate) fn round_trip(statistics: &Statistics) -> Option<Duration> {
    let windows = statistics.brokers.values().filter_map(|broker| broker.rtt.as_ref());
    let (sum, count) = windows.fold((0, 0), |(sum, count), window| (sum + window.sum, count + window.cnt));
    (count > 0).then(|| Duration::from_micros((sum / count).unsigned_abs()))
}

/// For clients without callbacks of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client reports an error");
    }
}

impl ConsumerContext for Quiet {}
