//! The connection string, and what follows from it.

use std::collections::BTreeMap;

use forebay_runtime::{COMMON_DEFAULTS, CommonSettings, Layers, TopicSettings};

use super::*;
use crate::settings::{BusSettings, DEFAULTS, KafkaSettings};

const KEY: &str = "c2VjcmV0LWtleS1vZi10aGUtbmFtZXNwYWNl=";

fn string(endpoint: &str, more: &str) -> String {
    format!("Endpoint={endpoint};SharedAccessKeyName=forebay;SharedAccessKey={KEY}{more}")
}

fn wrong(text: &str) -> String {
    let message = Connection::parse(text).unwrap_err().join("\n");
    assert!(!message.contains("c2Vj"), "the key is quoted: {message}");
    message
}

fn layers(environment: &[(&str, &str)], file: &str) -> Layers {
    Layers::from_parts(&[COMMON_DEFAULTS, DEFAULTS], file, environment, &[]).unwrap()
}

#[derive(Debug)]
struct Shared {
    kafka: KafkaSettings,
    event_hubs: EventHubs,
    topics: TopicSettings,
}

fn shared(environment: &[(&str, &str)], file: &str) -> Result<Shared, String> {
    let layers = layers(environment, file);
    let mut problems = layers.problems();
    let read = BusSettings::read(&layers, &mut problems).zip(CommonSettings::read(&layers, &mut problems));
    problems.into_result().map_err(|error| error.to_string())?;
    let (BusSettings { kafka, event_hubs, .. }, CommonSettings { topics, .. }) = read.unwrap();
    Ok(Shared { kafka, event_hubs, topics })
}

#[test]
fn a_connection_string_is_taken_apart() {
    let usual = Connection::parse(&string("sb://ns.servicebus.windows.net/", "")).unwrap();
    assert_eq!((usual.host.as_str(), usual.port), ("ns.servicebus.windows.net", None));
    assert_eq!((usual.entity.as_deref(), usual.emulator), (None, false));
    assert_eq!(usual.password.expose(), string("sb://ns.servicebus.windows.net/", ""));
    // case of names, order, a semicolon at the end, blanks and a part of a newer client do not matter
    let text = format!(
        " sharedaccesskey={KEY} ;SHAREDACCESSKEYNAME=a; entityPath=orders;endpoint=SB://h;TransportType=Amqp;\n"
    );
    let other = Connection::parse(text.trim()).unwrap();
    assert_eq!((other.host.as_str(), other.entity.as_deref()), ("h", Some("orders")));
    let password = other.password.expose();
    assert!(password.contains(KEY) && !password.contains("orders"), "the hub is no part of the password");
    let emulator = Connection::parse(&string("sb://localhost:19092", ";UseDevelopmentEmulator=true;")).unwrap();
    assert_eq!((emulator.port, emulator.emulator), (Some(19_092), true));
    assert!(!format!("{usual:?}").contains("c2Vj"));
}

#[test]
fn what_is_wrong_is_named_and_never_the_key() {
    assert!(wrong("").contains("no Endpoint"));
    assert!(wrong(KEY).contains("no Endpoint"));
    assert!(wrong(&format!("\"{}\"", string("sb://h/", ""))).contains("quotation mark"));
    assert!(wrong(&string("https://h/", "")).contains("sb://"));
    assert!(wrong(&string("sb://", "")).contains("no host"));
    assert!(wrong(&string("sb://h:x/", "")).contains("port"));
    assert!(wrong(&string("sb://h:0/", "")).contains("port"));
    assert!(wrong(&string("sb://user@h/", "")).contains("no host"));
    assert!(wrong(&string("sb://h/", ";EntityPath=")).contains("EntityPath"));
    assert!(wrong(&string("sb://h/", ";sharedaccesskey=again")).contains("part 4"));
    let message = wrong(&format!("Endpoint=sb://h/;SharedAccessKeyName=a;{}", KEY.trim_end_matches('=')));
    assert!(message.contains("part 3") && message.contains("has no SharedAccessKey,"), "{message}");
    let message = wrong("Endpoint=sb://h/;SharedAccessKey=c2VjcmV0");
    assert!(message.contains("no SharedAccessKeyName"), "{message}");
    assert!(wrong("Endpoint=sb://h/;SharedAccessSignature=c2Vj").contains("expires"));
}

#[test]
fn two_variables_are_enough() {
    let connection = string("sb://ns.servicebus.windows.net/", "");
    for more in [&[][..], &[("USE_EVENTHUB", "true")], &[("KAFKA_BROKER", "kafka.kafka:9092")]] {
        let environment = [&[("EVENTHUB_CONNECTION", connection.as_str())], more].concat();
        let shared = shared(&environment, "").unwrap();
        let kafka = &shared.kafka;
        assert_eq!(kafka.brokers, "ns.servicebus.windows.net:9093");
        assert_eq!((kafka.security_protocol.as_str(), kafka.sasl_mechanism.as_str()), ("sasl_ssl", "PLAIN"));
        assert_eq!((kafka.username.as_str(), kafka.password.expose()), ("$ConnectionString", connection.as_str()));
        assert_eq!(kafka.consumer_group, "$Default");
        assert_eq!((kafka.session_timeout.as_secs(), kafka.commit_interval.as_secs()), (30, 1));
        assert_eq!(shared.topics.requests_in, "inference-requests");
        assert_eq!(shared.topics.results_out, "inference-requests-results");
        let options: BTreeMap<_, _> = kafka.options.iter().map(|(name, it)| (name.as_str(), it.expose())).collect();
        for (name, value) in [
            ("connections.max.idle.ms", "180000"),
            ("metadata.max.age.ms", "180000"),
            ("message.max.bytes", "1000000"),
            ("request.timeout.ms", "60000"),
            ("socket.keepalive.enable", "true"),
            ("compression.type", "none"),
        ] {
            assert_eq!(options.get(name), Some(&value), "{name}");
        }
        assert!(shared.event_hubs.enabled && layers(&environment, "").warnings().is_empty());
        assert!(!format!("{shared:?}").contains("c2Vj"));
    }
    let off = shared(&[("EVENTHUB_CONNECTION", &connection), ("USE_EVENTHUB", "no")], "").unwrap();
    assert_eq!((off.kafka.brokers.as_str(), off.kafka.options.len()), ("localhost:9092", 0));
    assert_eq!(off.topics.results_out, "inference-results");
}

