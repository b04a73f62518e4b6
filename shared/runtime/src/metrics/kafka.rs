//! How the brokers treat this process, as the Kafka client reports it every few seconds.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Seconds = Gauge<f64, AtomicU64>;

/// Handles; clones share the numbers.
#[derive(Debug, Clone)]
pub struct KafkaMetrics {
    round_trip: Family<[(&'static str, &'static str); 1], Seconds>,
    throttle: Family<[(&'static str, &'static str); 2], Seconds>,
}

impl KafkaMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let kafka = Self { round_trip: Family::default(), throttle: Family::default() };
        let help = "Mean time a broker took to acknowledge a produce request lately";
        registry.register("forebay_kafka_round_trip_seconds", help, kafka.round_trip.clone());
        let help = "Longest time a broker held an answer back for a quota lately";
        registry.register("forebay_kafka_throttle_seconds", help, kafka.throttle.clone());
        kafka
    }

    /// The mean round trip of the producer of `stage`, seconds.
    pub fn round_trip(&self, stage: &'static str) -> Seconds {
        self.round_trip.get_or_create_owned(&[("stage", stage)])
    }

    /// The longest throttling of a client of `stage`, seconds; `client` is `consumer` or `producer`.
    pub fn throttle(&self, stage: &'static str, client: &'static str) -> Seconds {
        self.throttle.get_or_create_owned(&[("stage", stage), ("client", client)])
    }
}
