//! The stage between probes: a registry on disk, batches in, features and outcomes out.
#![cfg(test)]

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use actix_rt::{Arbiter, System};
use forebay_bus::{Ack, AckOutcome, Delivery, Inlet, ModelDirectory};
use forebay_contract::wire::outcome::Result as Wire;
use forebay_contract::{
    Batch, Features, Item, LoadState, Outcome, ReplicaState, Request, RowFormat, SplitKey, Stage, VersionState, now_us,
};
use forebay_preprocessing::{DEFAULTS, Settings, system};
use forebay_runtime::Host;
use forebay_testkit::registry::{self, URL as REGISTRY, copied, copy};
use forebay_testkit::{context, probe, settings, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);
const NAMES: [&str; 10] = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"];

/// The rows of a version of numbers.
fn format(features: &[&str], accepts_missing: bool) -> RowFormat {
    let features = features.iter().map(|&name| name.to_owned()).collect();
    RowFormat { features, accepts_missing, ..RowFormat::default() }
}

/// The running stage and what leaves it.
struct Probe {
    inlet: Inlet<Request>,
    features: Receiver<Batch<Features>>,
    results: Receiver<Batch<Outcome>>,
    directory: ModelDirectory,
    host: Host,
    _arbiter: Arbiter,
}

fn start(registry: &str, flags: &[&str]) -> Probe {
    let mut flags = flags.to_vec();
    let registry = format!("models.registry={registry}");
    flags.extend([registry.as_str(), "models.name=diabetes"]);
    let sources = settings(&[DEFAULTS]).flags(&flags);
    let settings = sources.read(Settings::read).unwrap();
    let host = sources.host();
    let (features_out, features) = probe::acking_outlet();
    let (results_out, results) = probe::acking_outlet();
    let outlets = system::Outlets { features: features_out, results: results_out };
    let arbiter = Arbiter::new();
    let directory = ModelDirectory::new("prediction");
    let inlet = system::stage(&settings, &host, &arbiter.handle(), outlets, &directory).unwrap();
    Probe { inlet, features, results, directory, host, _arbiter: arbiter }
}

impl Probe {
    /// Delivers a batch; the receiver gets the outcome of its acknowledgement.
    fn deliver(&self, items: Vec<Item<Request>>) -> Receiver<AckOutcome> {
        let (delivery, outcome) = probe::delivery(3, items);
        self.inlet.deliver(delivery);
        outcome
    }

    /// The version that answers a request without a version.
    fn default_version(&self) -> u32 {
        let _acked = self.deliver(vec![item(vec![1.0; 10], "", TIMEOUT)]);
        self.features.recv_timeout(TIMEOUT).unwrap().items[0].payload.version
    }

