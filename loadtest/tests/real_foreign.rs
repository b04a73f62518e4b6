//! What clients of other makes write: compressed records, and such as grow when they are read.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::topic::{self, Out, Reader, Writer};
use harness::{
    Mesh, STAGES, Service, brokers, free_address, http, native, native_with, row, stop_all, variable, wait_all,
    wait_until,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList};

const SOON: Duration = Duration::from_secs(60);
const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];

/// Collects what became of each record.
#[derive(Default)]
struct Outcomes(std::sync::Mutex<Vec<Result<(i32, i64), KafkaError>>>);

impl ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        let outcome = match report {
            Ok(record) => Ok((record.partition(), record.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().unwrap().push(outcome);
    }
}

/// Writes `payloads` as one batch of this codec, however large they are; the outcome of the first.
fn write_batch<'a>(
    codec: &str,
    topic: &str,
    payloads: impl Iterator<Item = &'a [u8]>,
) -> Result<(i32, i64), KafkaError> {
    write_batch_to(0, codec, topic, payloads)
}

fn write_batch_to<'a>(
    partition: i32,
    codec: &str,
    topic: &str,
    payloads: impl Iterator<Item = &'a [u8]>,
) -> Result<(i32, i64), KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("compression.type", codec).set("linger.ms", "1000");
    config.set("message.max.bytes", "1000000000").set("batch.size", "1000000000").set("message.timeout.ms", "40000");
    config.set("batch.num.messages", "1000000").set("queue.buffering.max.messages", "1100000");
    let producer: BaseProducer<Outcomes> = config.create_with_context(Outcomes::default()).unwrap();
    for payload in payloads {
        producer
            .send(BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(payload))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(SOON).unwrap();
    let mut outcomes = producer.context().0.lock().unwrap();
    outcomes.remove(0)
}

fn request(name: &str, number: usize) -> String {
    format!(r#"{{"request_id":"{name}-{number}","features":{}}}"#, row(number))
}

/// The most memory that the process has had, in MiB.
fn peak_memory(service: &Service) -> u64 {
    service.peak_kib().unwrap() / 1024
}

/// The checksum of Kafka's batches, CRC-32C.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// Changes the batch that begins at `offset` in the log of a stopped broker; its length stays.
fn damage(topic: &str, partition: i32, offset: i64, change: impl Fn(&mut [u8])) {
    let folder = std::path::PathBuf::from(variable("FOREBAY_NATIVE_DIR")).join("kafka/data");
    let path = folder.join(format!("{topic}-{partition}/00000000000000000000.log"));
    let mut log = std::fs::read(&path).unwrap();
    let (mut at, mut changed) = (0, false);
    while at < log.len() {
        let base = i64::from_be_bytes(log[at..at + 8].try_into().unwrap());
        let end = at + 12 + u32::from_be_bytes(log[at + 8..at + 12].try_into().unwrap()) as usize;
        if base == offset {
            change(&mut log[at..end]);
            changed = true;
        }
        at = end;
    }
    assert!(changed, "{}", path.display());
    std::fs::write(path, log).unwrap();
}

/// The bytes of a record; the checksum no longer fits.
fn flip_a_bit(batch: &mut [u8]) {
    *batch.last_mut().unwrap() ^= 1;
}

/// A codec that is not defined; the checksum fits.
fn unknown_codec(batch: &mut [u8]) {
    batch[22] |= 7;
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The limit of ingestion in k8s, in MiB.
const MEMORY_LIMIT: u64 = 512;

#[test]
fn every_codec_is_read_and_what_grows_a_thousandfold_is_refused_by_the_broker() {
    let mesh = Mesh::with_topics("inflating");
    let services = mesh.start_all();
    let ingestion = services.iter().find(|service| service.name.contains("ingestion")).unwrap();
    let (requests, results) = (mesh.topic("requests_in"), Reader::from_now(&mesh.topic("results_out")));
    let zeros = vec![0_u8; 100 << 20];
    let too_large = |outcome: Result<(i32, i64), KafkaError>| {
        let code = outcome.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        assert_eq!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge), "{outcome:?}");
    };
    for codec in CODECS {
        let body = request(codec, 0);
        write_batch(codec, &requests, [body.as_bytes()].into_iter()).unwrap();
        let answer = results.result(&format!("{codec}-0"));
        assert!(answer.json()["prediction"].is_number(), "{codec}: {}", answer.text());
        // snappy makes a record at most 20 times smaller, and more would be too large for the broker as it is
        let size = if codec == "snappy" { 15 << 20 } else { zeros.len() };
        too_large(write_batch(codec, &requests, [&zeros[..size]].into_iter()));
        too_large(write_batch(codec, &requests, std::iter::repeat_n(&b""[..], 300_000)));
    }
    assert!(peak_memory(ingestion) < MEMORY_LIMIT, "{} MiB", peak_memory(ingestion));
    assert!(!ingestion.output().contains("compressed records"), "the topic is uncompressed");
    stop_all(services);
}

