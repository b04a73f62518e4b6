//! Deliveries, priorities, parking and deadlines, with models that fail on purpose.

use std::sync::mpsc::Receiver;

use bytes::Bytes;
use forebay_bus::{Ack, AckOutcome};
use forebay_contract::wire::outcome::Result as Wire;
use forebay_contract::{Item, Prediction, RequestId};
use forebay_testkit::{http, probe, settings};

use super::*;
use crate::fakes::{Behavior, FakeVersions, costly_versions, fake_versions, features, item};
use crate::loader_commands::LoaderCommand;
use crate::settings::Settings;
use crate::versions::VersionSlot;

struct Bench {
    work: Work,
    fake_versions: FakeVersions,
    results: Receiver<(Batch<Outcome>, Ack)>,
    predictions: Receiver<Batch<Prediction>>,
}

fn bench(flags: &[&str]) -> Bench {
    bench_of(flags, fake_versions(&[(1, 1), (2, 1), (3, 1)], 3))
}

fn bench_of(flags: &[&str], fake_versions: FakeVersions) -> Bench {
    let sources = settings(&[crate::DEFAULTS]).flags(flags);
    let section = sources.read(Settings::read).unwrap().prediction;
    let host = sources.host();
    let (results_out, results) = probe::outlet();
    let (predictions_out, predictions) = probe::acking_outlet();
    let outlets = Outlets { results: results_out, predictions: predictions_out, later: None };
    let scope = StageScope::new(&host, forebay_contract::Stage::Prediction, "forebay.predict");
    let work = Work::new(scope, Arc::clone(&fake_versions.versions), outlets, None, &section, 16);
    Bench { work, fake_versions, results, predictions }
}

impl Bench {
    fn deliver(&mut self, batch_partition: u32, items: Vec<Item<Features>>) -> Receiver<AckOutcome> {
        let (delivery, outcome) = probe::delivery(batch_partition, items);
        self.work.take(delivery);
        outcome
    }
}

fn answered(outcome: &Item<Outcome>) -> (f64, u32, &str, &str) {
    match &outcome.payload.result {
        Some(Wire::Answer(answer)) => {
            assert!(!answer.cached && answer.model == "m");
            (answer.score.as_ref().unwrap().value, answer.version, &answer.label, &answer.fallback_from)
        }
        other => panic!("{other:?}"),
    }
}

