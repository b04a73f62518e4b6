//! The stage between probes: what goes out for what comes in, and when deliveries are acked.
#![cfg(test)]

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use actix_rt::{Arbiter, System};
use forebay_bus::amqp::{Answer, Target};
use forebay_bus::kafka::{OutRecord, TransactionAcks};
use forebay_bus::{Ack, AckOutcome, Delivery, SchemaSettings};
use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{Batch, ErrorCode, Item, KafkaOrigin, Origin, Outcome, RecordHeader, RequestId, now_us};
use forebay_publishing::amqp_results::AmqpReplies;
use forebay_publishing::kafka_results::{
    ORIGIN_HEADER, REQUEST_ID_HEADER, ResultTopic, TRACE_HEADER, request_id_header,
};
use forebay_publishing::result_log::ResultHistory;
use forebay_publishing::settings::{ErrorResults, ResultFormat, ResultSettings, Settings, TimestampFormat};
use forebay_publishing::system::{Outlets, PublishingStage, stage};
use forebay_runtime::Host;
use forebay_testkit::{amqp, answer, failure, http, kafka, probe, results as batch, settings, wait_until};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(10);
const REQUEST: RequestId = RequestId([1; 16]);
const OTHER: RequestId = RequestId([2; 16]);
const LAST: RequestId = RequestId([9; 16]);

/// The stage, and what it sends.
struct Bench {
    stage: PublishingStage,
    host: Host,
    records: Receiver<(OutRecord, Ack)>,
    replies: Receiver<(Batch<Outcome>, Ack)>,
    arbiter: Arbiter,
    _system: actix_rt::SystemRunner,
}

type Report = Receiver<AckOutcome>;

fn defaults() -> ResultSettings {
    ResultSettings {
        errors: ErrorResults::Send,
        also_http: false,
        transactions: false,
        format: ResultFormat::Json,
        schema_id: 0,
        transaction_interval: Duration::from_millis(10),
        window_capacity: 1000,
        idempotent_answers: 100,
        idempotent_memory: 1 << 20,
        timestamp: TimestampFormat::Auto,
    }
}

fn bench(results: ResultSettings, flags: &[&str]) -> Bench {
    bench_with(results, flags, None)
}

fn bench_with(results: ResultSettings, flags: &[&str], amqp: Option<AmqpReplies>) -> Bench {
    bench_of(results, flags, amqp, None)
}

fn bench_of(
    results: ResultSettings,
    flags: &[&str],
    amqp: Option<AmqpReplies>,
    history: Option<ResultHistory>,
) -> Bench {
    let system = System::new();
    let arbiter = Arbiter::new();
    let sources = settings(&[]).flags(flags);
    let host = sources.host();
    let (record, records) = channel();
    let (reply, replies) = probe::outlet();
    let send = move |out, ack, _| drop(record.send((out, ack)));
    let outlets = Outlets {
        result_topic: Some(ResultTopic::new("inference-results", |_| Some(4), send)),
        history,
        amqp_replies: amqp,
        replies: reply,
    };
    let stage = stage(
        &Settings { results, schemas: SchemaSettings::default() },
        &sources.bus(),
        &host,
        &arbiter.handle(),
        outlets,
    );
    Bench { stage, host, records, replies, arbiter, _system: system }
}

impl Bench {
    fn deliver(&self, items: Vec<Item<Outcome>>) -> Report {
        let (ack, report) = probe::ack();
        self.stage.inlet.deliver(Delivery { payload: batch(items), ack });
        report
    }

    fn record(&self) -> (Value, OutRecord, Ack) {
        let (record, ack) = self.records.recv_timeout(LONG).unwrap();
        (serde_json::from_slice(&record.payload).unwrap(), record, ack)
    }

    fn reply(&self) -> (Batch<Outcome>, Ack) {
        self.replies.recv_timeout(LONG).unwrap()
    }

    /// The actor works in order: when this has passed, everything before it was handled.
    fn nothing_more_was_sent(&self) {
        let last = self.deliver(vec![kafka(LAST).client_request_id("last").item(answer(0.0))]);
        let (json, _, ack) = self.record();
        assert_eq!(json["request_id"], "last", "sent before: {json}");
        ack.ack();
        done(&last);
        assert!(self.replies.try_recv().is_err());
    }

