//! Finds clients that have lost their brokers for good.
//!
//! librdkafka drops every broker that a metadata answer does not list, and a broker that wakes up after a hang may list
//! none, itself included. The client then knows no broker that it could ask and stays without a connection for ever, while every
//! new client connects at once (confluentinc/librdkafka#5301). Such a client is replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_runtime::Heartbeat;
use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::client::Client as NativeClient;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::client::{Client, Quiet, spawn};
use super::statistics::ClientStatistics;

/// Longest wait for the metadata that shows whether a client reaches a broker.
const METADATA: Duration = Duration::from_secs(2);
/// Interval between checks of a client that has no contact.
const AGAIN: Duration = Duration::from_secs(3);
/// A broker that owes an answer and has been silent for longer counts as out of contact.
const SILENT: Duration = Duration::from_secs(5);

/// When a client last had contact with a broker. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct BrokerContact(Arc<Mutex<Instant>>);

impl Default for BrokerContact {
    /// A new client counts as in contact: it is given its time.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl BrokerContact {
    /// Records the contact that the client's statistics show.
    pub(crate) fn record(&self, statistics: &ClientStatistics) {
        if in_contact(statistics) {
            self.made();
        }
    }

    /// A broker has just answered.
    fn made(&self) {
        *self.0.lock() = Instant::now();
    }

    fn lost_for(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// Whether a broker is connected and answers, or is owed nothing.
fn in_contact(statistics: &ClientStatistics) -> bool {
    statistics.brokers.values().any(|broker| {
        let owes = broker.waitresp_cnt > 0 || broker.outbuf_cnt > 0;
        let silent = Duration::from_micros(broker.rxidle.unsigned_abs());
        broker.state == "UP" && (!owes || (broker.rxidle >= 0 && silent < SILENT))
    })
}

/// Checks one client, on the thread that uses it.
#[derive(Debug)]
pub(crate) struct DeadClientCheck {
    client: Client,
    topic: Arc<str>,
    checked: Instant,
    #[cfg(test)]
    dies: Arc<std::sync::atomic::AtomicBool>,
}

impl DeadClientCheck {
    /// Checks clients of `topic`, whose metadata is asked for.
    pub(crate) fn new(client: &Client, topic: &str) -> Self {
        Self {
            client: client.clone(),
            topic: topic.into(),
            checked: Instant::now(),
            #[cfg(test)]
            dies: Arc::default(),
        }
    }

    /// Finds the client dead once, when `dies` is set.
    #[cfg(test)]
    pub(crate) fn dead_when(dies: &Arc<std::sync::atomic::AtomicBool>) -> Self {
        Self { dies: Arc::clone(dies), ..Self::new(&tests::client("127.0.0.1:1"), "") }
    }

    /// Whether `own` has been without contact for two sessions and still reaches no broker while a fresh client does.
    /// Asks `own` again after that, as the broker may have come back in between. Blocks for a few seconds when there is
    /// no contact, else not at all.
    pub(crate) fn is_dead<C: ClientContext>(
        &mut self,
        own: &NativeClient<C>,
        contact: &BrokerContact,
        heartbeat: &Heartbeat,
    ) -> bool {
        #[cfg(test)]
        if self.dies.swap(false, std::sync::atomic::Ordering::AcqRel) {
            return true;
        }
        let out = contact.lost_for();
        if out < self.client.settings().session_timeout * 2 || self.checked.elapsed() < AGAIN {
            return false;
        }
        let _waiting = heartbeat.waiting(METADATA * 4);
        let own_connects = || own.fetch_metadata(Some(&self.topic), METADATA).is_ok();
        let dead = if own_connects() {
            contact.made();
            false
        } else {
            self.fresh_client_connects() && !own_connects()
        };
        if dead {
            tracing::warn!(topic = &*self.topic, ?out, "client has lost its brokers for good, it is replaced");
        }
        self.checked = Instant::now();
        dead
    }

    fn fresh_client_connects(&self) -> bool {
        let connects = || -> Result<(), KafkaError> {
            let fresh: AdminClient<Quiet> = self.client.admin().create_with_context(Quiet::default())?;
            fresh.inner().fetch_metadata(Some(&self.topic), METADATA).map(drop)
        };
        connects().inspect_err(|error| tracing::debug!(%error, "a fresh client reaches no broker either")).is_ok()
    }
}

/// Drops a client that was replaced on a thread of its own: leaving a group that cannot be reached may take long.
pub(crate) fn discard<T: Send + 'static>(client: T) {
    if let Err(error) = spawn("kafka-discard", move || drop(client)) {
        tracing::warn!(%error, "no thread for a client that was replaced");
    }
}

/// A client that continues where `dead` was; `starts` has the offset of those partitions of which nothing was read yet.
pub(crate) fn successor<C: ConsumerContext + Default>(
    config: &ClientConfig,
    dead: &BaseConsumer<C>,
    starts: TopicPartitionList,
) -> KafkaResult<BaseConsumer<C>> {
    let mut list = starts;
    for element in dead.position().iter().flat_map(TopicPartitionList::elements) {
        if let offset @ Offset::Offset(_) = element.offset() {
            let _ = list.set_partition_offset(element.topic(), element.partition(), offset);
        }
    }
    let consumer: BaseConsumer<C> = config.create_with_context(C::default())?;
    consumer.assign(&list)?;
    Ok(consumer)
}

#[cfg(test)]
mod tests {
    use forebay_testkit::settings;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;
    use crate::BusSettings;
    use crate::kafka::statistics::BrokerStatistics;

