//! What clients of other makes write: compressed records, and such as grow when they are read.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::time::Duration;

use harness::topic::{self, Reader};
use harness::{Mesh, Service, brokers, row, stop_all, wait_all, wait_until};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message as _};

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

/// Writes `payloads` to partition 0 as one batch of this codec, however large they are; the outcome of the first.
fn write_batch<'a>(
    codec: &str,
    topic: &str,
    payloads: impl Iterator<Item = &'a [u8]>,
) -> Result<(i32, i64), KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("compression.type", codec).set("linger.ms", "2000");
    config.set("message.max.bytes", "1000000000").set("batch.size", "1000000000").set("message.timeout.ms", "40000");
    config.set("batch.num.messages", "1000000").set("queue.buffering.max.messages", "1100000");
    let producer: BaseProducer<Outcomes> = config.create_with_context(Outcomes::default()).unwrap();
    for payload in payloads {
        producer
            .send(BaseRecord::<(), [u8]>::to(topic).partition(0).payload(payload))
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
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
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
