//! The separate form over a real Kafka: `FOREBAY_TEST_KAFKA=localhost:9092 cargo test -p forebay-caching --test kafka
//! --
//! --ignored`. The topics are the test's own.
#![cfg(test)]

mod bench;

use std::time::{Duration, Instant};

use bench::{Ended, LONG, features, item, value};
use bytes::Bytes;
use forebay_bus::kafka::Edges;
use forebay_bus::{AckOutcome, BusSettings};
use forebay_caching::{DEFAULTS, Settings, system};
use forebay_contract::edges::{FEATURES, PREDICT, PREDICTIONS, RESULTS};
use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{Batch, Features, Item, Outcome, Prediction, RequestId};
use forebay_runtime::{Drain, Host};
use forebay_testkit::{probe, settings};
use tokio::sync::mpsc::UnboundedReceiver;

fn process(topics: &str) -> ((BusSettings, Settings), Host) {
    let brokers = std::env::var_os("FOREBAY_TEST_KAFKA").unwrap_or_else(|| "localhost:9092".into());
    let mut flags = vec![format!("kafka.brokers={}", brokers.to_string_lossy())];
    flags.extend(["kafka.create_topics=true".into(), "kafka.partitions=2".into(), "delivery.drain=5s".into()]);
    for edge in forebay_contract::edges::EDGES {
        flags.push(format!("topics.{}={topics}.{}", edge.topic.setting, edge.topic.setting));
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let sources = settings(&[forebay_redis::DEFAULTS, DEFAULTS]).flags(&flags);
    ((sources.bus(), sources.read(Settings::read).unwrap()), sources.host())
}

async fn next<P>(batches: &mut UnboundedReceiver<Batch<P>>) -> Vec<Item<P>> {
    tokio::time::timeout(LONG * 3, batches.recv()).await.expect("nothing arrives").unwrap().items
}

fn cached(item: &Item<Outcome>) -> f64 {
    match item.payload.result.as_ref().unwrap() {
        Answered::Answer(answer) if answer.cached => answer.score.as_ref().unwrap().value,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs a real Kafka: FOREBAY_TEST_KAFKA"]
fn one_of_equal_requests_is_predicted_and_the_prediction_serves_the_others() {
    actix_rt::System::new().block_on(async {
        let topics = format!("caching-test-{}", RequestId::random());
        let (settings, host) = process(&topics);
        let caching = system::run(settings, host).await.unwrap();

        let ((bus, _), host) = process(&topics);
        let mut edges = Edges::open(&host, &bus, "test").unwrap();
        let names = &host.settings().topics;
        let (inlet, mut predicted) = probe::acking_inlet::<Features>();
        edges.consume(&PREDICT, inlet).unwrap();
        let (inlet, mut answered) = probe::acking_inlet::<Outcome>();
        edges.consume(&RESULTS, inlet).unwrap();
        let outlet = edges.outlet(&FEATURES);
        let predictions = edges.outlet(&PREDICTIONS);
        let since = Instant::now();
        while edges.partitions(&names.features).is_none() || edges.partitions(&names.predictions).is_none() {
            assert!(since.elapsed() < LONG, "no topics");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        let send = |items: Vec<Item<Features>>| {
            let (ack, ended) = Ended::new();
            outlet.send(Batch { batch_partition: 1, stages: Vec::new(), items }, ack);
            ended
        };
        // A waiter's timeout is shorter than a real broker's first round trip, so the requests are repeated until one
        // is in time.
        let mut key = 0;
        loop {
            key += 1;
            send((0..3).map(|_| item(features(key))).collect()).expect(AckOutcome::Done).await;
            assert_eq!(next(&mut predicted).await.len(), 1);
            let said = Prediction {
                key: Bytes::copy_from_slice(&[key; 32]),
                version: 3,
                score: Some(value(5.0)),
                failure: None,
                model: "m".into(),
            };
            let items = vec![item(features(key)).with(said)];
            let (ack, _) = Ended::new();
            predictions.send(Batch { batch_partition: 1, stages: Vec::new(), items }, ack);
            let served = tokio::select! {
                items = next(&mut answered) => Some(items),
                items = next(&mut predicted) => { assert_eq!(items.len(), 2); None }
            };
            if let Some(items) = served {
                assert_eq!(items.iter().map(cached).collect::<Vec<_>>(), [5.0, 5.0]);
                break;
            }
            assert!(key < 20, "waiters are never served in time");
        }
        send(vec![item(features(key))]).expect(AckOutcome::Done).await;
        let items = next(&mut answered).await;
        assert_eq!(items.iter().map(cached).collect::<Vec<_>>(), [5.0]);

        let since = Instant::now();
        caching.drain().await;
        edges.drain().await;
        assert!(since.elapsed() < LONG, "drained in {:?}", since.elapsed());
    });
}
