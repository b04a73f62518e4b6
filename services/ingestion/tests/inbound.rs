//! Kafka records, RabbitMQ messages and the batcher, between probes.
#![cfg(test)]

mod mesh;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use forebay_bus::amqp::AmqpMessage;
use forebay_bus::kafka::{RawBatch, RawRecord};
use forebay_bus::{Ack, AckOutcome, Delivery};
use forebay_contract::wire::outcome;
use forebay_contract::{AmqpOrigin, Origin, now_ms};
use forebay_testkit::probe;
use mesh::{Mesh, predict, until, within};
use tokio::sync::oneshot;

fn record(offset: u64, text: &str) -> RawRecord {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    RawRecord { payload, key: None, partition: 0, offset, timestamp_ms: now_ms(), headers: vec![] }
}

fn deliver(mesh: &Mesh, records: Vec<RawRecord>) -> oneshot::Receiver<AckOutcome> {
    let (ack, rx) = probe::async_ack();
    (mesh.stage.kafka)(Delivery { payload: RawBatch { records, ..RawBatch::default() }, ack });
    rx
}

#[actix_rt::test]
async fn a_large_delivery_leaves_in_full_batches_and_is_done_with_the_last_one() {
    let mut mesh = Mesh::start(&[]);
    let records = (0..600).map(|i| record(i, &format!(r#"{{"request_id":"{i}","features":[{i}]}}"#))).collect();
    let mut done = deliver(&mesh, records);
    let mut acks = Vec::new();
    let (mut sizes, mut partitions, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    while ids.len() < 600 {
        let (batch, ack) = mesh.arrived().await;
        sizes.push(batch.items.len());
        partitions.push(batch.batch_partition);
        ids.extend(batch.items.iter().map(|item| item.context.client_request_id().unwrap().parse::<u64>().unwrap()));
        acks.push(ack);
    }
    assert_eq!(sizes, [256, 256, 88]);
    assert_eq!(ids, (0..600).collect::<Vec<_>>());
    assert!(partitions.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 4), "{partitions:?}");
    let last = acks.pop().unwrap();
    acks.into_iter().for_each(Ack::ack);
    assert!(done.try_recv().is_err());
    last.ack();
    assert_eq!(within(done).await, Ok(AckOutcome::Done));
}

/// What a stage refused, by its client's id, and the code.
async fn refused(mesh: &mut Mesh) -> (String, String) {
    let (mut batch, ack) = within(mesh.results.recv()).await.unwrap();
    ack.ack();
    let item = batch.items.pop().unwrap();
    match item.payload.result {
        Some(outcome::Result::Failure(failure)) => (item.context.client_request_id().unwrap().to_owned(), failure.code),
        other => panic!("{other:?}"),
    }
}

#[actix_rt::test]
async fn rows_that_are_too_wide_are_refused_at_every_entrance() {
    let mut mesh = Mesh::start(&["ingestion.max_row_values=3"]);
    let wide = |id: &str| format!(r#"{{"request_id":"{id}","features":[1,2,3,4]}}"#);
    let done = deliver(&mesh, vec![record(0, &wide("kafka"))]);
    assert_eq!(refused(&mut mesh).await, ("kafka".to_owned(), "payload_too_large".to_owned()));
    assert_eq!(within(done).await, Ok(AckOutcome::Done));
    let (ack, _done) = probe::async_ack();
    (mesh.stage.amqp)(vec![AmqpMessage::new(Bytes::from(wide("rabbitmq")), ack)]);
    assert_eq!(refused(&mut mesh).await, ("rabbitmq".to_owned(), "payload_too_large".to_owned()));

    mesh.answer_all();
    let server = mesh.serve().address;
    for (width, status) in [(4, 413), (3, 200)] {
        let body = format!(r#"{{"features":[[1],[{}]]}}"#, vec!["1"; width].join(","));
        let answer = predict(server, &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(status == 200 || answer.body.contains("ingestion.max_row_values"), "{answer:?}");
    }
}

#[actix_rt::test]
async fn bad_records_do_not_touch_their_neighbours() {
    let mut mesh = Mesh::start(&[]);
    let records = vec![
        record(0, r#"{"request_id":"good","features":[1],"surplus":true}"#),
        record(1, r#"{"request_id":"typo","features":[[]]}"#),
        record(2, r#"{"request_id":"cut","features":[1"#),
        record(3, "\u{0}garbage"),
        record(4, ""),
    ];
    let done = deliver(&mesh, records);
    let (batch, requests_ack) = mesh.arrived().await;
    assert_eq!(batch.items.iter().map(|item| item.context.client_request_id()).collect::<Vec<_>>(), [Some("good")]);
    let (refused, results_ack) = within(mesh.results.recv()).await.unwrap();
    let codes: Vec<_> = refused
        .items
        .iter()
        .map(|item| match &item.payload.result {
            Some(outcome::Result::Failure(failure)) => {
                (item.context.client_request_id().unwrap(), failure.code.as_str())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, [("typo", "invalid_features"), ("cut", "invalid_request")]);
    assert_eq!(mesh.dead_letters.0.load(Ordering::SeqCst), 3);
    requests_ack.ack();
    results_ack.nack();
    assert_eq!(within(done).await, Ok(AckOutcome::Failed), "an unconfirmed error answer is not done");
}

#[actix_rt::test]
async fn each_row_of_a_record_is_an_item_and_the_record_is_done_with_the_last_one() {
    let mut mesh = Mesh::start(&["ingestion.max_record_rows=3"]);
    let rows = |id: &str, rows: &str| format!(r#"{{"request_id":"{id}","features":[{rows}]}}"#);
    let records = vec![record(7, &rows("three", "[1],[2],[3]")), record(8, &rows("four", "[1],[2],[3],[4]"))];
    let mut done = deliver(&mesh, records);
    assert_eq!(refused(&mut mesh).await, ("four".to_owned(), "payload_too_large".to_owned()));
    let (batch, ack) = mesh.arrived().await;
    let context = |at: usize| &batch.items[at].context;
    assert_eq!([0, 1, 2].map(|at| (context(at).row(), context(at).rows())), [(0, 3), (1, 3), (2, 3)]);
    assert!(batch.items.iter().all(|item| item.context.request_id() == context(0).request_id()));
    assert_eq!([0, 1, 2].map(|at| batch.items[at].payload.features[0]), [1.0, 2.0, 3.0]);
    assert!(done.try_recv().is_err());
    ack.ack();
    assert_eq!(within(done).await, Ok(AckOutcome::Done));
}

#[actix_rt::test]
async fn records_of_a_topic_may_be_for_one_model_and_have_their_columns_anywhere() {
    let columns = "ingestion.record_columns=amount=payment.amount,country";
    let mut mesh = Mesh::start(&["ingestion.record_model=fraud", columns]);
    let records = vec![
        record(1, r#"{"request_id":"r","payment":{"amount":9.5,"id":3},"country":"DE","other":[1,2]}"#),
        record(2, r#"{"model":"own","features":{"payment":{"amount":1},"country":null}}"#),
        record(3, r#"{"request_id":"bad","payment":[9.5]}"#),
    ];
    let done = deliver(&mesh, records);
    assert_eq!(refused(&mut mesh).await, ("bad".to_owned(), "invalid_request".to_owned()));
    let (batch, ack) = mesh.arrived().await;
    let of = |at: usize| {
        let forebay_contract::Request { model, names, .. } = &batch.items[at].payload;
        (model.as_str(), names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!([of(0), of(1)], [("fraud", vec!["amount", "country"]), ("own", vec!["amount", "country"])]);
    assert_eq!(batch.items[0].context.client_request_id(), Some("r"));
    assert_eq!(mesh.dead_letters.0.load(Ordering::SeqCst), 1);
    ack.ack();
    assert_eq!(within(done).await, Ok(AckOutcome::Done));
}

/// As in the replaced service, whose limit was 60 s: the default timeout. A replica that keeps up does not trust clocks.
#[actix_rt::test]
async fn a_record_of_a_backlog_has_the_time_that_its_age_leaves() {
    let mut mesh = Mesh::start(&["ingestion.batch_interval=1ms"]);
    let aged = |offset: u64, seconds: i64| {
        vec![RawRecord { timestamp_ms: now_ms() - seconds * 1000, ..record(offset, r#"{"features":[1]}"#) }]
    };
    let mut left = Vec::new();
    for (offset, seconds) in [(0, 3600), (1, 20), (2, 3600)] {
        drop(deliver(&mesh, aged(offset, seconds)));
        let context = mesh.items(1).await.remove(0).context;
        left.push(context.deadline_us().saturating_sub(context.accepted_us()).div_ceil(1_000_000));
    }
    assert_eq!(left, [0, 40, 60], "the third delivery in a row that was not full: it keeps up");
}

#[actix_rt::test]
async fn a_delivery_without_any_request_is_done_at_once() {
    let mesh = Mesh::start(&[]);
    assert_eq!(within(deliver(&mesh, vec![record(0, "{"), record(1, "x")])).await, Ok(AckOutcome::Done));
    assert_eq!(within(deliver(&mesh, vec![])).await, Ok(AckOutcome::Done));
    assert_eq!(mesh.dead_letters.0.load(Ordering::SeqCst), 2);
}

#[actix_rt::test]
async fn items_that_arrive_within_the_interval_leave_together() {
    let mut mesh = Mesh::start(&["ingestion.batch_interval=300ms"]);
    let one = |i: u64| vec![record(i, r#"{"features":[1]}"#)];
    drop(deliver(&mesh, one(0)));
    let (first, ack) = mesh.arrived().await;
    assert_eq!(first.items.len(), 1, "an idle batcher does not wait");
    ack.ack();
    for turn in 1..4 {
        drop(deliver(&mesh, one(turn)));
        let (saved, ack) = mesh.arrived().await;
        assert_eq!(saved.items.len(), 1, "an unused burst is kept");
        ack.ack();
    }
    let pending: Vec<_> = (4..9).map(|i| deliver(&mesh, one(i))).collect();
    let (second, ack) = mesh.arrived().await;
    assert_eq!(second.items.len(), 5);
    ack.ack();
    for done in pending {
        assert_eq!(within(done).await, Ok(AckOutcome::Done));
    }
    let stamps = |batch: &forebay_contract::Batch<_>| batch.stages[0];
    assert!(stamps(&second).left_us - stamps(&first).left_us >= 200_000);
}

fn message(text: &str, reply_to: Option<&str>) -> (AmqpMessage, oneshot::Receiver<AckOutcome>) {
    let (ack, rx) = probe::async_ack();
    let mut message = AmqpMessage::new(Bytes::copy_from_slice(text.as_bytes()), ack);
    message.reply_to = reply_to.map(str::to_owned);
    (message, rx)
}

#[actix_rt::test]
async fn each_message_is_done_when_its_own_work_is_confirmed() {
    let mut mesh = Mesh::start(&[]);
    let (good, mut good_done) = message(r#"{"request_id":"good","features":[1]}"#, Some("answers"));
    let (typo, mut typo_done) = message(r#"{"features":[[]]}"#, Some("answers"));
    let (garbage, mut garbage_done) = message("garbage", Some("answers"));
    let (anonymous, anonymous_done) = message("garbage", None);
    (mesh.stage.amqp)(vec![good, typo, garbage, anonymous]);
    let (batch, requests_ack) = mesh.arrived().await;
    let origin = AmqpOrigin { reply_to: "answers".into(), correlation_id: String::new() };
    assert_eq!(batch.items.len(), 1);
    assert_eq!(batch.items[0].context.origin(), Some(&Origin::Amqp(origin)));
    let (refused, results_ack) = within(mesh.results.recv()).await.unwrap();
    assert_eq!(refused.items.len(), 2, "a reply queue is answered, whatever was sent");
    assert_eq!(within(anonymous_done).await, Ok(AckOutcome::Done));
    assert_eq!(mesh.dead_letters.0.load(Ordering::SeqCst), 2);
    for done in [&mut good_done, &mut typo_done, &mut garbage_done] {
        assert!(done.try_recv().is_err(), "done before it was confirmed");
    }
    requests_ack.nack();
    assert_eq!(within(good_done).await, Ok(AckOutcome::Failed));
    results_ack.ack();
    assert_eq!((within(typo_done).await, within(garbage_done).await), (Ok(AckOutcome::Done), Ok(AckOutcome::Done)));
}

/// How long a loop may stand still; idle, it beats once a second.
const STALL_AFTER: Duration = Duration::from_secs(3);

#[actix_rt::test]
async fn a_blocked_arbiter_fails_liveness_and_an_idle_one_does_not() {
    let mesh = Mesh::start(&[]);
    let lifecycle = mesh.host.lifecycle();
    lifecycle.watch_stalls(STALL_AFTER).unwrap();
    let listener = mesh.serve();
    tokio::time::sleep(STALL_AFTER + STALL_AFTER / 2).await;
    assert_eq!(lifecycle.stalled(), [""; 0], "an idle stage turns");

    let open = mesh.block();
    until("the stall", async || lifecycle.stalled() == ["ingestion batcher", "ingestion ingester"]).await;
    drop(open);
    until("the recovery", async || lifecycle.is_alive()).await;

    listener.close(Duration::ZERO).await;
}