    fn metric(&self, line: &str) -> bool {
        self.host.metrics().encode().unwrap().lines().any(|it| it == line)
    }
}

fn done(report: &Report) {
    assert_eq!(report.recv_timeout(LONG), Ok(AckOutcome::Done));
}

fn value_of(item: &Item<Outcome>) -> f64 {
    match &item.payload.result {
        Some(Answered::Answer(answer)) => answer.score.as_ref().unwrap().value,
        other => panic!("no answer: {other:?}"),
    }
}

fn code_of(item: &Item<Outcome>) -> &str {
    match &item.payload.result {
        Some(Answered::Failure(failure)) => &failure.code,
        other => panic!("no failure: {other:?}"),
    }
}

#[test]
fn a_kafka_request_becomes_a_record_and_is_acked_by_its_report() {
    let bench = bench(defaults(), &[]);
    let mut item = kafka(REQUEST).client_request_id("req_1").sampled().item(answer(150.0));
    item.parent_span = 0xABCD;
    let id = item.context.item();
    let report = bench.deliver(vec![item]);
    let (json, record, ack) = bench.record();
    assert_eq!(json["prediction"], 150.0);
    assert_eq!(json["request_id"], "req_1");
    assert_eq!((&*record.topic, record.partition, &record.key), ("inference-results", Some(5 % 4), &None));
    let header = |name| record.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_slice());
    assert_eq!(header(REQUEST_ID_HEADER), Some(&request_id_header(id)[..]));
    assert_eq!(header(ORIGIN_HEADER), Some(&b"kafka:3:77"[..]));
    let traceparent = format!("00-{}-000000000000abcd-01", "07".repeat(16));
    assert_eq!(header(TRACE_HEADER), Some(traceparent.as_bytes()));
    assert!(report.try_recv().is_err(), "acked before the delivery report");
    ack.ack();
    done(&report);
    assert!(bench.metric("inference_latency_seconds_count 1"));
}

#[test]
fn a_result_has_what_was_propagated_of_its_request() {
    let bench = bench(defaults(), &[]);
    let named = |name: &str| RecordHeader { name: name.into(), value: b"7"[..].into() };
    let headers = vec![named("kafka_correlationId"), named(REQUEST_ID_HEADER), named("kafka_correlationId")];
    let origin = Origin::Kafka(KafkaOrigin { key: Some(b"alice"[..].into()), headers, ..KafkaOrigin::default() });
    let report = bench.deliver(vec![kafka(REQUEST).origin(origin).item(answer(1.0))]);
    let (_, record, ack) = bench.record();
    assert_eq!(record.key.as_deref(), Some(&b"alice"[..]));
    let values = |name| record.headers.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.len()).collect();
    let (correlations, ids): (Vec<usize>, Vec<usize>) = (values("kafka_correlationId"), values(REQUEST_ID_HEADER));
    assert_eq!((correlations, ids), (vec![1, 1], vec![20]), "the service's own headers are not replaced");
    ack.ack();
    done(&report);
}

#[test]
fn a_copy_waits_for_the_first_report_and_is_then_silent() {
    let bench = bench(defaults(), &[]);
    let item = || kafka(REQUEST).item(answer(1.0));
    let first = bench.deliver(vec![item()]);
    let second = bench.deliver(vec![item(), item()]);
    let other = bench.deliver(vec![kafka(OTHER).item(answer(2.0))]);
    let (json, _, ack) = bench.record();
    assert_eq!(json["prediction"], 1.0);
    let (json, _, other_ack) = bench.record();
    assert_eq!(json["prediction"], 2.0, "the copies were sent");
    other_ack.ack();
    done(&other);
    assert!(second.try_recv().is_err(), "a copy was acked before the first was safe");
    ack.ack();
    done(&first);
    done(&second);
    done(&bench.deliver(vec![item()]));
    bench.nothing_more_was_sent();
    assert!(bench.metric("forebay_stage_duplicates_total{stage=\"publishing\"} 3"));
}

#[test]
fn a_failed_report_nacks_the_first_and_lets_the_next_copy_through() {
    let bench = bench(defaults(), &[]);
    let first = bench.deliver(vec![kafka(REQUEST).item(answer(1.0))]);
    let (_, _, ack) = bench.record();
    let second = bench.deliver(vec![kafka(REQUEST).item(answer(1.0))]);
    let third = bench.deliver(vec![kafka(REQUEST).item(answer(1.0))]);
    ack.nack();
    assert_eq!(first.recv_timeout(LONG), Ok(AckOutcome::Failed));
    let (_, _, ack) = bench.record();
    assert!(second.try_recv().is_err() && third.try_recv().is_err());
    ack.ack();
    done(&second);
    done(&third);
    bench.nothing_more_was_sent();
}

