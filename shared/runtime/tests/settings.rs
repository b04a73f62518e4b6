//! Settings from the outside: precedence, complete reports, secrets, legacy variables.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue stops")]

use std::time::Duration;

use forebay_bus::{BusSettings, EventHubs, KafkaSettings};
use forebay_runtime::{
    AdminSettings, COMMON_DEFAULTS, CommonSettings, DefaultSettings, DeliverySettings, Layers, Problems, Secret,
    SettingOrigin, SettingsError, TopicSettings, duration, size,
};
use serde::Deserialize;

const DEFAULTS: DefaultSettings = DefaultSettings::new(
    "caching",
    r#"
[cache]
capacity = 1000
ttl = "1h"
max_body = "64KiB"
ratio = 0.5
kinds = ["memory"]
mode = "memory"
[cache.models]
[redis]
url = "redis://localhost:6379"
password = ""
"#,
);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    capacity: u16,
    #[serde(with = "duration")]
    ttl: Duration,
    #[serde(with = "size")]
    max_body: usize,
    ratio: f64,
    kinds: Vec<String>,
    mode: Mode,
    models: std::collections::BTreeMap<String, Model>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Off,
    Memory,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    policy: Mode,
    weight: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redis {
    url: Secret,
    password: Secret,
}

fn layers(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Layers {
    Layers::from_parts(&[COMMON_DEFAULTS, forebay_bus::DEFAULTS, DEFAULTS], file, environment, flags).unwrap()
}

/// The settings that every service has.
#[derive(Debug)]
struct Shared {
    kafka: KafkaSettings,
    event_hubs: EventHubs,
    topics: TopicSettings,
    admin: AdminSettings,
    delivery: DeliverySettings,
}

fn read(layers: &Layers) -> Result<(Shared, Cache, Redis), SettingsError> {
    let mut problems = layers.problems();
    let bus = BusSettings::read(layers, &mut problems);
    let common = CommonSettings::read(layers, &mut problems);
    let cache = layers.section::<Cache>("cache", &mut problems);
    let redis = layers.section::<Redis>("redis", &mut problems);
    problems.into_result()?;
    let (BusSettings { kafka, event_hubs, .. }, common) = bus.zip(common).unwrap();
    let CommonSettings { topics, admin, delivery, .. } = common;
    Ok((Shared { kafka, event_hubs, topics, admin, delivery }, cache.unwrap(), redis.unwrap()))
}

fn reported(error: &SettingsError) -> Vec<&str> {
    error.problems.iter().map(|problem| problem.key.as_str()).collect()
}

#[test]
fn the_defaults_are_complete_and_right() {
    let (shared, cache, redis) = read(&layers("", &[], &[])).unwrap();
    assert_eq!(shared.kafka.brokers, "localhost:9092");
    assert_eq!(shared.kafka.consumer_group, "inference-service");
    assert_eq!(shared.kafka.session_timeout, Duration::from_secs(10));
    assert_eq!(shared.kafka.commit_interval, Duration::from_millis(200));
    assert_eq!(shared.topics.dead_letters, "forebay.dead-letters");
    assert_eq!(shared.admin.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(shared.delivery.in_flight, 16_384);
    assert_eq!((cache.capacity, cache.ttl, cache.max_body), (1000, Duration::from_secs(3600), 65_536));
    assert_eq!(cache.mode, Mode::Memory);
    assert_eq!(redis.url.expose(), "redis://localhost:6379");
    assert!(!shared.event_hubs.enabled && shared.event_hubs.name == "inference-requests");
}

#[test]
fn each_layer_lies_over_the_one_before() {
    let file = "[cache]\ncapacity = 1\nttl = \"1m\"\nratio = 1\n\n[kafka]\nbrokers = \"file:9092\"\n";
    let environment =
        [("FOREBAY__CACHE__TTL", "2m"), ("FOREBAY__CACHE__KINDS", "redis, memory"), ("KAFKA_BROKER", "old:9092")];
    let layers = layers(file, &environment, &["cache.ttl=3m", "admin.listen=0.0.0.0:0"]);
    let (shared, cache, _) = read(&layers).unwrap();
    assert_eq!((cache.capacity, cache.ttl), (1, Duration::from_secs(180)));
    assert_eq!((cache.ratio, cache.kinds), (1.0, vec!["redis".to_owned(), "memory".to_owned()]));
    assert_eq!(shared.kafka.brokers, "old:9092");
    assert_eq!(layers.origin("cache.ttl"), Some(&SettingOrigin::Flag));
    assert_eq!(layers.origin("cache.ratio").unwrap().to_string(), "settings.toml:4");
    assert_eq!(layers.origin("kafka.brokers"), Some(&SettingOrigin::Legacy("KAFKA_BROKER".into())));
    assert_eq!(layers.origin("kafka.partitions"), Some(&SettingOrigin::Default));
}

#[test]
fn everything_that_is_wrong_is_reported_at_once_with_its_origin() {
    let file = "[cache]\nttl = \"soon\"\nmax_body = \"big\"\ncapacity = 70000\nmode = \"disk\"\nkinds = \"memory\"\n[cash]\nx = 1\n";
    let environment = [
        ("FOREBAY__KAFKA__BROKER", "x:1"),
        ("FOREBAY__KAFKA__PARTITIONS", "many"),
        ("FOREBAY__DELIVERY__TIMEOUT", "10m"),
        ("FOREBAY__REDIS__URL_FILE", "/does/not/exist"),
        ("USE_EVENTHUB", "perhaps"),
    ];
    let flags = ["telemetry.sample_ratio=2", "log.level=forebay=loud", "nonsense", "admin.listen=8000"];
    let error = read(&layers(file, &environment, &flags)).unwrap_err();
    let mut keys = reported(&error);
    keys.sort_unstable();
    let expected = [
        "USE_EVENTHUB",
        "admin.listen",
        "cache.capacity",
        "cache.kinds",
        "cache.max_body",
        "cache.mode",
        "cache.ttl",
        "cash.x",
        "delivery.timeout",
        "kafka.broker",
        "kafka.partitions",
        "log.level",
        "nonsense",
        "redis.url",
        "telemetry.sample_ratio",
    ];
    assert_eq!(keys, expected, "{error}");
    let text = error.to_string();
    for line in [
        "15 problems in the settings:",
        "cache.ttl (settings.toml:2): \"soon\" is not a duration, expected a number with a unit",
        "cash.x (settings.toml:8): is not a known section; did you mean cache?",
        "kafka.broker (environment FOREBAY__KAFKA__BROKER): is not a known key; did you mean kafka.brokers?",
        "kafka.partitions (environment FOREBAY__KAFKA__PARTITIONS): is text that cannot be read as a whole number",
        "cache.kinds (settings.toml:6): is a string, expected a list",
        "delivery.timeout (environment FOREBAY__DELIVERY__TIMEOUT): is longer than delivery.max_timeout",
        "telemetry.sample_ratio (--set): is 2, expected 0 to 1",
        "/does/not/exist named by FOREBAY__REDIS__URL_FILE",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_bound_below_what_a_source_reserves_is_refused() {
    let read = |value: &str| read(&layers("", &[("FOREBAY__DELIVERY__IN_FLIGHT", value)], &[]));
    for value in ["0", "255", "511"] {
        let error = read(value).unwrap_err();
        assert_eq!(reported(&error), ["delivery.in_flight"]);
        let expected = format!("is {value}, expected at least 512: a source reserves a full batch");
        assert!(error.to_string().contains(&expected), "{error}");
    }
    assert_eq!(read("512").unwrap().0.delivery.in_flight, 512);
}

#[test]
fn one_file_fits_all_binaries() {
    let file = "[http]\nlisten = \"0.0.0.0:8080\"\n[prediction]\nthreads = 2\n[publishing.x]\ny = 1\n";
    let environment =
        [("FOREBAY__INGESTION__X", "1"), ("FOREBAY_SERVICE_PORT", "80"), ("FOREBAY__PREDICTION__KEY_FILE", "/none")];
    assert!(read(&layers(file, &environment, &["http.listen=x"])).is_ok());
}

#[test]
fn a_broken_file_does_not_hide_the_other_problems() {
    let error = read(&layers("[cache\n", &[], &["cache.ttl=1"])).unwrap_err();
    assert_eq!(reported(&error), ["settings.toml", "cache.ttl"]);
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn secrets_come_from_files_and_never_show() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap();
    let environment = [
        ("FOREBAY__REDIS__PASSWORD_FILE", path),
        ("FOREBAY__REDIS__URL", "redis://app:hunter3@cache:6379"),
        ("FOREBAY__KAFKA__OPTIONS__SASL_PASSWORD", "hunter4"),
        ("FOREBAY__CACHE__MODE", "hunter5"),
    ];
    let layers = layers("", &environment, &[]);
    let mut problems = Problems::default();
    let redis = layers.section::<Redis>("redis", &mut problems).unwrap();
    assert_eq!(redis.password.expose(), "hunter2");
    assert_eq!(redis.url.expose(), "redis://app:hunter3@cache:6379");
    assert_eq!(format!("{redis:?}"), "Redis { url: ***, password: *** }");
    assert_eq!(serde_json::to_string(&redis.password).unwrap(), "\"***\"");
    let shown = layers.show();
    for secret in ["hunter2", "hunter3", "hunter4"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("url = \"redis://app:***@cache:6379\""), "{shown}");
    assert!(shown.contains("# environment FOREBAY__REDIS__URL\n"), "{shown}");
    let kafka = BusSettings::read(&layers, &mut problems).unwrap().kafka;
    assert_eq!(kafka.options["sasl.password"].expose(), "hunter4");
    assert!(!format!("{kafka:?}").contains("hunter4"));
}

#[test]
fn what_show_prints_can_be_read_again() {
    let first = layers(
        "[cache.models.a]\npolicy = \"off\"\nweight = 3\n",
        &[("FOREBAY__CACHE__TTL", "5m")],
        &["kafka.options.linger.ms=5"],
    );
    let second = layers(&first.show(), &[], &[]);
    let (left, right) = (read(&first).unwrap(), read(&second).unwrap());
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
    assert_eq!(right.1.models["a"], Model { policy: Mode::Off, weight: 3 });
    assert_eq!(right.0.kafka.options["linger.ms"].expose(), "5");
}

#[test]
fn entries_of_a_free_form_table_are_judged_one_by_one() {
    let file = "[cache.models.good]\npolicy = \"off\"\nweight = 3\n[cache.models.bad]\npolicy = \"off\"\n[kafka.options]\n\"a.b\" = [1]\n";
    let error = read(&layers(file, &[], &[])).unwrap_err();
    assert_eq!(reported(&error), ["kafka.options.\"a.b\"", "cache.models.bad"], "{error}");
    assert!(error.to_string().contains("missing field `weight`"), "{error}");
}

#[test]
fn kafka_options_may_be_written_quoted_nested_or_with_underscores() {
    let file = "[kafka.options]\nsecurity.protocol = \"ssl\"\n\"linger.ms\" = 5\n";
    let environment = [("FOREBAY__KAFKA__OPTIONS__ENABLE_IDEMPOTENCE", "true")];
    let kafka = read(&layers(file, &environment, &[])).unwrap().0.kafka;
    let options: Vec<_> = kafka.options.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(options, [("enable.idempotence", "true"), ("linger.ms", "5"), ("security.protocol", "ssl")]);
}

/// The keys of the section `[models]` that have legacy variables.
#[derive(Deserialize)]
struct Models {
    name: String,
    stage: String,
    registry: String,
}

#[test]
fn legacy_variables_still_work() {
    let environment = [
        ("KAFKA_BROKER", "kafka.kafka:9092"),
        ("CONSUMER_GROUP", "inference-consumer"),
        ("REDIS_HOST", "redis-master.mlflow"),
        ("MODEL_NAME", "m"),
        ("MODEL_STAGE", "Staging"),
        ("MLFLOW_TRACKING_URI", "http://mlflow:5000"),
        ("EVENTHUB_CONNECTION", "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=abc"),
        ("EVENTHUB_NAME", "hub"),
    ];
    let layers = layers("", &environment, &[]);
    let (shared, _, redis) = read(&layers).unwrap();
    assert_eq!((shared.kafka.brokers.as_str(), shared.kafka.consumer_group.as_str()), ("x:9093", "inference-consumer"));
    assert_eq!(redis.url.expose(), "redis://redis-master.mlflow:6379");
    let models: Models = layers.section("models", &mut layers.problems()).unwrap();
    assert_eq!((models.name.as_str(), models.stage.as_str()), ("m", "Staging"));
    assert_eq!(models.registry, "http://mlflow:5000");
    assert!(shared.event_hubs.enabled && shared.event_hubs.name == "hub");
    assert_eq!((shared.topics.requests_in.as_str(), shared.topics.results_out.as_str()), ("hub", "hub-results"));
    assert!(!format!("{:?}", shared.event_hubs).contains("abc"));
    assert!(layers.warnings().is_empty());
}

#[test]
fn a_forebay_variable_wins_over_a_legacy_one_with_a_warning() {
    let environment = [
        ("KAFKA_BROKER", "old:1"),
        ("FOREBAY__KAFKA__BROKERS", "new:1"),
        ("MODEL_NAME", "same"),
        ("FOREBAY__MODELS__NAME", "same"),
    ];
    let layers = layers("", &environment, &[]);
    assert_eq!(read(&layers).unwrap().0.kafka.brokers, "new:1");
    let expected =
        "legacy variable KAFKA_BROKER is ignored, environment FOREBAY__KAFKA__BROKERS sets kafka.brokers differently";
    assert_eq!(layers.warnings(), [expected]);
}

#[test]
fn a_value_and_its_file_together_are_refused() {
    let environment = [("FOREBAY__REDIS__URL", "redis://a"), ("FOREBAY__REDIS__URL_FILE", "/does/not/matter")];
    let error = read(&layers("", &environment, &[])).unwrap_err();
    assert_eq!(reported(&error), ["redis.url"]);
    assert!(error.to_string().contains("set twice"), "{error}");
}

#[test]
fn an_event_hub_without_a_connection_is_a_problem() {
    let error = read(&layers("", &[("USE_EVENTHUB", "true")], &[])).unwrap_err();
    assert_eq!(reported(&error), ["EVENTHUB_CONNECTION"]);
}

#[test]
fn two_edges_cannot_share_a_topic() {
    let error = read(&layers("", &[], &["topics.predict=forebay.features"])).unwrap_err();
    assert_eq!(reported(&error), ["topics.predict"]);
}

#[test]
fn only_a_name_that_is_close_is_suggested() {
    let text = |flag: &str| read(&layers("", &[], &[flag])).unwrap_err().problems.remove(0).text;
    assert_eq!(text("cache.capacty=1"), "is not a known key; did you mean cache.capacity?");
    assert_eq!(text("cache.zzz=1"), "is not a known key");
    assert_eq!(text("kafak.brokers=x"), "is not a known section; did you mean kafka?");
    assert_eq!(text("xyz=1"), "is not a known section");
    assert_eq!(text("kafka=1"), "is not a known key");
}

#[test]
fn how_to_log_in_and_whom_to_trust_is_checked() {
    let outcome = |flags: &[&str]| read(&layers("", &[], flags)).map(|_| ()).map_err(|error| error.to_string());
    let keys = |flags: &[&str]| {
        let error = read(&layers("", &[], flags)).unwrap_err();
        reported(&error).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let login = ["kafka.security_protocol=SASL_SSL", "kafka.sasl_mechanism=scram-sha-512", "kafka.username=u"];
    assert_eq!(outcome(&[&login[..], &["kafka.password=p"]].concat()), Ok(()));
    assert_eq!(keys(&login), ["kafka.password"]);
    assert_eq!(outcome(&[&login[..], &["kafka.options.sasl.password=p"]].concat()), Ok(()));
    assert_eq!(keys(&["kafka.security_protocol=sasl_ssl"]), ["kafka.sasl_mechanism"]);
    assert_eq!(outcome(&["kafka.security_protocol=sasl_ssl", "kafka.options.sasl.mechanism=GSSAPI"]), Ok(()));
    assert_eq!(keys(&["kafka.security_protocol=tls"]), ["kafka.security_protocol"]);
    let wrong = ["kafka.security_protocol=ssl", "kafka.sasl_mechanism=MD5", "kafka.username=u"];
    assert_eq!(keys(&wrong), ["kafka.sasl_mechanism", "kafka.sasl_mechanism", "kafka.username"]);
    let open = ["kafka.password=hunter2", "kafka.ca_file=/no"];
    assert_eq!(keys(&open), ["kafka.password", "kafka.ca_file"]);
    assert!(!outcome(&open).unwrap_err().contains("hunter2"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "no certificate").unwrap();
    let ca = format!("kafka.ca_file={}", path.display());
    assert!(outcome(&["kafka.security_protocol=ssl", &ca]).unwrap_err().contains("which is no PEM file"));
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n").unwrap();
    assert_eq!(outcome(&["kafka.security_protocol=ssl", &ca]), Ok(()));
    let cert = format!("kafka.client_cert_file={}", path.display());
    assert_eq!(keys(&["kafka.security_protocol=ssl", &cert]), ["kafka.client_key_file"]);
}
