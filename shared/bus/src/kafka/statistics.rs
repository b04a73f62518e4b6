//! The statistics of a client, as far as they are used. librdkafka reports some tens of kilobytes every few seconds, for each
//! client and on its own thread; the wrapper's type would build every number of them.

use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Deserialize;

/// What a client says of its brokers and of the partitions that it reads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClientStatistics {
    /// By name.
    pub(crate) brokers: FxHashMap<String, BrokerStatistics>,
    /// By name.
    pub(crate) topics: FxHashMap<String, TopicStatistics>,
}

/// A broker.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BrokerStatistics {
    /// `UP` when it is connected.
    pub(crate) state: String,
    /// Requests that wait to be sent.
    pub(crate) outbuf_cnt: i64,
    /// Requests that wait for an answer.
    pub(crate) waitresp_cnt: i64,
    /// Microseconds since the last answer, -1 before the first.
    pub(crate) rxidle: i64,
    /// Round trips in microseconds.
    pub(crate) rtt: Window,
    /// Throttling in milliseconds.
    pub(crate) throttle: Window,
}

/// A topic.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TopicStatistics {
    /// By number; -1 stands for records without a partition yet.
    pub(crate) partitions: FxHashMap<i32, PartitionStatistics>,
}

/// A partition that is read.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct PartitionStatistics {
    /// Records after the committed offset, -1 while unknown.
    pub(crate) consumer_lag: i64,
    /// Records after the stored offset, -1 while unknown.
    pub(crate) consumer_lag_stored: i64,
}

impl Default for PartitionStatistics {
    fn default() -> Self {
        Self { consumer_lag: -1, consumer_lag_stored: -1 }
    }
}

/// Values of the last interval.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Window {
    /// The largest.
    max: i64,
    /// Their sum.
    sum: i64,
    /// How many there were.
    cnt: i64,
}

impl ClientStatistics {
    /// Reads a client's report; `None`, with a line in the log, if it is not what librdkafka writes.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        let read = serde_json::from_slice(json);
        read.inspect_err(|error| tracing::debug!(%error, "a kafka client's statistics cannot be read")).ok()
    }

    /// The longest throttling by any broker.
    pub(crate) fn throttled(&self) -> Duration {
        let windows = self.brokers.values().map(|broker| &broker.throttle);
        let longest = windows.filter(|window| window.cnt > 0).map(|window| window.max).max().unwrap_or(0);
        Duration::from_millis(longest.unsigned_abs())
    }

    /// The mean round trip to the brokers, over all requests; `None` when there was none.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let windows = self.brokers.values().map(|broker| &broker.rtt);
        let (sum, count) = windows.fold((0, 0), |(sum, count), window| (sum + window.sum, count + window.cnt));
        (count > 0).then(|| Duration::from_micros((sum / count).unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use parking_lot::Mutex;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ProducerContext};
    use rdkafka::statistics::Statistics;
    use rdkafka::{ClientConfig, ClientContext};

    use super::*;

    /// Keeps every report.
    #[derive(Clone, Default)]
    struct Keep(Arc<Mutex<Vec<Vec<u8>>>>);

    impl ClientContext for Keep {
        fn stats_raw(&self, statistics: &[u8]) {
            self.0.lock().push(statistics.to_vec());
        }
    }

    impl ProducerContext for Keep {
        type DeliveryOpaque = ();

        fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
    }

    #[test]
    fn what_is_read_of_a_report_is_what_the_wrapper_reads_of_it() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("topic", 2, 1).unwrap();
        let kept = Keep::default();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("statistics.interval.ms", "50");
        let producer: BaseProducer<Keep> = config.create_with_context(kept.clone()).unwrap();
        producer.send(BaseRecord::<(), [u8]>::to("topic").payload(b"x")).unwrap();
        producer.flush(Duration::from_secs(5)).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        let with_round_trip = |report: &Vec<u8>| {
            let read = ClientStatistics::read(report).filter(|read| read.round_trip().is_some())?;
            Some((read, serde_json::from_slice::<Statistics>(report).unwrap()))
        };
        let (read, whole) = loop {
            producer.poll(Duration::from_millis(20));
            if let Some(compared) = kept.0.lock().iter().find_map(with_round_trip) {
                break compared;
            }
            assert!(Instant::now() < end, "no report of a round trip");
        };
        assert_eq!((read.brokers.len(), read.topics.len()), (whole.brokers.len(), whole.topics.len()));
        for (name, broker) in &whole.brokers {
            let ours = &read.brokers[name];
            assert_eq!(ours.state, broker.state);
            let numbers = (broker.outbuf_cnt, broker.waitresp_cnt, broker.rxidle);
            assert_eq!((ours.outbuf_cnt, ours.waitresp_cnt, ours.rxidle), numbers);
            let window = broker.rtt.as_ref().unwrap();
            assert_eq!((ours.rtt.max, ours.rtt.sum, ours.rtt.cnt), (window.max, window.sum, window.cnt));
        }
        for (name, topic) in &whole.topics {
            for (number, partition) in &topic.partitions {
                let ours = &read.topics[name].partitions[number];
                let lags = (partition.consumer_lag, partition.consumer_lag_stored);
                assert_eq!((ours.consumer_lag, ours.consumer_lag_stored), lags);
            }
        }
    }

    #[test]
    fn throttling_counts_where_there_was_some_and_nonsense_is_no_report() {
        let read = |json: &str| ClientStatistics::read(json.as_bytes());
        let two = r#"{"brokers":{"a":{"throttle":{"max":40,"cnt":1}},"b":{"throttle":{"max":90,"cnt":0}}}}"#;
        assert_eq!(read(two).unwrap().throttled(), Duration::from_millis(40));
        assert_eq!(read("{}").unwrap().round_trip(), None);
        assert!(read("{\"brokers\":1}").is_none() && read("").is_none());
    }
}
