//! The separate form against a real broker: results outside, and what a successor knows of its predecessor's.
#![cfg(test)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix_rt::System;
use forebay_bus::kafka::{Edges, OutRecord, Tail, TailSpec, read_since};
use forebay_bus::{Ack, BusSettings, Outlet, SchemaSettings};
use forebay_contract::edges::{EDGES, RESULTS};
use forebay_contract::wire::KafkaOrigin;
use forebay_contract::{Item, Origin, Outcome, RequestId, now_us};
use forebay_publishing::kafka_results::{ORIGIN_HEADER, REQUEST_ID_HEADER, parse_request_id_header, request_id_header};
use forebay_publishing::settings::{ErrorResults, ResultFormat, ResultSettings, Settings, TimestampFormat};
use forebay_publishing::system::run;
use forebay_runtime::{Drain, Host};
use forebay_testkit::{answer, kafka, results as batch, settings, wait_until_async};

const LONG: Duration = Duration::from_secs(60);

fn process(brokers: &str, run: &RequestId) -> (BusSettings, Host) {
    let mut flags = vec![format!("kafka.brokers={brokers}"), "kafka.create_topics=true".to_owned()];
    for edge in EDGES {
        flags.push(format!("topics.{}=test-{run}-{}", edge.topic.setting, edge.topic.setting));
    }
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let sources = settings(&[]).flags(&flags);
    (sources.bus(), sources.host())
}

/// How often each item was answered outside.
fn answered(edges: &Edges, topic: &str) -> BTreeMap<(RequestId, u32), usize> {
    let mut seen = BTreeMap::new();
    let see = |record: &forebay_bus::kafka::RawRecord| {
        let item = parse_request_id_header(record.header(REQUEST_ID_HEADER).unwrap()).unwrap();
        *seen.entry((item.request_id, item.row)).or_default() += 1;
    };
    // a topic that was made a moment ago has no leader yet
    if read_since(edges.client(), topic, &[], 0, LONG, see).is_err() {
        seen.clear();
    }
    seen
}

fn items(requests: &[RequestId]) -> Vec<Item<Outcome>> {
    requests.iter().map(|request| kafka(*request).item(answer(1.0))).collect()
}

fn send(outlet: &Outlet<Outcome>, requests: &[RequestId]) {
    requests.chunks(50).for_each(|requests| outlet.send(batch(items(requests)), Ack::none()));
}

fn publishing(window_capacity: usize) -> Settings {
    Settings {
        results: ResultSettings {
            transactions: false,
            format: ResultFormat::Json,
            schema_id: 0,
            transaction_interval: Duration::from_millis(10),
            errors: ErrorResults::Send,
            also_http: false,
            window_capacity,
            idempotent_answers: 10,
            idempotent_memory: 1 << 20,
            timestamp: TimestampFormat::Auto,
        },
        schemas: SchemaSettings::default(),
    }
}

#[test]
#[ignore = "needs a broker: FOREBAY_TEST_KAFKA=localhost:9092"]
#[expect(clippy::disallowed_methods, reason = "the address of a test's broker is not a setting")]
fn copies_are_answered_once_across_a_take_over() {
    let brokers = std::env::var("FOREBAY_TEST_KAFKA").unwrap();
    let (bus, host) = process(&brokers, &RequestId::random());
    let names = host.settings().topics.clone();
    System::new().block_on(async {
        let feeder = Edges::open(&host, &bus, "prediction").unwrap();
        let outlet = feeder.outlet(&RESULTS);
        wait_until_async(LONG, "partitions", async || feeder.partitions(&names.results) == Some(4)).await;
        let results = || publishing(10_000);
        let requests: Vec<_> = (0..300).map(|_| RequestId::random()).collect();
        let first = run((bus.clone(), results()), host.clone()).await.unwrap();
        send(&outlet, &requests);
        send(&outlet, &requests);
        wait_until_async(LONG, "300 results", async || answered(&feeder, &names.results_out).len() == 300).await;
        first.drain().await;
        let second = run((bus.clone(), results()), host.clone()).await.unwrap();
        send(&outlet, &requests);
        let last = RequestId::random();
        send(&outlet, &[last]);
        wait_until_async(LONG, "the last result", async || {
            answered(&feeder, &names.results_out).contains_key(&(last, 0))
        })
        .await;
        second.drain().await;
        let answered = answered(&feeder, &names.results_out);
        assert_eq!(answered.len(), 301);
        assert!(answered.values().all(|times| *times == 1), "answered more than once: {answered:?}");
        feeder.drain().await;
    });
}

/// The next offset of a partition.
fn end(edges: &Edges, topic: &str, partition: u32) -> u64 {
    let spec = TailSpec {
        topic,
        partitions: &[partition],
        since_ms: i64::MAX,
        until: &[],
        before: 0,
        await_transactions: false,
    };
    Tail::open(edges.client(), spec).map_or(0, |tail| tail.ranges()[0].end)
}

/// A request of ten minutes ago, by its number.
fn old(number: u64) -> Item<Outcome> {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    let accepted_us = now_us() - 600_000_000;
    let origin = Origin::Kafka(KafkaOrigin {
        partition: 0,
        offset: number,
        timestamp_ms: (accepted_us / 1000) as i64,
        ..KafkaOrigin::default()
    });
    let context = kafka(RequestId(id)).accepted_us(accepted_us).timeout(Duration::from_secs(3_600));
    context.origin(origin).result_partition(0).item(answer(1.0))
}