fn code(outcome: &Item<Outcome>) -> &str {
    match &outcome.payload.result {
        Some(Wire::Failure(failure)) => &failure.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delivery_of_mixed_versions_leaves_as_one_batch() {
    let mut bench = bench(&[]);
    let items = vec![item(1, "m", 1, &[0.5]), item(1, "m", 3, &[0.5]), item(1, "m", 1, &[0.25])];
    let requests: Vec<_> = items.iter().map(|it| it.context.request_id()).collect();
    let before = bench.fake_versions.calls(1);
    let acked = bench.deliver(5, items);
    assert!(!bench.work.turn());
    let (batch, ack) = bench.results.try_recv().unwrap();
    assert_eq!(bench.fake_versions.calls(1) - before, 1, "one call for both rows of version 1");
    assert_eq!(batch.batch_partition, 5);
    assert!(batch.stages.last().unwrap().left_us > 0);
    let mut answers: Vec<_> = batch
        .items
        .iter()
        .map(|it| (requests.iter().position(|id| *id == it.context.request_id()), answered(it)))
        .collect();
    answers.sort_by_key(|(index, _)| *index);
    assert_eq!(answers[0], (Some(0), (10.5, 1, "v1", "")));
    assert_eq!(answers[1], (Some(1), (30.5, 3, "v3", "")));
    assert_eq!(answers[2], (Some(2), (10.25, 1, "v1", "")));
    assert!(acked.try_recv().is_err(), "the ack belongs to the outlet");
    ack.ack();
    assert_eq!(acked.try_recv(), Ok(AckOutcome::Done));
    let predictions = bench.predictions.try_recv().unwrap();
    assert_eq!((predictions.batch_partition, predictions.items.len()), (5, 3));
    assert!(predictions.items.iter().all(|it| it.payload.score.is_some() && it.payload.key.len() == 32));
}

#[test]
fn a_fallback_answers_the_caller_and_fails_the_key() {
    let mut bench = bench(&[]);
    bench.fake_versions.set_behavior(1, Behavior::Panics);
    let mut pinned_for_another = item(1, "m", 1, &[0.5]);
    pinned_for_another.payload.fallback_from = "v9".into();
    let _acked = bench.deliver(0, vec![item(1, "m", 1, &[0.5]), pinned_for_another]);
    bench.work.turn();
    let (batch, ack) = bench.results.try_recv().unwrap();
    ack.ack();
    assert_eq!(answered(&batch.items[0]), (30.5, 3, "v3", "v1"));
    assert_eq!(answered(&batch.items[1]), (30.5, 3, "v3", "v9"), "what the client requested");
    let prediction = &bench.predictions.try_recv().unwrap().items[0].payload;
    assert_eq!((prediction.version, &prediction.score), (1, &None));
    assert_eq!(prediction.failure.as_ref().unwrap().message, "v3 answered in place of v1");
}

#[test]
fn a_score_of_other_content_than_the_key_s_answers_the_caller_and_fails_the_key() {
    let mut bench = bench(&[]);
    let item = |digest: &[u8]| {
        let mut item = item(1, "m", 1, &[0.5]);
        item.payload.digest = Bytes::copy_from_slice(digest);
        item
    };
    // the fake version's content digest is its number, repeated; an older build sends none
    let _acked = bench.deliver(0, vec![item(&[1; 16]), item(&[7; 16]), item(&[1; 8]), item(&[])]);
    bench.work.turn();
    let (batch, ack) = bench.results.try_recv().unwrap();
    ack.ack();
    assert!(batch.items.iter().all(|it| answered(it) == (10.5, 1, "v1", "")));
    let predictions = bench.predictions.try_recv().unwrap();
    let scored: Vec<bool> = predictions.items.iter().map(|it| it.payload.score.is_some()).collect();
    assert_eq!(scored, [true, false, false, true]);
    let failure = predictions.items[1].payload.failure.as_ref().unwrap();
    assert_eq!(failure.message, "v1 has other content here than where the row was prepared");
}

#[test]
fn with_no_version_left_the_outcome_and_the_prediction_are_failures() {
    let mut bench = bench(&[]);
    (1..=3).for_each(|version| bench.fake_versions.set_behavior(version, Behavior::Fails));
    let _acked = bench.deliver(0, vec![item(1, "m", 3, &[0.5])]);
    bench.work.turn();
    let (batch, ack) = bench.results.try_recv().unwrap();
    ack.ack();
    assert_eq!(code(&batch.items[0]), "model_unavailable");
    assert!(bench.predictions.try_recv().unwrap().items[0].payload.failure.is_some());
}

#[test]
fn urgent_rows_of_a_later_delivery_go_first_and_parts_leave_early() {
    let mut bench = bench(&["prediction.batch=2", "prediction.max_age=1h"]);
    let slow = bench.deliver(1, vec![item(5, "m", 3, &[1.0]), item(1, "m", 3, &[2.0]), item(5, "m", 3, &[3.0])]);
    let _fast = bench.deliver(2, vec![item(-1, "m", 3, &[4.0])]);
    assert!(bench.work.turn());
    let mut first: Vec<_> = bench.results.try_iter().collect();
    first.sort_by_key(|(batch, _)| batch.batch_partition);
    let values: Vec<_> = first.iter().map(|(batch, _)| (batch.batch_partition, answered(&batch.items[0]).0)).collect();
    assert_eq!(values, [(1, 32.0), (2, 34.0)]);
    assert!(!bench.work.turn());
    let (rest, last) = bench.results.try_recv().unwrap();
    assert_eq!(rest.items.iter().map(|it| answered(it).0).collect::<Vec<_>>(), [31.0, 33.0]);
    first.into_iter().for_each(|(_, ack)| ack.ack());
    assert!(slow.try_recv().is_err(), "not before its last part is safe");
    last.ack();
    assert_eq!(slow.try_recv(), Ok(AckOutcome::Done));
}

#[test]
fn rows_of_a_version_that_is_not_loaded_wait_for_it() {
    let mut bench = bench(&[]);
    let acked = bench.deliver(0, vec![item(1, "m", 7, &[0.5]), item(1, "m", 1, &[0.5])]);
    assert!(!bench.work.turn());
    let (batch, ack) = bench.results.try_recv().unwrap();
    assert_eq!(answered(&batch.items[0]).1, 1, "others do not wait");
    ack.ack();
    assert_eq!(bench.fake_versions.wanted.try_recv(), Ok(LoaderCommand::Load(("m".to_owned(), 7))));
    assert!(bench.work.is_parked() && acked.try_recv().is_err());
    let seven = fake_versions(&[(7, 1)], 7).versions.snapshot();
    let mut snapshot = (*bench.fake_versions.versions.snapshot()).clone();
    let slots = &mut snapshot.models.get_mut("m").unwrap().slots;
    slots.extend(seven.models["m"].slots.clone());
    bench.fake_versions.versions.replace(snapshot);
    assert!(bench.work.unpark());
    bench.work.turn();
    let (batch, ack) = bench.results.try_recv().unwrap();
    assert_eq!(answered(&batch.items[0]), (70.5, 7, "v7", ""));
    ack.ack();
    assert_eq!(acked.try_recv(), Ok(AckOutcome::Done));
}

#[test]
fn an_expired_delivery_is_answered_at_once() {
    let mut bench = bench(&[]);
    let late = Item { context: crate::fakes::late_context(), ..item(1, "m", 1, &[0.5]) };
    let acked = bench.deliver(0, vec![late]);
    bench.work.turn();
    let (batch, ack) = bench.results.try_recv().unwrap();
    assert_eq!(code(&batch.items[0]), "deadline_exceeded");
    ack.ack();
    assert_eq!(acked.try_recv(), Ok(AckOutcome::Done));
    assert_eq!(bench.fake_versions.calls(1), bench.fake_versions.calls(3), "nothing was computed");
}

#[test]
fn one_model_leaves_room_for_others() {
    let mut bench = bench(&["prediction.inline_row=0s"]);
    let caller = |model: &str| http(RequestId::random(), 0).item(features(model, 1, &[0.5]));
    let record = |model: &str| item(1, model, 1, &[0.5]);
    // 12 of the 16 rows are for one model
    let _first = bench.deliver(0, (0..12).map(|_| caller("m")).collect());
    while bench.work.turn() {}
    let _second = bench.deliver(0, vec![caller("m"), record("m"), caller("other"), caller("m")]);
    let (refused, ack) = bench.results.try_recv().unwrap();
    ack.ack();
    assert_eq!(refused.items.iter().map(code).collect::<Vec<_>>(), ["overloaded"; 2], "the record waits");
    while bench.work.turn() {}
    while let Some(group) = bench.work.next_slow() {
        let features: Vec<Features> = group.rows.iter().map(|row| row.item.payload.clone()).collect();
        let results = bench.work.inference().answer(&group.pinned, &features.iter().collect::<Vec<_>>());
        bench.work.settle(group, results, 0);
    }
    bench.work.flush();
    bench.results.try_iter().for_each(|(_, ack)| ack.ack());
    let _third = bench.deliver(0, (0..12).map(|_| caller("m")).collect());
    assert!(bench.results.try_recv().is_err(), "what was answered has left its place");
}

#[test]
fn where_there_are_lanes_records_above_the_share_of_a_model_come_back_later() {
    let mut bench = bench(&["prediction.inline_row=0s"]);
    let (later_out, later) = probe::outlet();
    bench.work.outlets.later = Some(later_out);
    let record = |model: &str| item(1, model, 1, &[0.5]);
    let _first = bench.deliver(0, (0..12).map(|_| record("m")).collect());
    let second = bench.deliver(3, vec![record("m")]);
    let (batch, ack) = later.try_recv().unwrap();
    assert_eq!((batch.batch_partition, batch.items.len(), batch.items[0].attempt), (3, 1, 1));
    assert_eq!(batch.items[0].payload.model, "m");
    // it has been put off once, and now waits for its turn whatever else does
    let third = bench.deliver(3, batch.items);
    assert!(later.try_recv().is_err());
    while bench.work.turn() {}
    while let Some(group) = bench.work.next_slow() {
        let features: Vec<Features> = group.rows.iter().map(|row| row.item.payload.clone()).collect();
        let results = bench.work.inference().answer(&group.pinned, &features.iter().collect::<Vec<_>>());
        bench.work.settle(group, results, 0);
    }
    bench.work.flush();
    bench.results.try_iter().for_each(|(_, ack)| ack.ack());
    assert_eq!(third.try_recv(), Ok(AckOutcome::Done));
    assert!(second.try_recv().is_err(), "not before the row that was put off is safe");
    ack.ack();
    assert_eq!(second.try_recv(), Ok(AckOutcome::Done));
}

#[test]
fn a_row_whose_time_is_over_costs_no_call() {
    let mut bench = bench(&["prediction.inline_row=0s"]);
    let soon = || forebay_testkit::context().accepted_us(now_us()).timeout(Duration::from_millis(30));
    let dying = |value| soon().item(features("m", 1, &[value]));
    let _acked = bench.deliver(0, vec![item(1, "m", 1, &[1.0]), dying(2.0), dying(3.0)]);
    while bench.work.turn() {}
    std::thread::sleep(Duration::from_millis(40));
    let group = bench.work.next_slow().unwrap();
    assert_eq!(group.rows.iter().map(|row| row.item.payload.raw[0]).collect::<Vec<_>>(), [1.0]);
    let (batch, ack) = bench.results.try_recv().unwrap();
    assert_eq!(batch.items.iter().map(code).collect::<Vec<_>>(), ["deadline_exceeded"; 2]);
    ack.ack();
}

#[test]
fn a_row_whose_answer_would_come_too_late_costs_no_call() {
    let mut bench = bench(&["prediction.inline_row=0s"]);
    let left = |ms: u64, value| {
        let accepted = now_us() - (2_000 - ms) * 1_000;
        let context = forebay_testkit::context().accepted_us(accepted).timeout(Duration::from_secs(2));
        context.item(features("m", 1, &[value]))
    };
    let _acked = bench.deliver(0, vec![left(60, 1.0), left(1_000, 2.0), left(90, 3.0)]);
    while bench.work.turn() {}
    let group = bench.work.next_slow().unwrap();
    assert_eq!(group.rows.iter().map(|row| row.item.payload.raw[0]).collect::<Vec<_>>(), [2.0]);
    let (batch, ack) = bench.results.try_recv().unwrap();
    assert_eq!(batch.items.iter().map(code).collect::<Vec<_>>(), ["deadline_exceeded"; 2]);
    ack.ack();
}

#[test]
fn costly_versions_wait_for_a_thread_in_groups() {
    let mut bench = bench(&["prediction.inline_row=0s", "prediction.batch=2"]);
    let rows = [(1, 1, 1.0), (1, 2, 2.0), (0, 1, 3.0), (1, 1, 4.0)];
    let _acked = bench.deliver(0, rows.map(|(priority, version, value)| item(priority, "m", version, &[value])).into());
    while bench.work.turn() {}
    assert!(bench.results.try_recv().is_err());
    let next = |bench: &mut Bench| {
        let group = bench.work.next_slow().unwrap();
        let rows: Vec<f64> = group.rows.iter().map(|row| row.item.payload.raw[0]).collect();
        let features: Vec<Features> = group.rows.iter().map(|row| row.item.payload.clone()).collect();
        let results = bench.work.inference().answer(&group.pinned, &features.iter().collect::<Vec<_>>());
        bench.work.settle(group, results, 0);
        rows
    };
    assert_eq!(next(&mut bench), [3.0, 1.0]);
    assert_eq!(next(&mut bench), [2.0]);
    assert_eq!(next(&mut bench), [4.0]);
    assert!(bench.work.next_slow().is_none());
    bench.work.flush();
    let (batch, ack) = bench.results.try_recv().unwrap();
    assert_eq!(batch.items.len(), 4);
    ack.ack();
}

#[test]
fn a_version_that_is_not_there_takes_as_long_as_what_answers_in_its_place() {
    let costly = costly_versions(&[(1, 1), (3, 1)], 3, |number| (number == 3).then_some(Duration::from_millis(25)));
    let mut bench = bench_of(&[], costly);
    let mut snapshot = (*bench.fake_versions.versions.snapshot()).clone();
    let failed = VersionSlot::Failed { digest: None, at: Instant::now(), why: "on purpose".into() };
    snapshot.models.get_mut("m").unwrap().slots.insert(7, failed);
    bench.fake_versions.versions.replace(snapshot);
    let rows = |version| [1.0, 2.0].map(|value| item(1, "m", version, &[value])).to_vec();
    let _failed = bench.deliver(0, rows(7));
    while bench.work.turn() {}
    assert!(bench.results.try_recv().is_err(), "answered on the arbiter");
    assert!(bench.work.next_slow().is_none());
    let version = ("m".to_owned(), 7);
    assert_eq!(bench.work.next_alone(&[]).map(|group| group.rows.len()), Some(1), "a call for each row");
    assert!(bench.work.next_alone(&[version]).is_none());
    let open = bench.fake_versions.versions.find("m", 1).version().unwrap();
    let _healthy = bench.deliver(1, rows(1));
    while bench.work.turn() {}
    let (batch, ack) = bench.results.try_recv().unwrap();
    assert_eq!(batch.items.len(), 2, "version 1 takes no time");
    ack.ack();
    (0..100).for_each(|_| _ = open.failed(Instant::now()));
    let _open = bench.deliver(2, rows(1));
    while bench.work.turn() {}
    assert!(bench.results.try_recv().is_err(), "its breaker is open, so version 3 would answer");
    assert_eq!(bench.work.next_alone(&[]).map(|group| group.pinned.number), Some(7));
    assert_eq!(bench.work.next_alone(&[]).map(|group| group.pinned.number), Some(1));
}