#[test]
fn the_mesh_keeps_to_the_ten_hubs_of_a_namespace() {
    let connection = string("sb://h/", "");
    let shared = shared(&[("EVENTHUB_CONNECTION", &connection), ("EVENTHUB_NAME", "orders")], "").unwrap();
    let names: std::collections::BTreeSet<_> = shared.topics.all().iter().map(|(_, name)| *name).collect();
    assert!(
        names.len() <= EventHubs::HUBS && names.contains("orders") && names.contains("orders-results"),
        "{names:?}"
    );
}

#[test]
fn the_operators_own_values_win() {
    let connection = string("sb://h/", "");
    let environment = [
        ("EVENTHUB_CONNECTION", connection.as_str()),
        ("CONSUMER_GROUP", "inference-consumer"),
        ("FOREBAY__KAFKA__OPTIONS__MESSAGE_MAX_BYTES", "500000"),
        ("FOREBAY__KAFKA__BROKERS", "relay:9093"),
    ];
    let file = "[kafka]\nsession_timeout = \"45s\"\n[kafka.options]\nrequest.timeout.ms = 30000\n\
                [topics]\nresults_out = \"mine\"\n";
    let shared = shared(&environment, file).unwrap();
    assert_eq!(
        (shared.kafka.consumer_group.as_str(), shared.kafka.session_timeout.as_secs()),
        ("inference-consumer", 45)
    );
    assert_eq!(shared.kafka.options["message.max.bytes"].expose(), "500000");
    assert_eq!(shared.kafka.options["request.timeout.ms"].expose(), "30000");
    assert_eq!(shared.topics.results_out, "mine");
    assert_eq!(shared.kafka.brokers, "relay:9093");
    let message = layers(&environment, file).warnings().join("\n");
    assert!(message.contains("EVENTHUB_CONNECTION is ignored") && message.contains("kafka.brokers"), "{message}");
}

#[test]
fn the_hub_may_stand_in_the_connection_string() {
    let connection = string("sb://h/", ";EntityPath=orders");
    let one = shared(&[("EVENTHUB_CONNECTION", &connection)], "").unwrap();
    assert_eq!((one.topics.requests_in.as_str(), one.topics.results_out.as_str()), ("orders", "orders-results"));
    assert!(layers(&[("EVENTHUB_CONNECTION", &connection)], "").warnings()[0].contains("EntityPath"));
    let message = shared(&[("EVENTHUB_CONNECTION", &connection), ("EVENTHUB_NAME", "other")], "").unwrap_err();
    assert!(message.contains("\"orders\" (EntityPath), and EVENTHUB_NAME is \"other\""), "{message}");
}

#[test]
fn what_event_hubs_would_refuse_is_refused_at_start() {
    let connection = string("sb://h/", "");
    let with = |name, value| shared(&[("EVENTHUB_CONNECTION", connection.as_str()), (name, value)], "").unwrap_err();
    assert!(with("FOREBAY__KAFKA__OPTIONS__COMPRESSION_TYPE", "lz4").contains("compress"));
    assert!(with("FOREBAY__KAFKA__OPTIONS__MESSAGE_MAX_BYTES", "2000000").contains("1046528"));
}

#[test]
fn nothing_shows_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connection");
    std::fs::write(&path, string("sb://ns/", "\n")).unwrap();
    for (name, value) in
        [("EVENTHUB_CONNECTION", string("sb://ns/", "")), ("EVENTHUB_CONNECTION_FILE", path.display().to_string())]
    {
        let environment = [(name, value.as_str())];
        let shown = layers(&environment, "").show();
        assert!(!shown.contains("c2Vj") && shown.contains("password = \"***\""), "{shown}");
        assert!(shown.contains(&format!("# legacy variable {name}")), "{shown}");
        assert!(shown.contains("# default for Event Hubs") && shown.contains("brokers = \"ns:9093\""), "{shown}");
        // a problem elsewhere does not bring it out
        let message = shared(&[environment[0], ("FOREBAY__KAFKA__PARTITIONS", "no")], "").unwrap_err();
        assert!(!message.contains("c2Vj") && message.contains("kafka.partitions"), "{message}");
    }
    let message = shared(&[("EVENTHUB_CONNECTION_FILE", "/does/not/exist")], "").unwrap_err();
    assert!(message.contains("EVENTHUB_CONNECTION_FILE: names a file that cannot be read"), "{message}");
}
