//! The stage between probes: a registry on disk, features in, outcomes and predictions out.
#![cfg(test)]

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use actix_rt::{Arbiter, System};
use forebay_bus::{Ack, AckOutcome, Delivery, Inlet, ModelDirectory};
use forebay_contract::wire::outcome::Result as Wire;
use forebay_contract::{Answer, Batch, Features, Item, Outcome, Prediction};
use forebay_model::Rows;
use forebay_prediction::{DEFAULTS, Settings, system};
use forebay_registry::Registry;
use forebay_runtime::{Host, Lifecycle, Metrics, OtelEnvironment, Process, Telemetry};
use forebay_testkit::registry::{URL as REGISTRY, copied, copy, url};
use forebay_testkit::{ContextBuilder, collector, context, probe, settings, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);
const ROW: [f64; 10] = [59.0, 2.0, 32.1, 101.0, 157.0, 93.2, 38.0, 4.0, 4.8598, 87.0];

struct Probe {
    inlet: Inlet<Features>,
    results: Receiver<Batch<Outcome>>,
    predictions: Receiver<Batch<Prediction>>,
    host: Host,
    _arbiter: Arbiter,
}

fn start(flags: &[&str]) -> Probe {
    traced(flags, &Telemetry::disabled())
}

fn traced(flags: &[&str], telemetry: &Telemetry) -> Probe {
    reading(REGISTRY, flags, telemetry)
}

fn reading(registry: &str, flags: &[&str], telemetry: &Telemetry) -> Probe {
    let mut flags = flags.to_vec();
    let registry = format!("models.registry={registry}");
    flags.extend([registry.as_str(), "models.name=diabetes"]);
    let sources = settings(&[DEFAULTS]).flags(&flags);
    let settings = sources.read(Settings::read).unwrap();
    let process = Process::all_in_one("test");
    let host = Host::new(process, sources.common(), Lifecycle::new(), Metrics::new(), telemetry.clone());
    let (results_out, results) = probe::acking_outlet();
    let (predictions_out, predictions) = probe::acking_outlet();
    let outlets = system::Outlets { results: results_out, predictions: predictions_out, later: None };
    let arbiter = Arbiter::new();
    let directory = ModelDirectory::new("here");
    let inlet = system::stage(&settings, &host, &arbiter.handle(), outlets, &directory).unwrap();
    Probe { inlet, results, predictions, host, _arbiter: arbiter }
}

impl Probe {
    fn deliver(&self, items: Vec<Item<Features>>) -> Receiver<AckOutcome> {
        let (delivery, outcome) = probe::delivery(3, items);
        self.inlet.deliver(delivery);
        outcome
    }

    /// As many outcomes, in however many batches they come.
    fn outcomes(&self, count: usize) -> Vec<Item<Outcome>> {
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            outcomes.extend(self.results.recv_timeout(TIMEOUT).unwrap().items);
        }
        outcomes
    }
}

/// A sampled item.
fn item(version: u32, raw: &[f64]) -> Item<Features> {
    item_of(context().sampled(), version, raw)
}

/// One that is not sampled.
fn quiet(version: u32, raw: &[f64]) -> Item<Features> {
    item_of(context(), version, raw)
}

fn item_of(context: ContextBuilder, version: u32, raw: &[f64]) -> Item<Features> {
    let (model, label) = ("diabetes".to_owned(), format!("v{version}"));
    let payload = Features { model, version, label, raw: raw.to_vec(), key: vec![7; 32].into(), ..Features::default() };
    context.client_request_id("r").item(payload)
}

