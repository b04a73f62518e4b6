//! `[kafka]`: the broker, how this process behaves towards it, and how it proves who it is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use forebay_runtime::{Problems, Secret, check_pem, duration, hostname};
use serde::Deserialize;

use super::EventHubs;
use crate::kafka::ClientQueues;

/// `[kafka]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Bootstrap servers, comma separated.
    pub brokers: String,
    /// Group on the outside request topic.
    pub consumer_group: String,
    /// Create missing inner topics.
    pub create_topics: bool,
    /// Partitions of each inner topic.
    pub partitions: i32,
    /// Replicas of a created topic.
    pub replication: i32,
    /// Whether the edges up to the models have a topic for each lane of priority.
    pub lanes: bool,
    /// Silence after which a member loses its partitions.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
    /// Name of this process in its groups, in which `{hostname}` stands for the machine's; empty means none.
    pub instance_id: String,
    /// Time between commits.
    #[serde(with = "duration")]
    pub commit_interval: Duration,
    /// Whether connections are encrypted, and whether this process logs in.
    pub security_protocol: SecurityProtocol,
    /// How it logs in; empty where it does not.
    pub sasl_mechanism: String,
    /// Name at login.
    pub username: String,
    /// Password at login.
    pub password: Secret,
    /// PEM file of the authorities that brokers' certificates come from; empty means the machine's.
    pub ca_file: PathBuf,
    /// PEM file of this process's certificate with its chain; empty means none.
    pub client_cert_file: PathBuf,
    /// PEM file of the key to it.
    pub client_key_file: PathBuf,
    /// Password of that key, if it is encrypted.
    pub client_key_password: Secret,
    /// librdkafka properties by their own names; values may be secrets.
    #[serde(deserialize_with = "options")]
    pub options: BTreeMap<String, Secret>,
    /// What the clients may hold.
    #[serde(skip)]
    pub queues: ClientQueues,
}

/// What a connection to a broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecurityProtocol {
    /// Open.
    #[default]
    Plaintext,
    /// Encrypted.
    Ssl,
    /// Open, with a login.
    SaslPlaintext,
    /// Encrypted, with a login.
    SaslSsl,
}

impl SecurityProtocol {
    const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    /// As librdkafka calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether connections are encrypted.
    pub fn encrypts(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether this process logs in.
    pub fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SecurityProtocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::of(&text).ok_or_else(|| {
            let expected = "expected plaintext, ssl, sasl_plaintext or sasl_ssl";
            serde::de::Error::custom(format!("{text:?} is no security protocol, {expected}"))
        })
    }
}

const HOSTNAME: &str = "{hostname}";
/// Kafka's own limit is 249 characters, and the name of a topic follows.
const LONGEST_INSTANCE: usize = 128;
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
/// Event Hubs closes a connection whose request is larger, bytes.
const EVENT_HUBS_REQUEST: u64 = 1_046_528;

impl KafkaSettings {
    pub(super) fn check(&self, hubs: &EventHubs, problems: &mut Problems) {
        for (key, value) in [("kafka.brokers", &self.brokers), ("kafka.consumer_group", &self.consumer_group)] {
            if value.trim().is_empty() {
                problems.add(key, "is empty, expected a name");
            }
        }
        for (key, value) in [("kafka.partitions", self.partitions), ("kafka.replication", self.replication)] {
            if value < 1 {
                problems.add(key, format!("is {value}, expected at least 1"));
            }
        }
        if self.session_timeout < Duration::from_secs(1) {
            problems.add("kafka.session_timeout", "is under 1s: any pause would cost the partitions");
        }
        if self.commit_interval.is_zero() || self.commit_interval >= self.session_timeout {
            problems.add("kafka.commit_interval", "is not between 0 and kafka.session_timeout");
        }
        self.check_instance(problems);
        self.check_login(problems);
        self.check_files(problems);
        if hubs.enabled {
            self.check_event_hubs(problems);
        }
    }

    /// The name of this process in its consumer groups; `None` for a new member with every start.
    pub fn instance(&self) -> Option<String> {
        let name = self.instance_id.trim();
        (!name.is_empty()).then(|| name.replace(HOSTNAME, &hostname().unwrap_or_default()))
    }

    fn check_instance(&self, problems: &mut Problems) {
        let Some(name) = self.instance() else { return };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || name.len() > LONGEST_INSTANCE || !name.chars().all(legal) {
            let text = format!("is {name:?}, expected at most {LONGEST_INSTANCE} of a-z A-Z 0-9 . _ - or {HOSTNAME}");
            problems.add("kafka.instance_id", text);
        }
    }

    /// The protocol in force: `kafka.options` win.
    fn protocol(&self) -> SecurityProtocol {
        let option = self.options.get("security.protocol").and_then(|text| SecurityProtocol::of(text.expose()));
        option.unwrap_or(self.security_protocol)
    }

