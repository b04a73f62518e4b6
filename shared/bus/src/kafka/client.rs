//! Client configuration: what every consumer, producer and admin client of the mesh has in common.

use std::net::Ipv4Addr;
use std::time::Duration;

use forebay_runtime::StartError;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::{ClientConfig, ClientContext};

use super::auth_failure::AuthFailure;
use super::broker_contact::BrokerContact;
use super::client_queues::ClientQueues;
use super::statistics::ClientStatistics;
use crate::KafkaSettings;

/// The largest response that a reader takes, in bytes. A record cannot be larger.
pub(super) const LARGEST_RESPONSE: usize = 16 << 20;

const MESSAGE_TIMEOUT: &str = "message.timeout.ms";
const IN_FLIGHT: &str = "max.in.flight.requests.per.connection";
/// The property that bounds the bytes that a reader has fetched and not yet handed out.
const QUEUED_KBYTES: &str = ClientQueues::CONSUMER;
/// The most of it for a reader of topics of clients.
const QUEUED_KBYTES_OF_CLIENTS: u32 = 4096;
/// A consumer of lanes has about so many partitions: those of three topics.
const PARTITIONS_OF_LANES: u32 = 8;

/// The property that makes a member of a group a static one.
pub(super) const INSTANCE: &str = "group.instance.id";

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

    /// A member of a consumer group that reads `topic`. Offsets are stored by the source and committed by librdkafka, on
    /// the interval and whenever a partition leaves.
    pub fn consumer(&self, group: &str, topic: &str) -> ClientConfig {
        let session = self.settings.session_timeout.as_millis();
        let mut config = self.reader();
        config
            .set("group.id", group)
            // every position is explicit: one that is gone must be seen, not replaced
            .set("auto.offset.reset", "error")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", self.settings.commit_interval.as_millis().to_string())
            .set("enable.auto.offset.store", "false")
            // incremental: members keep working on the partitions that they keep during a rebalance
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            // a member learns of a rebalance with its next heartbeat, and partitions on the move stand still until then
            .set("heartbeat.interval.ms", (session / 5).clamp(200, 500).to_string());
        if let Some(instance) = self.settings.instance() {
            // a process has one member of a group for each topic
            config.set(INSTANCE, format!("{instance}-{topic}"));
        }
        self.finish(config)
    }

    /// As [`Client::consumer`], for a topic that clients write. Compressed records grow when they are read, and the client
    /// bounds only what it fetches, so it fetches little at a time. Damaged batches are recognised.
    pub fn consumer_of_clients(&self, group: &str, topic: &str) -> ClientConfig {
        let mut config = self.consumer(group, topic);
        config
            // partitions that are added are read soon
            .set("topic.metadata.refresh.interval.ms", "5000")
            .set("check.crcs", "true")
            .set("fetch.message.max.bytes", "262144")
            .set("fetch.max.bytes", "1048576")
            .set("queued.min.messages", "4000")
            .set(QUEUED_KBYTES, self.settings.queues.consumer_kbytes.min(QUEUED_KBYTES_OF_CLIENTS).to_string());
        self.finish(config)
    }

    /// The queues of a consumer of lanes: the client bounds the bytes of each queue, and here each partition has its own.
    pub(super) fn divide_queue(&self, config: &mut ClientConfig) {
        let whole = config.get(QUEUED_KBYTES).and_then(|kbytes| kbytes.parse::<u32>().ok());
        if let Some(whole) = whole
            && !self.settings.options.contains_key(QUEUED_KBYTES)
        {
            config.set(QUEUED_KBYTES, (whole / PARTITIONS_OF_LANES).to_string());
        }
    }

    /// A reader of partitions it chooses itself; it commits nothing.
    pub fn reader_of_partitions(&self) -> ClientConfig {
        let mut config = self.reader();
        config.set("group.id", reader_group(&self.id)).set("enable.auto.commit", "false");
        // a topic that was created again is read from its beginning
        config.set("auto.offset.reset", "earliest");
        self.finish(config)
    }

    /// The producer of a stage.
    pub fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // batches are made by ingestion; waiting again on every hop would only add latency
            .set("linger.ms", "0")
            .set("compression.type", "none")
            .set("queue.buffering.max.messages", "100000")
            .set(ClientQueues::PRODUCER, self.settings.queues.producer_kbytes.to_string())
            .set(MESSAGE_TIMEOUT, "30000")
            .set("request.timeout.ms", "10000")
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "500")
            .set("statistics.interval.ms", "5000");
        self.finish(config)
    }

    /// The producer of a stage that writes topics of clients. A record waits for as long as its broker is away: one that has
    /// timed out may have been written, and would stand twice if sent again under another sequence number. A broker has one
    /// request at a time: of several, it may refuse the first and take the second, and the client reports both as delivered
    /// (confluent-kafka-go#921) or sends both again as another producer (librdkafka#4953).
    pub(crate) fn producer_for_clients(&self) -> ClientConfig {
        let mut config = self.producer();
        // the second name of each is an alias
        for (names, value) in [([MESSAGE_TIMEOUT, "delivery.timeout.ms"], "0"), ([IN_FLIGHT, "max.in.flight"], "1")] {
            if !names.iter().any(|name| self.settings.options.contains_key(*name)) {
                config.set(names[0], value);
            }
        }
        config
    }

    /// A producer of transactions under the transactional id `id`.
    pub(super) fn transactional_producer(&self, id: &str) -> ClientConfig {
        let timeout = self.transaction_timeout().as_millis().to_string();
        let mut config = self.producer();
        config.set("transactional.id", id).set("transaction.timeout.ms", &timeout);
        // the client wants each record settled before its transaction is
        config.set(MESSAGE_TIMEOUT, &timeout);
        config
    }

    /// After this time the brokers abort a transaction. Half a session, so that those of a dead member are out of the way when
    /// its partitions go to another one; `transaction.timeout.ms` in `kafka.options` overrides it.
    pub(super) fn transaction_timeout(&self) -> Duration {
        let option = self.settings.options.get("transaction.timeout.ms").and_then(|text| text.expose().parse().ok());
        option.map_or(self.settings.session_timeout / 2, Duration::from_millis)
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
            .set(QUEUED_KBYTES, self.settings.queues.consumer_kbytes.to_string())
            .set("fetch.max.bytes", "4194304")
            // the most that a response may have, and what a batch of zstd may grow to
            .set("receive.message.max.bytes", LARGEST_RESPONSE.to_string())
            .set("statistics.interval.ms", "5000");
        config
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.settings.brokers)
            .set("client.id", format!("forebay-{}", self.id))
            .set("broker.address.family", address_family(&self.settings.brokers))
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("allow.auto.create.topics", "false")
            // recorded, not logged: the only sign of a listener that expects TLS
            .set("log.connection.close", "true");
        config
    }

    /// Encryption and login, as far as they are set; librdkafka reads the files when a client is made.
    fn secure(&self, config: &mut ClientConfig) {
        let KafkaSettings { security_protocol, sasl_mechanism, username, password, .. } = &self.settings;
        let KafkaSettings { ca_file, client_cert_file, client_key_file, client_key_password, .. } = &self.settings;
        config.set("security.protocol", security_protocol.as_str());
        let files = [ca_file, client_cert_file, client_key_file].map(|path| path.to_string_lossy());
        let [ca, cert, key] = files.each_ref().map(AsRef::as_ref);
        for (property, value) in [
            ("sasl.mechanisms", sasl_mechanism.trim().to_ascii_uppercase().as_str()),
            ("sasl.username", username.as_str()),
            ("sasl.password", password.expose()),
            ("ssl.ca.location", ca),
            ("ssl.certificate.location", cert),
            ("ssl.key.location", key),
            ("ssl.key.password", client_key_password.expose()),
        ] {
            if !value.is_empty() {
                config.set(property, value);
            }
        }
        // the bundled OpenSSL looks for the machine's authorities in /usr/local/ssl, where there are none
        if ca.is_empty() && !self.settings.options.contains_key("ssl.ca.pem") {
            config.set("ssl.ca.location", "probe");
        }
    }

    fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        self.secure(&mut config);
        for (key, value) in &self.settings.options {
            if key == "sasl.mechanism" {
                config.remove("sasl.mechanisms"); // the same property by its other name
            }
            config.set(key, value.expose());
        }
        config
    }
}

