//! Azure Event Hubs: the variables that name it, its connection string, and the settings that these two stand for.
//!
//! Limits and recommended values: Microsoft, "Recommended configurations for Apache Kafka clients" (Event Hubs).

use std::collections::BTreeMap;

use forebay_runtime::{ImpliedSettings, Problems, Secret, SettingOrigin};

const CONNECTION: &str = "EVENTHUB_CONNECTION";
const CONNECTION_FILE: &str = "EVENTHUB_CONNECTION_FILE";
const NAME: &str = "EVENTHUB_NAME";
const SWITCH: &str = "USE_EVENTHUB";
/// Origin of the defaults, for `config show`.
const DEPLOYMENT: &str = "Event Hubs";
const DEFAULT_NAME: &str = "inference-requests";
/// Where a namespace speaks Kafka, and where the emulator does.
const PORTS: [u16; 2] = [9093, 9092];
const EXPECTED: &str =
    "expected Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=NAME;SharedAccessKey=KEY";

/// What the Event Hubs variables come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventHubs {
    /// Whether the mesh works over Event Hubs: `USE_EVENTHUB`; when that is not set, true exactly if there is a
    /// connection string.
    pub enabled: bool,
    /// `EVENTHUB_CONNECTION`, or the content of the file that `EVENTHUB_CONNECTION_FILE` names.
    pub connection: Secret,
    /// The hub of the requests: `EVENTHUB_NAME`, else the one that the connection string names, else
    /// `inference-requests`.
    pub name: String,
}

impl EventHubs {
    /// As many hubs as a namespace of the Standard tier has room for; the mesh uses all of them.
    pub const HUBS: usize = 10;
}

/// A connection string taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Connection {
    host: String,
    port: Option<u16>,
    /// The hub it is for, when it is not for all of the namespace.
    entity: Option<String>,
    emulator: bool,
    /// The string without the hub: what the broker wants as password.
    password: Secret,
}

/// Reads the variables. Problems are reported without the key.
pub(super) fn read(environment: &BTreeMap<String, String>, implied: &mut ImpliedSettings, problems: &mut Problems) {
    let hubs = EventHubs::read(environment, implied, problems);
    implied.keep(hubs);
}

impl EventHubs {
    fn read(environment: &BTreeMap<String, String>, implied: &mut ImpliedSettings, problems: &mut Problems) -> Self {
        let given = |name: &str| environment.get(name).filter(|value| !value.trim().is_empty());
        let from_file = given(CONNECTION_FILE).filter(|_| given(CONNECTION).is_none());
        let variable = if from_file.is_some() { CONNECTION_FILE } else { CONNECTION };
        let text = match from_file.map(std::fs::read_to_string) {
            None => given(CONNECTION).cloned().unwrap_or_default(),
            Some(Ok(text)) => text,
            Some(Err(error)) => {
                problems.push(variable, None, format!("names a file that cannot be read: {error}"));
                return Self::default();
            }
        };
        let text = text.trim();
        let enabled = match given(SWITCH).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None => !text.is_empty(),
            Some("true" | "1" | "yes") => true,
            Some("false" | "0" | "no") => false,
            Some(other) => {
                let text = format!("is {other:?}, expected true or false");
                problems.push(SWITCH, Some(SettingOrigin::Legacy(SWITCH.into())), text);
                false
            }
        };
        let named = given(NAME).map(|name| name.trim().to_owned());
        let name = named.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let mut hubs = Self { enabled, connection: Secret::new(text), name };
        if !enabled {
            return hubs;
        }
        if text.is_empty() {
            problems.push(CONNECTION, None, "is not set, and USE_EVENTHUB is true");
            return hubs;
        }
        match Connection::parse(text) {
            Ok(connection) => {
                hubs.check_name(&connection, named.as_deref(), variable, implied, problems);
                hubs.imply(&connection, named.is_some(), variable, implied);
            }
            Err(wrong) => wrong.into_iter().for_each(|text| problems.push(variable, None, text)),
        }
        hubs
    }

    fn check_name(
        &mut self,
        connection: &Connection,
        named: Option<&str>,
        variable: &str,
        implied: &mut ImpliedSettings,
        problems: &mut Problems,
    ) {
        match (&connection.entity, named) {
            (Some(entity), Some(name)) if entity != name => {
                let text = format!("names the hub {entity:?} (EntityPath), and {NAME} is {name:?}");
                problems.push(variable, None, text);
            }
            (Some(entity), _) => {
                self.name.clone_from(entity);
                implied.warn(format!(
                    "{variable} names one hub (EntityPath); the mesh opens ten, so its rule must be one of the namespace"
                ));
            }
            (None, _) => {}
        }
    }

    fn imply(&self, connection: &Connection, named: bool, variable: &str, implied: &mut ImpliedSettings) {
        let port = connection.port.unwrap_or(PORTS[usize::from(connection.emulator)]);
        let protocol = if connection.emulator { "sasl_plaintext" } else { "sasl_ssl" };
        for (name, value) in [
            ("brokers", format!("{}:{port}", connection.host).as_str()),
            ("security_protocol", protocol),
            ("sasl_mechanism", "PLAIN"),
            ("username", "$ConnectionString"),
            ("password", connection.password.expose()),
        ] {
            implied.set(&["kafka", name], value, variable);
        }
        let topics = [("requests_in", self.name.clone()), ("results_out", format!("{}-results", self.name))];
        for (topic, name) in topics {
            match named {
                true => implied.set(&["topics", topic], name, NAME),
                false => implied.set_default(&["topics", topic], name, DEPLOYMENT),
            }
        }
        set_defaults(implied);
    }
}