#[test]
fn a_topic_that_may_hold_compressed_records_is_warned_of_at_start() {
    let mesh = Mesh::named("compressed");
    topic::create(&mesh.topic("requests_in"), 4, &[("max.message.bytes", "20000000")]);
    mesh.create_topics();
    let mut ingestion = mesh.start("ingestion");
    wait_all([&mut ingestion]);
    wait_until(Duration::from_secs(15), "the warnings", || {
        let log = ingestion.output();
        log.contains("topic may hold compressed records") && log.contains("records that are too large to be read")
    });
    // a record of 300 kB that grows to 100 MiB stays within the limit even so
    let zeros = vec![0_u8; 100 << 20];
    write_batch("gzip", &mesh.topic("requests_in"), [&zeros[..]].into_iter()).unwrap();
    let letter = Reader::from_start(&mesh.topic("dead_letters")).find(SOON, "letter", |_| true);
    assert_eq!(letter.header("forebay-truncated"), Some(&b"true"[..]), "{:?}", letter.headers);
    // a batch of zstd that grows beyond the largest response is not inflated
    assert!(peak_memory(&ingestion) < MEMORY_LIMIT, "{} MiB", peak_memory(&ingestion));
    ingestion.stop();
}

#[test]
fn a_batch_that_cannot_be_read_is_stepped_over_with_one_dead_letter() {
    let mesh = Mesh::with_topics("unreadable");
    let services = mesh.start_all();
    let (requests, name) = (mesh.topic("requests_in"), "batch");
    let results = Reader::from_now(&mesh.topic("results_out"));
    let batch = |partition: i32, numbers: std::ops::Range<usize>| {
        let bodies: Vec<String> = numbers.map(|number| request(name, number)).collect();
        write_batch_to(partition, "none", &requests, bodies.iter().map(String::as_bytes)).unwrap();
    };
    batch(0, 0..1);
    results.result("batch-0");
    // all of them: a stage that loses its group with the broker needs a session to be back
    stop_all(services);
    // the second of three batches of partition 0 is damaged, and the last one of partition 1; partition 2 is whole
    batch(0, 1..3);
    batch(0, 3..8);
    batch(0, 8..9);
    batch(1, 9..10);
    batch(1, 10..13);
    batch(2, 13..14);
    native(&["down", "kafka"]);
    damage(&requests, 0, 3, flip_a_bit);
    damage(&requests, 1, 1, unknown_codec);
    native(&["up", "kafka"]);
    let others = ["preprocessing", "caching", "prediction", "publishing"];
    let mut services: Vec<Service> = others.iter().map(|stage| mesh.start(stage)).collect();
    wait_all(&mut services);
    let letters = Reader::from_now(&mesh.topic("dead_letters"));
    let mut ingestion = mesh.start("ingestion");
    wait_all([&mut ingestion]);
    let began = Instant::now();
    let mut answered = Vec::new();
    let mut answers = |count: usize| {
        while answered.len() < count {
            let record = results.poll(Duration::from_secs(30)).unwrap_or_else(|| panic!("only {answered:?}"));
            assert!(record.json()["prediction"].is_number(), "{}", record.text());
            answered.push(record.request_id().unwrap());
        }
        answered.sort();
        std::mem::take(&mut answered)
    };
    assert_eq!(answers(4), ["batch-1", "batch-13", "batch-2", "batch-9"]);
    batch(2, 14..15);
    assert_eq!(answers(1), ["batch-14"]);
    assert!(began.elapsed() < Duration::from_secs(9), "the neighbours waited for {:?}", began.elapsed());
    assert!(ingestion.is_ready());
    // those of partition 0 behind the batch come when it is stepped over
    assert_eq!(answers(1), ["batch-8"]);
    let mut ranges: Vec<(String, String)> = Vec::new();
    while let Some(letter) = letters.poll(Duration::from_secs(if ranges.len() < 2 { 20 } else { 3 })) {
        let text = |name: &str| String::from_utf8(letter.header(name).unwrap().to_vec()).unwrap();
        assert_eq!(text("__connect.errors.topic"), requests);
        ranges.push((text("__connect.errors.partition"), text("forebay-offsets")));
    }
    ranges.sort();
    let expected = [("0", "3-7"), ("1", "1-3")].map(|(partition, range)| (partition.to_owned(), range.to_owned()));
    assert_eq!(ranges, expected);
    batch(1, 15..16);
    assert_eq!(answers(1), ["batch-15"]);
    assert!(ingestion.is_ready());
    let unreadable = ingestion.metric("forebay_kafka_unreadable_batches_total", &["stage=\"ingestion\""]);
    assert_eq!(unreadable.to_bits(), 2_f64.to_bits(), "{unreadable}");
    let log = ingestion.output();
    assert!(log.contains("batch cannot be read") && log.contains("\"codec\":\"unknown\""), "{log}");
    // a successor begins behind them
    ingestion.stop();
    let mut successor = mesh.start("ingestion");
    wait_all([&mut successor]);
    batch(0, 16..17);
    assert_eq!(answers(1), ["batch-16"]);
    assert!(!successor.output().contains("batch cannot be read"));
    services.push(successor);
    stop_all(services);
}