#[test]
fn a_delivery_is_done_when_all_its_items_are() {
    let bench = bench(defaults(), &[]);
    let report =
        bench.deliver(vec![kafka(REQUEST).row(0, 2).item(answer(1.0)), kafka(REQUEST).row(1, 2).item(answer(2.0))]);
    let (one, _, first) = bench.record();
    let (two, _, second) = bench.record();
    assert_eq!((&one["row"], &two["row"]), (&0.into(), &1.into()));
    first.ack();
    assert!(report.try_recv().is_err());
    second.nack();
    assert_eq!(report.recv_timeout(LONG), Ok(AckOutcome::Failed));
    // read again: the row that arrived is silent, the other one is sent
    let again =
        bench.deliver(vec![kafka(REQUEST).row(0, 2).item(answer(1.0)), kafka(REQUEST).row(1, 2).item(answer(2.0))]);
    let (json, _, ack) = bench.record();
    assert_eq!(json["row"], 1);
    ack.ack();
    done(&again);
    bench.nothing_more_was_sent();
}

#[test]
fn http_callers_are_replied_to_in_one_batch_and_replays_are_silent() {
    let bench = bench(defaults(), &[]);
    let items = || vec![http(REQUEST, 1).row(0, 2).item(answer(1.0)), http(REQUEST, 1).row(1, 2).item(answer(2.0))];
    let report = bench.deliver(items());
    let (batch, ack) = bench.reply();
    assert_eq!(batch.items.iter().map(value_of).collect::<Vec<_>>(), [1.0, 2.0]);
    assert_eq!(batch.stages.len(), 3);
    assert!(batch.stages.iter().all(|time| time.left_us >= time.entered_us && time.left_us > 0));
    assert!(report.try_recv().is_err());
    ack.ack();
    done(&report);
    done(&bench.deliver(items()));
    bench.nothing_more_was_sent();
}

#[test]
fn results_of_http_requests_go_outside_as_well_when_so_set() {
    let bench = bench(ResultSettings { also_http: true, ..defaults() }, &[]);
    let report = bench.deliver(vec![http(REQUEST, 1).item(answer(1.0))]);
    let (json, record, recorded) = bench.record();
    assert_eq!(json["prediction"], 1.0);
    assert!(record.headers.contains(&(ORIGIN_HEADER.into(), b"http".to_vec())));
    let (_, replied) = bench.reply();
    replied.ack();
    assert!(report.try_recv().is_err(), "done before the record was");
    recorded.ack();
    done(&report);
}

#[test]
fn the_same_key_and_payload_get_the_same_answer_and_nothing_new_goes_outside() {
    let bench = bench(ResultSettings { also_http: true, ..defaults() }, &[]);
    let first = bench.deliver(vec![http(REQUEST, 1).idempotent([7; 16]).item(answer(1.0))]);
    let (_, recorded) = bench.records.recv_timeout(LONG).unwrap();
    let (_, replied) = bench.reply();
    let early = bench.deliver(vec![http(REQUEST, 2).idempotent([7; 16]).item(answer(5.0))]);
    recorded.ack();
    replied.ack();
    done(&first);
    let (batch, ack) = bench.reply();
    assert_eq!(value_of(&batch.items[0]), 1.0, "the one that waited");
    assert_eq!(batch.items[0].context.reply_partition(), Some(2));
    ack.ack();
    done(&early);
    let late = bench.deliver(vec![http(REQUEST, 3).idempotent([7; 16]).item(answer(6.0))]);
    let (batch, ack) = bench.reply();
    assert_eq!(value_of(&batch.items[0]), 1.0);
    assert_eq!(batch.items[0].context.reply_partition(), Some(3));
    ack.ack();
    done(&late);
    bench.nothing_more_was_sent();
    assert!(bench.metric("forebay_publishing_answered_again_total 2"));
}