/// The kinds of addresses that brokers may have. A broker on this machine mostly listens on IPv4 alone, and a client that
/// tries `::1` first is refused once at every connection.
fn address_family(brokers: &str) -> &'static str {
    let mut hosts = brokers.split(',').map(|broker| broker.trim().rsplit_once(':').map_or(broker, |(host, _)| host));
    let is_v4 = |host: &str| host == "localhost" || host.parse::<Ipv4Addr>().is_ok();
    if hosts.all(is_v4) { "v4" } else { "any" }
}

/// The consumer group of a stage on the topics between stages.
pub fn consumer_group(stage: &str) -> String {
    format!("forebay-{stage}")
}

/// The group id of a stage's readers without a group: librdkafka requires one, and looks its coordinator up.
pub fn reader_group(stage: &str) -> String {
    format!("{stage}-reader")
}

/// Runs `run` on a new thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(StartError::failed)?;
    Ok(())
}

/// A client that could not be created: one of the settings cannot be used.
pub(crate) fn refused(error: &rdkafka::error::KafkaError) -> StartError {
    StartError::setting("kafka", error.to_string())
}

/// librdkafka logs many times a second while a broker cannot be reached; what matters is logged once, when the
/// component becomes unready.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, text, "kafka client");
        }
        _ => tracing::debug!(facility, text, "kafka client"),
    }
}