/// What Event Hubs wants otherwise than Kafka. The operator's own values win.
fn set_defaults(implied: &mut ImpliedSettings) {
    for (name, value) in [
        ("consumer_group", "$Default"),
        // the service treats shorter ones as this
        ("session_timeout", "30s"),
        // a group's offsets are written at a limited rate
        ("commit_interval", "1s"),
    ] {
        implied.set_default(&["kafka", name], value, DEPLOYMENT);
    }
    let mut option =
        |name: &str, value: toml::Value| implied.set_default(&["kafka", "options", name], value, DEPLOYMENT);
    // the gateway closes connections that were silent for 240 s
    option("connections.max.idle.ms", 180_000.into());
    option("metadata.max.age.ms", 180_000.into());
    option("socket.keepalive.enable", true.into());
    // and those whose requests are larger than 1,046,528 bytes
    option("message.max.bytes", 1_000_000.into());
    option("request.timeout.ms", 60_000.into());
    option("message.timeout.ms", 60_000.into());
    option("heartbeat.interval.ms", 3_000.into());
    // a gateway that refuses gets fewer and fewer requests
    option("reconnect.backoff.max.ms", 10_000.into());
    option("compression.type", "none".into());
    // one for all partitions of a gateway tens of milliseconds away would make results wait
    option("max.in.flight", 5.into());
}

impl Connection {
    /// Every error names the part and none quotes a value: one that stands in the wrong place may be the key.
    fn parse(text: &str) -> Result<Self, Vec<String>> {
        if text.starts_with(['"', '\'']) {
            return Err(vec!["begins with a quotation mark, which is no part of it".to_owned()]);
        }
        let mut wrong = Vec::new();
        let mut parts: BTreeMap<String, &str> = BTreeMap::new();
        let mut kept = Vec::new();
        for (index, part) in text.split(';').map(str::trim).enumerate().filter(|(_, part)| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                wrong.push(format!("part {} of it is not NAME=VALUE, {EXPECTED}", index + 1));
                continue;
            };
            let name = name.trim().to_ascii_lowercase();
            if name != "entitypath" {
                kept.push(part);
            }
            if parts.insert(name, value.trim()).is_some() {
                wrong.push(format!("part {} of it repeats the name of an earlier one", index + 1));
            }
        }
        let part = |name: &str| parts.get(&name.to_ascii_lowercase()).copied().filter(|value| !value.is_empty());
        let endpoint = match part("Endpoint") {
            None => Err(format!("has no Endpoint, {EXPECTED}")),
            Some(address) => host_and_port(address),
        };
        for name in ["SharedAccessKeyName", "SharedAccessKey"] {
            match part(name) {
                Some(_) => {}
                None if part("SharedAccessSignature").is_some() => {
                    wrong.push(format!("has no {name}; a SharedAccessSignature expires and cannot be used here"));
                }
                None => wrong.push(format!("has no {name}, {EXPECTED}")),
            }
        }
        let entity = part("EntityPath").map(str::to_owned);
        if parts.contains_key("entitypath") && entity.is_none() {
            wrong.push("has an EntityPath without a name, expected the name of a hub or no EntityPath".to_owned());
        }
        let emulator = part("UseDevelopmentEmulator").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match endpoint {
            Ok((host, port)) if wrong.is_empty() => {
                Ok(Self { host, port, entity, emulator, password: Secret::new(kept.join(";")) })
            }
            Ok(_) => Err(wrong),
            Err(first) => {
                wrong.insert(0, first);
                Err(wrong)
            }
        }
    }
}

/// `sb://host[:port][/]`; a port is for a gateway of one's own and for the emulator.
fn host_and_port(address: &str) -> Result<(String, Option<u16>), String> {
    let scheme = address.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("sb://"));
    let Some(rest) = scheme.and_then(|_| address.get(5..)) else {
        return Err("its Endpoint does not begin with sb://".to_owned());
    };
    let (host, port) = match rest.trim_end_matches('/').rsplit_once(':') {
        None => (rest.trim_end_matches('/'), None),
        Some((host, port)) => match port.parse::<u16>().ok().filter(|port| *port > 0) {
            Some(port) => (host, Some(port)),
            None => return Err("the port of its Endpoint is no number from 1 to 65535".to_owned()),
        },
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !host.chars().all(legal) {
        return Err("its Endpoint names no host, expected sb://NAMESPACE.servicebus.windows.net/".to_owned());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests;