#[test]
fn the_same_key_with_another_payload_is_a_conflict() {
    let bench = bench(defaults(), &[]);
    let first = bench.deliver(vec![http(REQUEST, 1).idempotent([7; 16]).item(answer(1.0))]);
    let (_, ack) = bench.reply();
    // before and after the first is settled, and for a row the first request did not have
    for (row, settled) in [(0, None), (1, Some(ack))] {
        if let Some(ack) = settled {
            ack.ack();
            done(&first);
        }
        let other = bench.deliver(vec![http(REQUEST, 2).row(row, 2).idempotent([8; 16]).item(answer(2.0))]);
        let (batch, ack) = bench.reply();
        assert_eq!(code_of(&batch.items[0]), "idempotency_conflict");
        ack.ack();
        done(&other);
    }
    bench.nothing_more_was_sent();
}

#[test]
fn a_full_window_holds_intake_back_until_ids_go() {
    let bench = bench(ResultSettings { window_capacity: 2, ..defaults() }, &["delivery.dedupe_window=800ms"]);
    let numbered = |n: u8| kafka(RequestId([n; 16])).item(answer(f64::from(n)));
    let first = bench.deliver((1..=4).map(numbered).collect());
    let second = bench.deliver(vec![numbered(5)]);
    let start = Instant::now();
    for n in 1..=2 {
        let (json, _, ack) = bench.record();
        assert_eq!(json["prediction"], f64::from(n));
        ack.ack();
    }
    for n in 3..=5 {
        let (json, _, ack) = bench.record();
        assert_eq!(json["prediction"], f64::from(n), "out of order");
        assert!(start.elapsed() >= Duration::from_millis(800), "a live id was forgotten");
        ack.ack();
    }
    done(&first);
    done(&second);
}

#[test]
fn errors_can_be_kept_off_the_topic_but_not_from_callers() {
    let bench = bench(ResultSettings { errors: ErrorResults::Omit, ..defaults() }, &[]);
    let broken = || failure(ErrorCode::InvalidFeatures, "bmi is missing");
    done(&bench.deliver(vec![kafka(REQUEST).item(broken())]));
    let report = bench.deliver(vec![http(OTHER, 0).item(broken())]);
    let (batch, ack) = bench.reply();
    assert_eq!(code_of(&batch.items[0]), "invalid_features");
    ack.ack();
    done(&report);
    bench.nothing_more_was_sent();
    assert!(bench.metric("inference_errors_total 2"));
    assert!(bench.metric("forebay_publishing_omitted_total 1"));
}

#[test]
fn a_late_answer_is_an_error_and_a_late_error_keeps_its_code() {
    let bench = bench(defaults(), &[]);
    let long_ago = |request| kafka(request).accepted_us(now_us() - 61_000_000);
    let report = bench.deliver(vec![
        long_ago(REQUEST).item(answer(1.0)),
        long_ago(OTHER).item(failure(ErrorCode::UnknownModel, "no model x")),
    ]);
    for code in ["deadline_exceeded", "unknown_model"] {
        let (json, _, ack) = bench.record();
        assert_eq!((&json["prediction"], &json["error"]["code"]), (&Value::Null, &code.into()));
        ack.ack();
    }
    done(&report);
}

#[test]
fn without_an_outside_topic_kafka_results_are_done_and_replies_work() {
    let system = System::new();
    let arbiter = Arbiter::new();
    let (reply, replies) = probe::outlet();
    let outlets = Outlets { result_topic: None, history: None, amqp_replies: None, replies: reply };
    let (sources, settings) = (settings(&[]), Settings { results: defaults(), schemas: SchemaSettings::default() });
    let stage = stage(&settings, &sources.bus(), &sources.host(), &arbiter.handle(), outlets);
    let (ack, report) = probe::ack();
    let items = vec![kafka(REQUEST).item(answer(1.0)), http(OTHER, 0).item(answer(2.0))];
    stage.inlet.deliver(Delivery { payload: batch(items), ack });
    let (_, ack): (Batch<Outcome>, Ack) = replies.recv_timeout(LONG).unwrap();
    ack.ack();
    done(&report);
    drop(system);
}

/// A stage with RabbitMQ, and what it sends there.
fn with_amqp(results: ResultSettings, exchange: Option<&str>) -> (Bench, Receiver<(Answer, Ack)>) {
    let (answer, answers) = channel();
    let amqp = AmqpReplies::new(exchange, move |out, ack, _| drop(answer.send((out, ack))));
    (bench_with(results, &[], Some(amqp)), answers)
}