/// The lag of the outside group as the broker counts it, over all partitions that have a committed offset.
fn group_lag(mesh: &Mesh) -> i64 {
    let (group, topic) = (mesh.outside_group(), mesh.topic("requests_in"));
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer = config.set("bootstrap.servers", brokers()).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    (0..4).for_each(|partition| _ = list.add_partition(&topic, partition));
    let committed = consumer.committed_offsets(list, SOON).unwrap();
    let behind = |partition: i32, offset: Offset| {
        let Offset::Offset(offset) = offset else { return 0 };
        consumer.fetch_watermarks(&topic, partition, SOON).unwrap().1 - offset
    };
    committed.elements().iter().map(|element| behind(element.partition(), element.offset())).sum()
}

#[test]
fn the_lag_behind_a_transactional_producer_is_0() {
    let mesh = Mesh::with_topics("transactional");
    let services = mesh.start_all();
    let (requests, results) = (mesh.topic("requests_in"), Reader::from_now(&mesh.topic("results_out")));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("transactional.id", "foreign").set("linger.ms", "0");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(SOON).unwrap();
    let write = |number: usize, commits: bool| {
        producer.begin_transaction().unwrap();
        let body = request("transaction", number);
        let record = BaseRecord::<(), [u8]>::to(&requests).partition(0).payload(body.as_bytes());
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(SOON).unwrap();
        if commits { producer.commit_transaction(SOON) } else { producer.abort_transaction(SOON) }.unwrap();
    };
    write(0, true);
    write(1, false);
    write(2, true);
    // in the order in which they were answered
    let two: Vec<_> = (0..2).map(|_| results.find(SOON, "a result", |_| true).request_id().unwrap()).collect();
    assert!(["transaction-0", "transaction-2"].iter().all(|id| two.contains(&(*id).to_owned())), "{two:?}");
    write(3, false);
    assert!(group_lag(&mesh) > 0, "the marks of transactions count");
    wait_until(Duration::from_secs(40), "lag 0 at the broker", || group_lag(&mesh) == 0);
    let shown = || services[0].metric("kafka_consumer_lag", &[&requests]);
    wait_until(Duration::from_secs(15), "lag 0 as the service shows it", || shown() == 0.0);
    write(4, true);
    results.result("transaction-4");
    stop_all(services);
}

