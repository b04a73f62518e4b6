//! The separate form against a real broker: results outside, and what a successor knows of its predecessor's.
#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Duration;

use actix_rt::System;
use forebay_bus::kafka::{Edges, read_since};
use forebay_bus::{Ack, BusSettings, Outlet};
use forebay_contract::edges::{EDGES, RESULTS};
use forebay_contract::{Item, Outcome, RequestId};
use forebay_publishing::kafka_results::{REQUEST_ID_HEADER, parse_request_id_header};
use forebay_publishing::settings::{ErrorResults, ResultSettings, Settings, TimestampFormat};
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
        let results = || Settings {
            results: ResultSettings {
                errors: ErrorResults::Send,
                also_http: false,
                window_capacity: 10_000,
                idempotent_answers: 10,
                timestamp: TimestampFormat::Auto,
            },
        };
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