#[test]
fn an_amqp_request_is_answered_at_its_queue_and_done_with_the_confirm() {
    let (bench, answers) = with_amqp(defaults(), None);
    let report = bench.deliver(vec![amqp(REQUEST, "answers", "c1").client_request_id("r").item(answer(150.0))]);
    let (sent, ack) = answers.recv_timeout(LONG).unwrap();
    assert_eq!((&sent.target, sent.correlation_id.as_deref()), (&Target::ReplyTo("answers".into()), Some("c1")));
    assert_eq!(sent.message_id, format!("{REQUEST}-0"));
    let json: Value = serde_json::from_slice(&sent.payload).unwrap();
    assert_eq!((&json["prediction"], &json["request_id"]), (&150.0.into(), &"r".into()));
    assert!(report.try_recv().is_err(), "done before the confirm");
    ack.ack();
    done(&report);
    done(&bench.deliver(vec![amqp(REQUEST, "answers", "c1").item(answer(150.0))]));
    bench.nothing_more_was_sent();
    assert!(answers.try_recv().is_err(), "a copy was sent");
}

/// What a replica sends that takes over from one which was killed before it had committed what it sent.
#[test]
fn an_outcome_that_is_read_again_gives_the_same_bytes_even_after_its_deadline() {
    let deadline = Duration::from_millis(300);
    let items = vec![
        amqp(REQUEST, "answers", "c1").timeout(deadline).item(answer(1.0)),
        amqp(OTHER, "answers", "c2").timeout(deadline).item(failure(ErrorCode::UnknownModel, "no model x")),
        kafka(LAST).timeout(deadline).item(answer(2.0)),
    ];
    let outcomes = batch(items);
    let sent_by_a_new_replica = || {
        let (bench, answers) = with_amqp(defaults(), None);
        let (ack, report) = probe::ack();
        bench.stage.inlet.deliver(Delivery { payload: outcomes.clone(), ack });
        let replies = [(); 2].map(|()| {
            let (sent, ack) = answers.recv_timeout(LONG).unwrap();
            ack.ack();
            (sent.message_id, String::from_utf8(sent.payload).unwrap())
        });
        let (_, record, ack) = bench.record();
        ack.ack();
        done(&report);
        (replies, String::from_utf8(record.payload).unwrap())
    };
    let first = sent_by_a_new_replica();
    assert!(first.0[0].1.contains("\"prediction\":1.0") && first.1.contains("\"prediction\":2.0"), "{first:?}");
    std::thread::sleep(deadline);
    assert_eq!(sent_by_a_new_replica(), first);
}

#[test]
fn an_amqp_request_may_go_to_an_exchange_and_the_topic_as_well_and_waits_for_all() {
    let (bench, answers) = with_amqp(ResultSettings { also_http: true, ..defaults() }, Some("results"));
    let report = bench.deliver(vec![amqp(REQUEST, "answers", "").item(answer(1.0))]);
    let (json, record, recorded) = bench.record();
    assert_eq!(json["prediction"], 1.0);
    assert!(record.headers.contains(&(ORIGIN_HEADER.into(), b"amqp".to_vec())));
    let (first, replied) = answers.recv_timeout(LONG).unwrap();
    let (second, published) = answers.recv_timeout(LONG).unwrap();
    assert_eq!((first.target, second.target), (Target::ReplyTo("answers".into()), Target::Exchange));
    assert_eq!(first.correlation_id, None);
    recorded.ack();
    replied.ack();
    assert!(report.try_recv().is_err());
    published.nack();
    assert_eq!(report.recv_timeout(LONG), Ok(AckOutcome::Failed));
}

#[test]
fn an_amqp_request_that_names_no_queue_goes_to_the_topic() {
    let (bench, answers) = with_amqp(defaults(), None);
    let report = bench.deliver(vec![amqp(REQUEST, "", "c").item(answer(1.0))]);
    let (_, _, ack) = bench.record();
    ack.ack();
    done(&report);
    assert!(answers.try_recv().is_err());
}