/// The context of clients without further callbacks: remembers why a broker rejects them, and when one last answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quiet {
    pub(crate) auth_failure: AuthFailure,
    pub(crate) contact: BrokerContact,
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.auth_failure.record_log(facility, text);
        log(level, facility, text);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        ClientStatistics::read(statistics).iter().for_each(|statistics| self.contact.record(statistics));
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        self.auth_failure.record_error(&error, reason);
        tracing::debug!(%error, reason, "kafka client reports an error");
    }
}

impl ConsumerContext for Quiet {}

#[cfg(test)]
mod tests {
    use forebay_testkit::settings;

    use super::*;
    use crate::BusSettings;

    fn client(environment: &[(&str, &str)], flags: &[&str]) -> Client {
        Client::new(
            &settings(&[]).environment(environment).flags(flags).read(BusSettings::read).unwrap().kafka,
            "caching",
        )
    }

    fn all(client: &Client) -> [ClientConfig; 4] {
        [client.producer(), client.consumer("g", "requests"), client.reader_of_partitions(), client.admin()]
    }

    #[test]
    fn without_settings_nothing_is_encrypted_and_nobody_logs_in() {
        for config in all(&client(&[], &[])) {
            assert_eq!(config.get("security.protocol"), Some("plaintext"));
            assert_eq!((config.get("sasl.mechanisms"), config.get("sasl.password")), (None, None));
            // TLS that is set in the options alone trusts the machine's authorities as well
            assert_eq!(config.get("ssl.ca.location"), Some("probe"));
        }
    }

    #[test]
    fn brokers_may_have_addresses_of_ipv6() {
        for (brokers, family) in [
            ("127.0.0.1:9092, localhost:9092", "v4"),
            ("[::1]:9092", "any"),
            ("127.0.0.1:9092,[fd00::1]:9092", "any"),
            ("kafka-0.kafka:9092", "any"),
        ] {
            assert_eq!(address_family(brokers), family, "{brokers}");
        }
    }