    pub(super) fn client(servers: &str) -> Client {
        let brokers = format!("kafka.brokers={servers}");
        let flags = [brokers.as_str(), "kafka.session_timeout=1s", "kafka.commit_interval=100ms"];
        Client::new(&settings(&[]).flags(&flags).read(BusSettings::read).unwrap().kafka, "test")
    }

    fn judged(own: &str, fresh: &str) -> bool {
        let own: BaseConsumer<Quiet> =
            client(own).reader_of_partitions().create_with_context(Quiet::default()).unwrap();
        let mut check = DeadClientCheck::new(&client(fresh), "topic");
        let contact = BrokerContact::default();
        assert!(!check.is_dead(own.client(), &contact, &Heartbeat::unwatched()), "it has just been made");
        std::thread::sleep(AGAIN + Duration::from_millis(10));
        check.is_dead(own.client(), &contact, &Heartbeat::unwatched())
    }

    #[test]
    fn a_client_is_dead_when_only_a_fresh_one_connects() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("topic", 1, 1).unwrap();
        let (there, closed) = (cluster.bootstrap_servers(), "127.0.0.1:1");
        assert!(judged(closed, &there));
        assert!(!judged(&there, &there), "it connects itself");
        assert!(!judged(closed, closed), "the broker is away for everybody");
    }

    #[test]
    fn contact_is_a_connection_that_answers() {
        let statistics = |state: &str, waiting: i64, rxidle: i64| {
            let broker =
                BrokerStatistics { state: state.into(), waitresp_cnt: waiting, rxidle, ..BrokerStatistics::default() };
            ClientStatistics {
                brokers: [("b".to_owned(), broker)].into_iter().collect(),
                ..ClientStatistics::default()
            }
        };
        assert!(in_contact(&statistics("UP", 0, -1)), "an idle producer");
        assert!(in_contact(&statistics("UP", 1, 400_000)), "a consumer that waits for records");
        assert!(!in_contact(&statistics("UP", 1, 8_000_000)), "a broker that hangs");
        assert!(!in_contact(&statistics("DOWN", 0, 0)));
        assert!(!in_contact(&ClientStatistics::default()), "a client without brokers");
    }
}