#[test]
fn records_of_other_programs_are_answered_or_kept_with_their_reason() {
    let mesh = Mesh::with_topics("foreign");
    let services = mesh.start_all();
    let (topic, results) = (mesh.topic("requests_in"), Reader::from_now(&mesh.topic("results_out")));
    let letters = Reader::from_now(&mesh.topic("dead_letters"));
    let writer = Writer::new();
    let answer = |name: &str| {
        let answer = results.result(&format!("{name}-0")).json();
        assert!(answer["prediction"].is_number(), "{name}: {answer}");
    };
    let mark = [&b"\xef\xbb\xbf"[..], request("mark", 0).as_bytes()].concat();
    writer.write(Out { topic: &topic, payload: &mark, ..Out::default() });
    answer("mark");
    let http = http::predict(services[0].http, &[], String::from_utf8(mark).unwrap()).unwrap();
    assert_eq!(http.status, 200, "{}", http.text());
    let body = request("key", 0);
    writer.write(Out { topic: &topic, payload: body.as_bytes(), key: Some(b"\xff\xfe"), ..Out::default() });
    answer("key");
    let confluent = [&[0, 0, 0, 0, 7][..], request("confluent", 0).as_bytes()].concat();
    writer.write(Out { topic: &topic, payload: &confluent, ..Out::default() });
    let letter = letters.find(SOON, "letter", |_| true);
    assert_eq!(letter.payload, confluent);
    let reason = String::from_utf8_lossy(letter.header("__connect.errors.exception.message").unwrap()).into_owned();
    assert!(reason.contains("Confluent's serializers (schema id 7)"), "{reason}");
    let outcome = results.result("confluent-0").text();
    assert!(outcome.contains("invalid_request") && outcome.contains("schema id 7"), "{outcome}");
    // a tombstone with a key, and headers without values
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", brokers()).create().unwrap();
    let null = || OwnedHeaders::new().insert(Header { key: "traceparent", value: None::<&[u8]> });
    producer
        .send(BaseRecord::<[u8], [u8]>::to(&topic).key(b"\xff").headers(null()))
        .map_err(|(error, _)| error)
        .unwrap();
    let body = request("null", 0);
    let record = BaseRecord::<[u8], [u8]>::to(&topic).payload(body.as_bytes()).headers(null());
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(SOON).unwrap();
    answer("null");
    let letter = letters.find(SOON, "letter", |_| true);
    assert_eq!((letter.payload.len(), letter.key.as_deref()), (0, Some(&b"\xff"[..])));
    assert!(services.iter().all(|service| service.is_ready()));
    stop_all(services);
}

/// A Redis on `::1` that is killed when dropped.
struct RedisV6(Child);

impl Drop for RedisV6 {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn brokers_caches_and_callers_may_have_addresses_of_ipv6_alone() {
    let [kafka, kafka_v6, controller, redis] = [(); 4].map(|()| free_address().port().to_string());
    let folder = tempfile::tempdir().unwrap();
    let listeners = format!("PLAINTEXT://127.0.0.1:{kafka},V6://[::1]:{kafka_v6}");
    let extra = format!(
        "listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,V6:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT"
    );
    let own = [
        ("FOREBAY_NATIVE_DIR", folder.path().to_str().unwrap()),
        ("KAFKA_PORT", &kafka),
        ("KAFKA_CONTROLLER_PORT", &controller),
        ("KAFKA_EXTRA", &extra),
    ];
    native_with(&["up", "kafka"], &own);
    let mut server = Command::new("redis-server");
    server.args(["--port", &redis, "--bind", "::1", "--save", ""]).stdout(Stdio::null());
    let server = RedisV6(server.spawn().unwrap());
    let tested = std::panic::catch_unwind(|| {
        let mut mesh = Mesh::named("ipv6");
        mesh.set("FOREBAY__KAFKA__BROKERS", format!("[::1]:{kafka_v6}"));
        mesh.set("FOREBAY__REDIS__URL", format!("redis://[::1]:{redis}"));
        mesh.set("FOREBAY__REDIS__TIMEOUT", "5s");
        mesh.create_topics();
        let http: std::net::SocketAddr = format!("[::1]:{}", free_address().port()).parse().unwrap();
        let (http_text, mut services) = (http.to_string(), Vec::new());
        for stage in STAGES {
            let more = [("FOREBAY__HTTP__LISTEN", http_text.as_str())];
            services.push(mesh.start_with(stage, if stage == "ingestion" { &more[..] } else { &[] }));
        }
        wait_all(&mut services);
        let reply = http::predict(http, &[], format!(r#"{{"features":{}}}"#, row(5))).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        wait_until(SOON, "the answer in Redis", || {
            services[2].metric("forebay_cache_stored_total", &["level=\"redis\""]) == 1.0
        });
        stop_all(services);
    });
    drop(server);
    native_with(&["down", "kafka"], &own);
    tested.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