#[test]
fn errors_kept_off_the_topic_reach_the_queue_that_waits_and_not_the_exchange() {
    let (bench, answers) = with_amqp(ResultSettings { errors: ErrorResults::Omit, ..defaults() }, Some("results"));
    let report = bench.deliver(vec![
        amqp(REQUEST, "answers", "c").item(failure(ErrorCode::InvalidFeatures, "bmi is missing")),
        amqp(OTHER, "", "").item(failure(ErrorCode::InvalidFeatures, "bmi is missing")),
    ]);
    let (sent, ack) = answers.recv_timeout(LONG).unwrap();
    assert_eq!(sent.target, Target::ReplyTo("answers".into()));
    let json: Value = serde_json::from_slice(&sent.payload).unwrap();
    assert_eq!(json["error"]["code"], "invalid_features");
    ack.ack();
    done(&report);
    assert!(answers.try_recv().is_err());
    bench.nothing_more_was_sent();
}

#[test]
fn in_a_transaction_the_outcome_is_done_before_the_commit_and_its_copies_after_it() {
    let system = System::new();
    let (arbiter, sources) = (Arbiter::new(), settings(&[]));
    let (record, records) = channel();
    let (reply, replies) = probe::outlet::<Outcome>();
    let send = move |out: OutRecord, acks: TransactionAcks, _| drop(record.send((out, acks)));
    let (reply_sent, answers) = channel();
    let amqp_replies = AmqpReplies::new(None, move |out, ack, _| drop(reply_sent.send((out, ack))));
    let outlets = Outlets {
        result_topic: Some(ResultTopic::transactional("inference-results", |_| Some(4), send)),
        history: None,
        amqp_replies: Some(amqp_replies),
        replies: reply,
    };
    let results = ResultSettings { also_http: true, ..defaults() };
    let stage = stage(
        &Settings { results, schemas: SchemaSettings::default() },
        &sources.bus(),
        &sources.host(),
        &arbiter.handle(),
        outlets,
    );
    let deliver = |items| {
        let (ack, report) = probe::ack();
        stage.inlet.deliver(Delivery { payload: batch(items), ack });
        report
    };
    let soon = Duration::from_millis(300);

    let first = deliver(vec![kafka(REQUEST).item(answer(1.0))]);
    let (_, TransactionAcks { written, committed }) = records.recv_timeout(LONG).unwrap();
    let copy = deliver(vec![kafka(REQUEST).item(answer(1.0))]);
    assert!(first.recv_timeout(soon).is_err(), "done before it was written");
    written.ack();
    done(&first);
    assert!(copy.recv_timeout(soon).is_err(), "a copy was done before the commit");
    committed.ack();
    done(&copy);

    // one that was not committed is sent again when its copy comes
    let lost = deliver(vec![kafka(OTHER).item(answer(2.0))]);
    drop(records.recv_timeout(LONG).unwrap().1);
    assert_eq!(lost.recv_timeout(LONG), Ok(AckOutcome::Failed));
    let again = deliver(vec![kafka(OTHER).item(answer(2.0))]);
    let (_, TransactionAcks { written, committed }) = records.recv_timeout(LONG).unwrap();
    written.ack();
    committed.ack();
    done(&again);

    // a reply over RabbitMQ or HTTP is no part of the transaction, but its offset waits for both
    let both = deliver(vec![amqp(LAST, "answers", "c").item(answer(3.0))]);
    let (_, TransactionAcks { written, committed }) = records.recv_timeout(LONG).unwrap();
    let (_, confirm) = answers.recv_timeout(LONG).unwrap();
    written.ack();
    committed.ack();
    assert!(both.recv_timeout(soon).is_err(), "done before the reply was confirmed");
    confirm.ack();
    done(&both);
    drop((replies, system));
}

/// How long the arbiter may stand still; idle, it beats once a second.
const STALL_AFTER: Duration = Duration::from_secs(3);

#[test]
fn a_blocked_arbiter_fails_liveness_and_an_idle_one_does_not() {
    let bench = bench(defaults(), &[]);
    let lifecycle = bench.host.lifecycle();
    lifecycle.watch_stalls(STALL_AFTER).unwrap();
    std::thread::sleep(STALL_AFTER + STALL_AFTER / 2);
    assert_eq!(lifecycle.stalled(), [""; 0], "an idle stage turns");

    // what a handler does that blocks
    let (open, gate) = channel::<()>();
    bench.arbiter.spawn_fn(move || _ = gate.recv());
    wait_until(LONG, "the stall", || lifecycle.stalled() == ["publisher"]);
    drop(open);
    wait_until(LONG, "the recovery", || lifecycle.is_alive());
}