fn answer(outcome: &Item<Outcome>) -> &Answer {
    match &outcome.payload.result {
        Some(Wire::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn value(outcome: &Item<Outcome>) -> (u32, u64) {
    let answer = answer(outcome);
    (answer.version, answer.score.as_ref().unwrap().value.to_bits())
}

/// The answer of a version that is called directly.
fn expected(version: u32, raw: &[f64]) -> (u32, u64) {
    let loaded = Registry::open(REGISTRY).unwrap().load("diabetes", version, forebay_model::open).unwrap();
    (version, loaded.predict_raw(Rows::new(raw.len(), raw).unwrap()).unwrap().values[0].to_bits())
}

#[test]
fn every_version_answers_as_it_does_alone() {
    let _system = System::new();
    for flags in [&["prediction.warm=all"][..], &["prediction.warm=production"], &["prediction.inline_row=0s"]] {
        let probe = start(flags);
        let acked = probe.deliver((1..=3).map(|version| item(version, &ROW)).collect());
        let mut answers: Vec<_> = probe.outcomes(3).iter().map(value).collect();
        answers.sort_unstable();
        assert_eq!(answers, (1..=3).map(|version| expected(version, &ROW)).collect::<Vec<_>>(), "{flags:?}");
        assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
        assert!(probe.host.lifecycle().is_ready(), "{:?}", probe.host.lifecycle().components());
        let prediction = &probe.predictions.recv_timeout(TIMEOUT).unwrap().items[0].payload;
        assert!(prediction.score.is_some() && prediction.model == "diabetes");
    }
}

#[test]
fn a_version_newer_than_the_last_listing_is_loaded_for_rows_pinned_to_it() {
    let _system = System::new();
    let folder = copied();
    let root = folder.path().join("diabetes");
    let registry = url(folder.path());
    let probe = reading(&registry, &["models.refresh=1h"], &Telemetry::disabled());
    let _acked = probe.deliver(vec![item(2, &ROW)]);
    assert_eq!(value(&probe.outcomes(1)[0]), expected(2, &ROW));
    copy(&root.join("1"), &folder.path().join(".new"));
    std::fs::rename(folder.path().join(".new"), root.join("4")).unwrap();
    let acked = probe.deliver(vec![item(4, &ROW), item(1, &ROW)]);
    let outcomes = probe.outcomes(2);
    let four = outcomes.iter().find(|outcome| answer(outcome).version == 4).unwrap();
    assert_eq!((value(four).1, answer(four).fallback_from.as_str()), (expected(1, &ROW).1, ""));
    assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
}

#[test]
fn a_prepared_row_of_another_artefact_is_not_used() {
    let _system = System::new();
    let probe = start(&[]);
    let mut skewed = item(1, &ROW);
    skewed.payload.preprocessing = "another".into();
    skewed.payload.prepared = vec![1e6; 10];
    let _acked = probe.deliver(vec![skewed]);
    assert_eq!(value(&probe.outcomes(1)[0]), expected(1, &ROW));
}

#[test]
fn a_fallback_is_prepared_from_the_raw_row_by_its_own_artefact() {
    let _system = System::new();
    let probe = start(&[]);
    let mut gap = ROW;
    gap[3] = f64::NAN;
    // version 1 cannot fill in, Production (2) can; version 9 does not exist
    let _acked = probe.deliver(vec![item(1, &gap), item(9, &ROW)]);
    let outcomes = probe.outcomes(2);
    let pinned_to = |label: &str| outcomes.iter().find(|it| answer(it).fallback_from == label).unwrap();
    assert_eq!(value(pinned_to("v1")), expected(2, &gap));
    assert_eq!(value(pinned_to("v9")), expected(2, &ROW));
    assert_eq!(answer(pinned_to("v9")).label, "v2");
}

#[test]
fn rows_that_no_version_takes_are_failures() {
    let _system = System::new();
    let probe = start(&[]);
    let mut unknown = item(1, &ROW);
    unknown.payload.model = "unknown".into();
    let acked = probe.deliver(vec![item(1, &ROW[..4]), unknown]);
    for outcome in probe.outcomes(2) {
        match outcome.payload.result {
            Some(Wire::Failure(failure)) => assert_eq!(failure.code, "model_unavailable"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
}

#[test]
fn a_shadow_scores_the_same_rows() {
    let _system = System::new();
    let probe = start(&[
        "prediction.shadow=diabetes/2, diabetes@production, diabetes@candidate",
        "prediction.shadow_tolerance=0",
    ]);
    let started = std::time::Instant::now();
    // the first batch requests the shadow's version, which may not be loaded yet
    let text = loop {
        let _acked = probe.deliver(vec![item(1, &ROW)]);
        probe.outcomes(1);
        let text = probe.host.metrics().encode().unwrap();
        let none = "forebay_shadow_disagreements_total{model=\"diabetes\",version=\"2\"} 0";
        let counted = text.contains(none.trim_end_matches('0')) && !text.contains(none);
        if counted || started.elapsed() > TIMEOUT {
            break text;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(text.contains("forebay_shadow_difference_count{model=\"diabetes\",version=\"2\"}"), "{text}");
    let counted = |name: &str, version: u32| {
        let start = format!("forebay_{name}_total{{model=\"diabetes\",version=\"{version}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok())
    };
    assert!(counted("model_rows", 1) >= Some(1), "{text}");
    assert!(counted("shadow_disagreements", 2) >= Some(1), "the versions differ: {text}");
    assert_eq!(counted("shadow_rows", 1).unwrap_or(0), 0, "the one that answers is no shadow of itself");
}

#[test]
fn a_sampled_row_has_a_span_of_its_call_that_is_linked_with_the_batch() {
    let system = System::new();
    let (address, requests) = collector::grpc();
    let environment = OtelEnvironment::of([("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), address)]);
    let settings = settings(&[]).common().telemetry;
    let telemetry = Telemetry::start(Process::all_in_one("test"), &settings, &environment).unwrap();
    let probe = traced(&["prediction.warm=production"], &telemetry);
    let mut sampled = item(2, &ROW);
    sampled.parent_span = 0xABCD;
    let acked = probe.deliver(vec![sampled, quiet(2, &ROW)]);
    probe.outcomes(2);
    assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
    system.block_on(telemetry.flush(TIMEOUT));
    let spans = collector::spans(&requests);
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(spans.iter().all(|(service, _)| service == "forebay-prediction"));
    let named = |name: &str| &spans.iter().find(|(_, span)| span.name == name).unwrap().1;
    let (process, infer, batch) = (named("process forebay.predict"), named("infer"), named("infer batch"));
    assert_eq!(process.parent_span_id, 0xABCDu64.to_be_bytes());
    assert_eq!((&infer.trace_id, &infer.parent_span_id), (&process.trace_id, &process.span_id));
    assert_eq!((infer.links.len(), &infer.links[0].span_id), (1, &batch.span_id));
    assert_eq!((batch.links.len(), &batch.links[0].span_id), (1, &infer.span_id));
    assert_ne!(batch.trace_id, process.trace_id);
    let attributes: Vec<_> = infer.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(attributes, ["forebay.model", "forebay.batch.size", "forebay.version"]);
}

/// Longest time without a beat of the arbiter; an idle one beats once a second.
const STALL_AFTER: Duration = Duration::from_secs(3);

#[test]
fn a_handler_that_blocks_its_arbiter_fails_liveness_and_an_idle_one_does_not() {
    let _system = System::new();
    let probe = start(&[]);
    let lifecycle = probe.host.lifecycle();
    lifecycle.watch_stalls(STALL_AFTER).unwrap();
    std::thread::sleep(STALL_AFTER + STALL_AFTER / 2);
    assert_eq!(lifecycle.stalled(), [""; 0], "an idle stage turns");

    // acknowledged by the handler, as the outlets here do not keep it
    let (open, gate) = channel::<()>();
    let ack = Ack::new(move |_| _ = gate.recv());
    let items = vec![quiet(2, &ROW)];
    probe.inlet.deliver(Delivery { payload: Batch { batch_partition: 3, stages: Vec::new(), items }, ack });
    wait_until(TIMEOUT, "the stall", || lifecycle.stalled() == ["prediction predictor"]);
    drop(open);
    wait_until(TIMEOUT, "the recovery", || lifecycle.is_alive());
}