    fn check_login(&self, problems: &mut Problems) {
        let protocol = self.protocol();
        let given = |names: &[&str]| names.iter().any(|name| self.options.contains_key(*name));
        let mechanism = self.sasl_mechanism.trim();
        if !mechanism.is_empty() && !MECHANISMS.iter().any(|known| known.eq_ignore_ascii_case(mechanism)) {
            let text = format!("is {mechanism:?}, expected {}; others are set in kafka.options", MECHANISMS.join(", "));
            problems.add("kafka.sasl_mechanism", text);
        }
        if !protocol.logs_in() {
            for (key, set) in [
                ("kafka.sasl_mechanism", !mechanism.is_empty()),
                ("kafka.username", !self.username.is_empty()),
                ("kafka.password", !self.password.is_empty()),
            ] {
                if set {
                    problems.add(key, format!("is set, but kafka.security_protocol is {protocol}: no client logs in"));
                }
            }
            return;
        }
        let mechanism_given = !mechanism.is_empty() || given(&["sasl.mechanism", "sasl.mechanisms"]);
        if !mechanism_given {
            let text =
                format!("is empty, and kafka.security_protocol is {protocol}: expected {}", MECHANISMS.join(", "));
            problems.add("kafka.sasl_mechanism", text);
        }
        // other mechanisms (GSSAPI, OAUTHBEARER) have no name and password, and are set in the options
        if mechanism.is_empty() {
            return;
        }
        if self.username.is_empty() && !given(&["sasl.username"]) {
            problems.add("kafka.username", format!("is empty, and kafka.sasl_mechanism is {mechanism}"));
        }
        if self.password.is_empty() && !given(&["sasl.password"]) {
            problems.add("kafka.password", format!("is empty, and kafka.sasl_mechanism is {mechanism}"));
        }
    }

    fn check_files(&self, problems: &mut Problems) {
        let protocol = self.protocol();
        let files = [
            ("kafka.ca_file", &self.ca_file),
            ("kafka.client_cert_file", &self.client_cert_file),
            ("kafka.client_key_file", &self.client_key_file),
        ];
        for (key, path) in files {
            if path.as_os_str().is_empty() {
                continue;
            }
            if !protocol.encrypts() {
                problems.add(key, format!("is set, but kafka.security_protocol is {protocol}: nothing is encrypted"));
            } else if let Err(text) = check_pem(path) {
                problems.add(key, text);
            }
        }
        if !self.client_key_password.is_empty() && self.client_key_file.as_os_str().is_empty() {
            problems.add("kafka.client_key_password", "is set, and kafka.client_key_file is empty");
        }
        let both = [
            ("kafka.client_cert_file", &self.client_cert_file, &self.client_key_file, "kafka.client_key_file"),
            ("kafka.client_key_file", &self.client_key_file, &self.client_cert_file, "kafka.client_cert_file"),
        ];
        for (key, here, there, other) in both {
            if here.as_os_str().is_empty() && !there.as_os_str().is_empty() {
                problems.add(key, format!("is empty, and {other} is set: a certificate needs its key"));
            }
        }
    }

    /// Reports at the start what Event Hubs would answer with a closed connection.
    fn check_event_hubs(&self, problems: &mut Problems) {
        if self.lanes {
            let text =
                format!("is true, and a namespace of Event Hubs has no room for lanes beside {} hubs", EventHubs::HUBS);
            problems.add("kafka.lanes", text);
        }
        for name in ["compression.type", "compression.codec"] {
            if let Some(value) = self.options.get(name)
                && !matches!(value.expose().trim(), "none" | "")
            {
                problems.add("kafka.options", format!("set {name}, and Event Hubs takes no compressed records"));
            }
        }
        if let Some(value) = self.options.get("message.max.bytes")
            && value.expose().trim().parse::<u64>().is_ok_and(|bytes| bytes > EVENT_HUBS_REQUEST)
        {
            let text = format!("set message.max.bytes above the {EVENT_HUBS_REQUEST} bytes that Event Hubs takes");
            problems.add("kafka.options", text);
        }
    }
}

/// Values of any scalar type as text. Names from the environment have `_` for `.`; librdkafka's own have no `_`.
fn options<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    use serde::de::Error;
    let given = BTreeMap::<String, toml::Value>::deserialize(deserializer)?;
    let mut options = BTreeMap::new();
    for (name, value) in given {
        flatten_option(name.replace('_', "."), value, &mut options).map_err(D::Error::custom)?;
    }
    Ok(options)
}

/// An unquoted `security.protocol = ".."` is a nested table in TOML; the property is the joined path.
fn flatten_option(name: String, value: toml::Value, into: &mut BTreeMap<String, Secret>) -> Result<(), String> {
    let text = match value {
        toml::Value::String(text) => text,
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        toml::Value::Table(table) => {
            return table
                .into_iter()
                .try_for_each(|(inner, value)| flatten_option(format!("{name}.{inner}"), value, into));
        }
        toml::Value::Array(_) | toml::Value::Datetime(_) => {
            return Err(format!("{name} is not text, a number or a flag"));
        }
    };
    into.insert(name, Secret::new(text));
    Ok(())
}
