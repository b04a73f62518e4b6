//! How the services that this process depends on treat it: the Kafka brokers and the model registry.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type SecondsGauge = Gauge<f64, AtomicU64>;
type ByStage = Family<[(&'static str, &'static str); 1], SecondsGauge>;

/// Times that the Kafka clients report every few seconds. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct KafkaMetrics {
    round_trip: ByStage,
    clock_skew: ByStage,
    throttle: Family<[(&'static str, &'static str); 2], SecondsGauge>,
    replaced: Family<[(&'static str, &'static str); 2], Counter>,
    unread: Family<[(&'static str, String); 2], Counter>,
    unreadable: Family<[(&'static str, String); 2], Counter>,
}

impl KafkaMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (replaced, unread, unreadable) = (Family::default(), Family::default(), Family::default());
        let (round_trip, clock_skew, throttle) = (Family::default(), Family::default(), Family::default());
        let kafka = Self { round_trip, clock_skew, throttle, replaced, unread, unreadable };
        let help = "Clients that were replaced because they had lost their brokers for good";
        registry.register("forebay_kafka_clients_replaced", help, kafka.replaced.clone());
        let help = "Records that were removed from the topic before they were read";
        registry.register("forebay_kafka_records_removed_unread", help, kafka.unread.clone());
        let help = "Batches that cannot be read: damaged, or of an unknown codec";
        registry.register("forebay_kafka_unreadable_batches", help, kafka.unreadable.clone());
        let help = "Mean time a broker took lately to acknowledge a produce request";
        registry.register("forebay_kafka_round_trip_seconds", help, kafka.round_trip.clone());
        let help =
            "How far this machine's clock is provably behind the brokers', negative: ahead; corrected above 0.25";
        registry.register("forebay_clock_skew_seconds", help, kafka.clock_skew.clone());
        let help = "Longest time a broker lately delayed a response because of a quota";
        registry.register("forebay_kafka_throttle_seconds", help, kafka.throttle.clone());
        kafka
    }

    /// The mean round trip of the producer of `stage`, in seconds.
    pub fn round_trip(&self, stage: &'static str) -> SecondsGauge {
        self.round_trip.get_or_create_owned(&[("stage", stage)])
    }

    /// How far the clock is behind the brokers', as the producer of `stage` has measured it, in seconds.
    pub fn clock_skew(&self, stage: &'static str) -> SecondsGauge {
        self.clock_skew.get_or_create_owned(&[("stage", stage)])
    }

    /// Clients of `stage` that were replaced; `client` is `consumer` or `producer`.
    pub fn replaced(&self, stage: &'static str, client: &'static str) -> Counter {
        self.replaced.get_or_create_owned(&[("stage", stage), ("client", client)])
    }

    /// Records of `topic` that `stage` has never read because they were removed before.
    pub fn removed_unread(&self, stage: &'static str, topic: &str) -> Counter {
        self.unread.get_or_create_owned(&[("stage", stage.to_owned()), ("topic", topic.to_owned())])
    }

    /// Batches of `topic` that `stage` cannot read.
    pub fn unreadable(&self, stage: &'static str, topic: &str) -> Counter {
        self.unreadable.get_or_create_owned(&[("stage", stage.to_owned()), ("topic", topic.to_owned())])
    }

    /// The longest throttling of a client of `stage`, in seconds; `client` is `consumer` or `producer`.
    pub fn throttle(&self, stage: &'static str, client: &'static str) -> SecondsGauge {
        self.throttle.get_or_create_owned(&[("stage", stage), ("client", client)])
    }
}

/// When each stage last read the model registry. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct RegistryReads(ByStage);

impl RegistryReads {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let reads = Self::default();
        let help = "When the model registry was last read, Unix time";
        registry.register("forebay_registry_read_timestamp_seconds", help, reads.0.clone());
        reads
    }

    pub(super) fn of(&self, stage: &'static str) -> RegistryRead {
        RegistryRead(self.0.get_or_create_owned(&[("stage", stage)]))
    }
}

/// When one stage last read the model registry. Clones share the number.
#[derive(Debug, Clone, Default)]
pub struct RegistryRead(SecondsGauge);

impl RegistryRead {
    /// Sets the time to now.
    pub fn now(&self) {
        self.0.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }
}