    #[test]
    fn a_result_is_never_sent_again_because_its_broker_was_away() {
        let set = |name: &str, options: &[&str]| {
            let client = client(&[], options);
            [client.producer_for_clients(), client.producer()].map(|config| config.get(name).map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(set(MESSAGE_TIMEOUT, &[]), [some("0"), some("30000")]);
        let own = set(MESSAGE_TIMEOUT, &["kafka.options.message.timeout.ms=7000"]);
        assert_eq!(own, [some("7000"), some("7000")]);
        assert_eq!(set(IN_FLIGHT, &[]), [some("1"), None]);
        assert_eq!(set("max.in.flight", &["kafka.options.max.in.flight=5"]), [some("5"), some("5")]);
        assert_eq!(set(IN_FLIGHT, &["kafka.options.max.in.flight=5"]), [None, None]);
        let _: rdkafka::producer::BaseProducer = client(&[], &[]).producer_for_clients().create().unwrap();
    }

    #[test]
    fn event_hubs_gets_what_it_wants_on_every_client() {
        let connection = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=k";
        let client = client(&[("EVENTHUB_CONNECTION", connection)], &[]);
        for config in all(&client) {
            for (name, value) in [
                ("bootstrap.servers", "ns.servicebus.windows.net:9093"),
                ("security.protocol", "sasl_ssl"),
                ("sasl.mechanisms", "PLAIN"),
                ("sasl.username", "$ConnectionString"),
                ("sasl.password", connection),
                ("connections.max.idle.ms", "180000"),
                ("metadata.max.age.ms", "180000"),
                ("socket.keepalive.enable", "true"),
                ("message.max.bytes", "1000000"),
                ("compression.type", "none"),
                ("ssl.ca.location", "probe"),
            ] {
                assert_eq!(config.get(name), Some(value), "{name}");
            }
        }
        assert_eq!(client.producer().get("request.timeout.ms"), Some("60000"));
        assert_eq!(client.producer().get("message.timeout.ms"), Some("60000"));
        assert_eq!(client.consumer("g", "requests").get("session.timeout.ms"), Some("30000"));
        assert_eq!(client.consumer("g", "requests").get("auto.commit.interval.ms"), Some("1000"));
        // librdkafka takes all of it, TLS and PLAIN included
        let _: rdkafka::producer::BaseProducer = client.producer().create().unwrap();
        let _: rdkafka::consumer::BaseConsumer = client.consumer("g", "requests").create().unwrap();
    }

    #[test]
    fn a_process_with_a_name_is_a_static_member_for_each_topic() {
        assert_eq!(client(&[], &[]).consumer("g", "requests").get(INSTANCE), None);
        let config = client(&[], &["kafka.instance_id=prediction-1"]).consumer("g", "requests");
        assert_eq!(config.get(INSTANCE), Some("prediction-1-requests"));
        let host = forebay_runtime::hostname().unwrap();
        let config = client(&[], &["kafka.instance_id=a-{hostname}"]).consumer("g", "requests");
        assert_eq!(config.get(INSTANCE), Some(format!("a-{host}-requests").as_str()));
        let refused = settings(&[]).flags(&["kafka.instance_id=a b"]).read(BusSettings::read).unwrap_err();
        assert!(refused.to_string().contains("kafka.instance_id"), "{refused}");
    }

    #[test]
    fn the_partitions_of_lanes_share_what_a_consumer_may_hold() {
        let queued = |client: &Client| {
            let mut configs = [client.consumer("g", "requests"), client.consumer_of_clients("g", "in")];
            configs.iter_mut().for_each(|config| client.divide_queue(config));
            configs.map(|config| config.get(QUEUED_KBYTES).map(str::to_owned))
        };
        assert_eq!(queued(&client(&[], &[])), ["2048", "512"].map(|kbytes| Some(kbytes.to_owned())));
        let set = client(&[], &["kafka.options.queued.max.messages.kbytes=900"]);
        assert_eq!(queued(&set), ["900", "900"].map(|kbytes| Some(kbytes.to_owned())));
    }

    #[test]
    fn a_login_by_scram_and_options_that_win() {
        let flags = [
            "kafka.security_protocol=SASL_SSL",
            "kafka.sasl_mechanism=scram-sha-512",
            "kafka.username=u",
            "kafka.password=p",
        ];
        let config = client(&[], &flags).producer();
        assert_eq!(config.get("sasl.mechanisms"), Some("SCRAM-SHA-512"));
        assert_eq!((config.get("sasl.username"), config.get("sasl.password")), (Some("u"), Some("p")));
        let more = [&flags[..], &["kafka.options.sasl.mechanism=PLAIN", "kafka.options.sasl.password=q"]].concat();
        let config = client(&[], &more).producer();
        assert_eq!((config.get("sasl.mechanisms"), config.get("sasl.mechanism")), (None, Some("PLAIN")));
        assert_eq!(config.get("sasl.password"), Some("q"));
        let _: rdkafka::producer::BaseProducer = config.create().unwrap();
    }
}