/// 100,000 outcomes on one partition, every second of which was answered before, with fresh ones on another.
#[test]
#[ignore = "needs a broker: FOREBAY_TEST_KAFKA=localhost:9092"]
#[expect(clippy::disallowed_methods, reason = "the address of a test's broker is not a setting")]
fn a_hundred_thousand_old_outcomes_are_judged_in_time_and_fresh_ones_pass() {
    const OLD: u64 = 100_000;
    let brokers = std::env::var("FOREBAY_TEST_KAFKA").unwrap();
    let (bus, host) = process(&brokers, &RequestId::random());
    let names = host.settings().topics.clone();
    System::new().block_on(async {
        let feeder = Edges::open(&host, &bus, "prediction").unwrap();
        let outlet = feeder.outlet(&RESULTS);
        let known =
            async || feeder.partitions(&names.results) == Some(4) && feeder.partitions(&names.results_out) == Some(4);
        wait_until_async(LONG, "partitions", known).await;
        for number in (0..OLD).step_by(2) {
            let id = request_id_header(old(number).context.item()).to_vec();
            let headers =
                vec![(REQUEST_ID_HEADER.into(), id), (ORIGIN_HEADER.into(), format!("kafka:0:{number}").into_bytes())];
            let topic = names.results_out.as_str().into();
            let record = OutRecord { topic, partition: Some(0), key: None, payload: b"{}".to_vec(), headers };
            feeder.records().send(record, Ack::none());
        }
        wait_until_async(LONG, "the earlier answers", async || {
            answered(&feeder, &names.results_out).len() == OLD as usize / 2
        })
        .await;
        let stage = run((bus.clone(), publishing(1_000_000)), host.clone()).await.unwrap();
        // the partitions are assigned, and their results read
        let warm: Vec<_> = (0..4).map(|_| RequestId::random()).collect();
        for (partition, request) in (0..).zip(&warm) {
            outlet.send(batch(vec![kafka(*request).result_partition(partition).item(answer(1.0))]), Ack::none());
        }
        wait_until_async(LONG, "the first results", async || {
            let answered = answered(&feeder, &names.results_out);
            warm.iter().all(|request| answered.contains_key(&(*request, 0)))
        })
        .await;
        let began = Instant::now();
        let backlog = outlet.clone();
        let sender = std::thread::spawn(move || {
            for first in (0..OLD).step_by(250) {
                backlog.send(batch((first..first + 250).map(old).collect()), Ack::none());
            }
        });
        let (mut slowest, mut fresh) = (Duration::ZERO, 0);
        // one partition has what was there, what is new among the old, and the first result
        while end(&feeder, &names.results_out, 0) < OLD + 1 {
            assert!(began.elapsed() < Duration::from_secs(60), "not judged within a minute");
            let sent = Instant::now();
            let before = end(&feeder, &names.results_out, 1);
            outlet.send(batch(vec![kafka(RequestId::random()).result_partition(1).item(answer(1.0))]), Ack::none());
            wait_until_async(LONG, "a fresh result", async || end(&feeder, &names.results_out, 1) > before).await;
            slowest = slowest.max(sent.elapsed());
            fresh += 1;
        }
        sender.join().unwrap();
        println!("{OLD} old outcomes judged in {:?}; {fresh} fresh ones, the slowest in {slowest:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(30));
        assert!(slowest < Duration::from_secs(10), "a fresh result took {slowest:?}");
        stage.drain().await;
        let answered = answered(&feeder, &names.results_out);
        assert!(answered.values().all(|times| *times == 1), "answered more than once");
        feeder.drain().await;
    });
}

/// The first records of topics that were made a moment ago, sent one by one.
#[test]
#[ignore = "needs a broker: FOREBAY_TEST_KAFKA=localhost:9092"]
#[expect(clippy::disallowed_methods, reason = "the address of a test's broker is not a setting")]
fn the_first_records_of_new_topics_all_stand() {
    const RECORDS: usize = 40;
    let brokers = std::env::var("FOREBAY_TEST_KAFKA").unwrap();
    for _ in 0..10 {
        let (bus, host) = process(&brokers, &RequestId::random());
        let topic = host.settings().topics.results_out.clone();
        System::new().block_on(async {
            let feeder = Edges::open(&host, &bus, "prediction").unwrap();
            let records = feeder.records();
            wait_until_async(LONG, "partitions", async || feeder.partitions(&topic) == Some(4)).await;
            for number in 0..RECORDS {
                let headers =
                    vec![(REQUEST_ID_HEADER.into(), request_id_header(old(number as u64).context.item()).to_vec())];
                let partition = Some(number as u32 % 4);
                let record =
                    OutRecord { topic: topic.as_str().into(), partition, key: None, payload: b"{}".to_vec(), headers };
                records.send(record, Ack::none());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            wait_until_async(LONG, "all records", async || answered(&feeder, &topic).len() == RECORDS).await;
            assert!(!host.lifecycle().is_draining(), "the producer has given up");
            feeder.drain().await;
        });
    }
}