    /// Repeats a row until it is refused.
    fn until_refused(&self, row: Vec<f64>, version: &str) {
        let started = std::time::Instant::now();
        loop {
            let acked = self.deliver(vec![item(row.clone(), version, TIMEOUT)]);
            assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
            let refused = self.results.try_iter().any(|batch| !batch.items.is_empty());
            if self.features.try_iter().all(|batch| batch.items.is_empty()) && refused {
                return;
            }
            assert!(started.elapsed() < TIMEOUT, "the row was never refused");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn until(&self, version: u32) {
        wait_until(TIMEOUT, &format!("version {version}"), || self.default_version() == version);
    }
}

fn item(features: Vec<f64>, version: &str, timeout: Duration) -> Item<Request> {
    let payload = Request { version: version.into(), features, ..Request::default() };
    context().client_request_id("r").timeout(timeout).item(payload)
}

fn failure(outcome: &Outcome) -> (&str, &str) {
    match &outcome.result {
        Some(Wire::Failure(failure)) => (&failure.code, &failure.message),
        other => panic!("{other:?}"),
    }
}

#[derive(serde::Deserialize)]
struct Golden {
    version: u32,
    raw: Vec<String>,
    prepared: Vec<String>,
}

fn row(bits: &[String]) -> Vec<f64> {
    bits.iter().map(|hex| f64::from_bits(u64::from_str_radix(hex, 16).unwrap())).collect()
}

fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn rows_are_prepared_as_scikit_learn_does_to_the_bit() {
    let _system = System::new();
    let probe = start(REGISTRY, &[]);
    let golden: Vec<Golden> = serde_json::from_str(registry::GOLDEN).unwrap();
    for cases in golden.chunks(100) {
        let request = |case: &Golden| item(row(&case.raw), &format!("v{}", case.version), TIMEOUT);
        let acked = probe.deliver(cases.iter().map(request).collect());
        let batch = probe.features.recv_timeout(TIMEOUT).unwrap();
        assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
        assert_eq!(batch.items.len(), cases.len());
        for (case, item) in cases.iter().zip(&batch.items) {
            let features = &item.payload;
            let sent = if features.prepared.is_empty() { &features.raw } else { &features.prepared };
            assert_eq!(bits(sent), bits(&row(&case.prepared)), "v{} {:?}", case.version, row(&case.raw));
            assert_eq!(features.version, case.version);
            assert_eq!(features.preprocessing.is_empty(), case.version == 3);
        }
    }
}

#[test]
fn a_mixed_batch_leaves_whole_by_two_outlets() {
    let _system = System::new();
    let probe = start(REGISTRY, &[]);
    // batches that arrive before the registry is read are sent in parts
    probe.until(2);
    // only the model of version 1 determines how missing values are treated
    probe.directory.describe("diabetes", 1, format(&NAMES, false));
    let states = [1, 2, 3].map(|version| has(version, LoadState::Ready)).to_vec();
    probe.directory.report("diabetes", Some(2), states);
    let mut gap = vec![1.0; 10];
    gap[0] = f64::NAN;
    probe.until_refused(gap, "v1");
    let sound = vec![1.0; 10];
    let mut gap = sound.clone();
    gap[2] = f64::NAN;
    let acked = probe.deliver(vec![
        item(sound.clone(), "", TIMEOUT),
        item(gap.clone(), "", TIMEOUT),
        item(gap, "v1", TIMEOUT),
        item(vec![1.0; 9], "v7", TIMEOUT),
        item(sound, "v7", TIMEOUT),
        item(vec![1.0; 10], "v1", Duration::ZERO),
    ]);
    let features = probe.features.recv_timeout(TIMEOUT).unwrap();
    let results = probe.results.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
    assert_eq!((features.batch_partition, results.batch_partition), (3, 3));
    let pinned: Vec<_> =
        features.items.iter().map(|it| (it.payload.label.as_str(), it.payload.fallback_from.as_str())).collect();
    assert_eq!(pinned, [("v2", ""), ("v2", ""), ("v2", "v7")]);
    assert!(features.items.iter().all(|it| it.payload.key.len() == 32 && it.payload.model == "diabetes"));
    assert!(features.items[1].payload.prepared.iter().all(|value| value.is_finite()), "imputed");
    let failures: Vec<_> = results.items.iter().map(|it| failure(&it.payload)).collect();
    let names = "age, sex, bmi, bp, s1, s2, s3, s4, s5, s6";
    assert_eq!(failures[0].0, "deadline_exceeded");
    assert_eq!(failures[1], ("invalid_features", "feature bmi is missing and cannot be filled in"));
    assert_eq!(failures[2], ("invalid_features", format!("expected 10 features ({names}), got 9").as_str()));
    let stage = features.stages.last().unwrap();
    assert_eq!(stage.stage(), Stage::Preprocessing);
    assert!(stage.left_us >= stage.entered_us && stage.entered_us > 0);
}

#[test]
fn settings_can_refuse_missing_values_and_ranges() {
    let _system = System::new();
    let probe = start(REGISTRY, &["preprocessing.missing=reject", "preprocessing.ranges.diabetes={bmi = [0.0, 5.0]}"]);
    let (mut gap, mut far) = (vec![1.0; 10], vec![1.0; 10]);
    (gap[0], far[2]) = (f64::NAN, 6.0);
    let acked = probe.deliver(vec![item(gap, "", TIMEOUT), item(far, "", TIMEOUT)]);
    let results = probe.results.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
    assert_eq!(failure(&results.items[0].payload).1, "feature age is missing and cannot be filled in");
    assert_eq!(failure(&results.items[1].payload).1, "feature bmi is 6, expected 0 to 5");
}

#[test]
fn requests_wait_for_a_registry_until_their_deadline() {
    let _system = System::new();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("registry");
    let probe = start(&format!("file:{}", folder.display()), &["models.refresh=100ms"]);
    let acked =
        probe.deliver(vec![item(vec![1.0; 10], "v1", Duration::from_millis(60)), item(vec![1.0; 10], "v1", TIMEOUT)]);
    let late = probe.results.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(late.items.len(), 1);
    assert_eq!(failure(&late.items[0].payload).0, "deadline_exceeded");
    assert!(acked.try_recv().is_err(), "the other one is still under way");
    std::os::unix::fs::symlink(registry::folder(), &folder).unwrap();
    assert_eq!(probe.features.recv_timeout(TIMEOUT).unwrap().items[0].payload.label, "v1");
    assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
}

#[test]
fn a_moved_stage_is_followed() {
    let _system = System::new();
    let registry = copied();
    let probe = start(&format!("file:{}", registry.path().display()), &["models.refresh=100ms"]);
    assert_eq!(probe.default_version(), 2);
    std::fs::write(registry.path().join("diabetes/registered_model.yaml"), "stages: {3: Production}\n").unwrap();
    let started = std::time::Instant::now();
    while probe.default_version() != 3 {
        assert!(started.elapsed() < TIMEOUT, "version 3 never answered");
    }
}

fn has(version: u32, state: LoadState) -> VersionState {
    VersionState { version, state: state.into(), ..VersionState::default() }
}

#[test]
fn the_artefact_of_a_version_is_read_once_requests_come_to_it() {
    let _system = System::new();
    let registry = copied();
    copy(&registry.path().join("diabetes/2"), &registry.path().join("diabetes/4"));
    let probe = start(&format!("file:{}", registry.path().display()), &["models.refresh=1h"]);
    probe.until(2);
    let pinned = |version: &str| {
        let _acked = probe.deliver(vec![item(vec![1.0; 10], version, TIMEOUT)]);
        let payload = probe.features.recv_timeout(TIMEOUT).unwrap().items.remove(0).payload;
        (payload.version, payload.preprocessing.is_empty())
    };
    assert_eq!(pinned("candidate"), (1, false), "it has an alias");
    assert_eq!(pinned("v4"), (4, true), "prediction prepares its rows");
    probe.directory.describe("diabetes", 4, format(&NAMES, false));
    probe.directory.report("diabetes", Some(2), vec![has(2, LoadState::Ready), has(4, LoadState::Ready)]);
    wait_until(TIMEOUT, "the artefact of version 4", || pinned("v4") == (4, false));
}

#[test]
fn a_moved_stage_waits_for_every_replica_and_never_for_one_that_cannot() {
    let _system = System::new();
    let registry = copied();
    let production = |version: u32| {
        let text = format!("stages: {{{version}: Production}}\n");
        std::fs::write(registry.path().join("diabetes/registered_model.yaml"), text).unwrap();
    };
    let probe = start(&format!("file:{}", registry.path().display()), &["models.refresh=1h", "preprocessing.gate=1h"]);
    let others = |state: LoadState| {
        let states = vec![has(2, LoadState::Ready), has(3, state), has(1, LoadState::Failed)];
        let at_ms = now_us();
        let model = "diabetes".to_owned();
        probe.directory.on_state(ReplicaState {
            replica: "another".into(),
            model,
            at_ms,
            versions: states,
            production: 2,
            rows: vec![],
        });
    };
    let own = |state: LoadState| {
        let states = vec![has(2, LoadState::Ready), has(3, state), has(1, LoadState::Failed)];
        probe.directory.report("diabetes", Some(2), states);
    };
    own(LoadState::Loading);
    others(LoadState::Loading);
    probe.until(2);

    production(3);
    // as the webhook does
    probe.host.registry_notifier().notify();
    own(LoadState::Ready);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(probe.default_version(), 2, "one replica is not ready");
    let _acked = probe.deliver(vec![item(vec![1.0; 10], "v3", TIMEOUT)]);
    assert_eq!(probe.features.recv_timeout(TIMEOUT).unwrap().items[0].payload.version, 3, "requested by number");
    others(LoadState::Ready);
    probe.until(3);

    others(LoadState::Ready);
    probe.directory.report("diabetes", Some(3), vec![has(3, LoadState::Ready), has(1, LoadState::Failed)]);
    production(1);
    probe.host.registry_notifier().notify();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(probe.default_version(), 3, "no replica can load version 1");
    production(2);
    probe.host.registry_notifier().notify();
    own(LoadState::Ready);
    probe.until(2);
}

#[test]
fn a_moved_stage_waits_for_a_bounded_time() {
    let _system = System::new();
    let registry = copied();
    let flags = ["models.refresh=100ms", "preprocessing.gate=300ms"];
    let probe = start(&format!("file:{}", registry.path().display()), &flags);
    probe.directory.report("diabetes", Some(2), vec![has(2, LoadState::Ready), has(3, LoadState::Loading)]);
    probe.until(2);
    let started = std::time::Instant::now();
    std::fs::write(registry.path().join("diabetes/registered_model.yaml"), "stages: {3: Production}\n").unwrap();
    probe.until(3);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn requests_without_a_version_are_split() {
    let _system = System::new();
    let probe = start(REGISTRY, &["preprocessing.split.diabetes=v3=50, candidate=50"]);
    let mut requests: Vec<Item<Request>> = (0..200).map(|_| item(vec![1.0; 10], "", TIMEOUT)).collect();
    for (user, request) in requests.iter_mut().enumerate() {
        request.payload.split_key = SplitKey::of_text(&user.to_string()).to_wire();
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        let _acked = probe.deliver(requests.clone());
        let batch = probe.features.recv_timeout(TIMEOUT).unwrap();
        assert!(batch.items.iter().all(|item| item.payload.fallback_from.is_empty()));
        seen.push(batch.items.iter().map(|item| item.payload.version).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1]);
    let threes = seen[0].iter().filter(|version| **version == 3).count();
    assert!((60..140).contains(&threes) && seen[0].iter().all(|version| [1, 3].contains(version)), "{threes}");
}

/// Rewrites the MLmodel of a version without its signature.
fn without_signature(registry: &tempfile::TempDir, version: u32) {
    let path = registry.path().join(format!("diabetes/{version}/MLmodel"));
    let text = std::fs::read_to_string(&path).unwrap();
    let (text, _) = text.split_once("signature:").unwrap();
    std::fs::write(&path, text).unwrap();
}

#[test]
fn a_version_without_a_signature_answers_once_the_directory_has_its_names() {
    let _system = System::new();
    let registry = copied();
    without_signature(&registry, 3);
    let probe = start(&format!("file:{}", registry.path().display()), &["models.refresh=1h"]);
    probe.until(2);
    let named = |version: &str| {
        let mut item = item(vec![7.0], version, TIMEOUT);
        item.payload.names = vec!["only".to_owned()];
        item
    };
    let _acked = probe.deliver(vec![item(vec![1.0; 10], "v3", TIMEOUT)]);
    let features = probe.features.recv_timeout(TIMEOUT).unwrap();
    let pinned = &features.items[0].payload;
    assert_eq!((pinned.version, pinned.fallback_from.as_str()), (2, "v3"), "production answers");

    probe.directory.report("diabetes", Some(2), vec![has(2, LoadState::Ready), has(3, LoadState::Loading)]);
    std::thread::sleep(Duration::from_millis(100));
    let _acked = probe.deliver(vec![item(vec![1.0; 10], "v3", TIMEOUT)]);
    assert_eq!(probe.features.recv_timeout(TIMEOUT).unwrap().items[0].payload.version, 2, "it is still loading");

    probe.directory.describe("diabetes", 3, format(&["only"], true));
    probe.directory.report("diabetes", Some(2), vec![has(2, LoadState::Ready), has(3, LoadState::Ready)]);
    let started = std::time::Instant::now();
    loop {
        let _acked = probe.deliver(vec![named("v3")]);
        if let Ok(batch) = probe.features.recv_timeout(Duration::from_millis(100))
            && let Some(item) = batch.items.first()
        {
            assert_eq!((item.payload.version, item.payload.raw.as_slice()), (3, [7.0].as_slice()));
            break;
        }
        assert!(started.elapsed() < TIMEOUT, "version 3 never answered");
    }
    while probe.results.try_recv().is_ok() {}
    while probe.features.try_recv().is_ok() {}
    let _acked = probe.deliver(vec![item(vec![1.0; 2], "v3", TIMEOUT), item(vec![f64::NAN], "v3", TIMEOUT)]);
    assert!(
        probe.features.recv_timeout(TIMEOUT).unwrap().items[0].payload.raw[0].is_nan(),
        "it fills in what is missing"
    );
    let results = probe.results.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(failure(&results.items[0].payload).1, "expected 1 features (only), got 2");

    // what it takes does not change when every prediction replica is restarted
    probe.directory.leave();
    std::thread::sleep(Duration::from_millis(200));
    let _acked = probe.deliver(vec![named("v3")]);
    assert_eq!(probe.features.recv_timeout(TIMEOUT).unwrap().items[0].payload.version, 3);
}

#[test]
fn a_production_without_a_signature_makes_the_stage_ready_when_it_is_loaded() {
    let _system = System::new();
    let registry = copied();
    for version in 1..=3 {
        without_signature(&registry, version);
    }
    let probe = start(&format!("file:{}", registry.path().display()), &["models.refresh=1h"]);
    let acked = probe.deliver(vec![item(vec![1.0; 10], "", TIMEOUT)]);
    assert_eq!(acked.recv_timeout(TIMEOUT), Ok(AckOutcome::Done));
    let results = probe.results.recv_timeout(TIMEOUT).unwrap();
    let expected = ("model_unavailable", "no version of model \"diabetes\" can be used");
    assert_eq!(failure(&results.items[0].payload), expected);
    let ready = || probe.host.lifecycle().components().into_iter().all(|component| component.unready.is_none());
    assert!(!ready());
    probe.directory.describe("diabetes", 2, format(&NAMES, true));
    probe.directory.report("diabetes", Some(2), vec![has(2, LoadState::Ready)]);
    let started = std::time::Instant::now();
    while !ready() {
        assert!(started.elapsed() < TIMEOUT, "the stage never became ready");
        std::thread::sleep(Duration::from_millis(5));
    }
    while probe.features.try_recv().is_ok() {}
    let _acked = probe.deliver(vec![item(vec![1.0; 10], "", TIMEOUT)]);
    assert_eq!(probe.features.recv_timeout(TIMEOUT).unwrap().items[0].payload.version, 2);
}

#[test]
fn a_version_that_no_replica_can_load_is_replaced() {
    let _system = System::new();
    let probe = start(REGISTRY, &[]);
    probe.until(2);
    probe.directory.report("diabetes", Some(2), vec![has(2, LoadState::Ready), has(3, LoadState::Failed)]);
    let started = std::time::Instant::now();
    loop {
        let _acked = probe.deliver(vec![item(vec![1.0; 10], "v3", TIMEOUT)]);
        let batch = probe.features.recv_timeout(TIMEOUT).unwrap();
        let pinned = &batch.items[0].payload;
        if (pinned.version, pinned.fallback_from.as_str()) == (2, "v3") {
            break;
        }
        assert!(started.elapsed() < TIMEOUT, "version 3 still answers");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Longest time without a beat of the arbiter; an idle one beats once a second.
const STALL_AFTER: Duration = Duration::from_secs(3);

#[test]
fn a_handler_that_blocks_its_arbiter_fails_liveness_and_an_idle_one_does_not() {
    let _system = System::new();
    let probe = start(REGISTRY, &[]);
    let lifecycle = probe.host.lifecycle();
    lifecycle.watch_stalls(STALL_AFTER).unwrap();
    std::thread::sleep(STALL_AFTER + STALL_AFTER / 2);
    assert_eq!(lifecycle.stalled(), [""; 0], "an idle stage turns");

    // acknowledged by the handler, as the outlets here do not keep it
    let (open, gate) = channel::<()>();
    let ack = Ack::new(move |_| _ = gate.recv());
    let items = vec![item(vec![1.0; 10], "", TIMEOUT)];
    probe.inlet.deliver(Delivery { payload: Batch { batch_partition: 3, stages: Vec::new(), items }, ack });
    wait_until(TIMEOUT, "the stall", || lifecycle.stalled() == ["preprocessing preparer"]);
    drop(open);
    wait_until(TIMEOUT, "the recovery", || lifecycle.is_alive());
}
