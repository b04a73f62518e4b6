//! Production moves while requests come without a pause: preprocessing and prediction share one model directory, on a
//! registry that changes. No request fails, falls back, or meets a version that is not loaded.
#![cfg(test)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_rt::{Arbiter, System};
use forebay_bus::{Ack, Delivery, Inlet, ModelDirectory, Outlet};
use forebay_contract::wire::outcome::Result as Wire;
use forebay_contract::{Batch, Features, Item, LoadState, Outcome, Prediction, Request};
use forebay_prediction::system as prediction;
use forebay_preprocessing::system as preprocessing;
use forebay_runtime::Host;
use forebay_testkit::registry::{copied, copy};
use forebay_testkit::{context, probe, settings};

const TIMEOUT: Duration = Duration::from_secs(30);
const MODEL: &str = "diabetes";

/// What became of the requests so far.
#[derive(Default)]
struct Progress {
    answered: AtomicUsize,
    /// The version that last answered a request that named none.
    production: AtomicU32,
    /// Sentences about what must not happen.
    wrong: Mutex<Vec<String>>,
}

impl Progress {
    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

/// Both stages in one process.
struct Mesh {
    inlet: Inlet<Request>,
    results: Mutex<Receiver<Batch<Outcome>>>,
    predictions: Mutex<Receiver<Batch<Prediction>>>,
    directory: ModelDirectory,
    hosts: [Host; 2],
    progress: Arc<Progress>,
    /// From now on every pinned version has to be loaded.
    strict: Arc<AtomicBool>,
    _arbiter: Arbiter,
}

type BothSettings = (forebay_preprocessing::Settings, forebay_prediction::Settings);

/// A process that looks at the registry every so often.
fn host(registry: &Path, refresh: &str) -> (BothSettings, Host) {
    let registry = format!("models.registry=file:{}", registry.display());
    let refresh = format!("models.refresh={refresh}");
    let flags = [registry.as_str(), refresh.as_str(), "models.name=diabetes", "preprocessing.gate=1h"];
    let sources = settings(&[forebay_preprocessing::DEFAULTS, forebay_prediction::DEFAULTS]).flags(&flags);
    let before = sources.read(forebay_preprocessing::Settings::read).unwrap();
    let after = sources.read(forebay_prediction::Settings::read).unwrap();
    ((before, after), sources.host())
}

fn start(registry: &Path) -> Mesh {
    // preprocessing sees a change first and has to wait for prediction
    let ((before, _), early) = host(registry, "100ms");
    let ((_, after), late) = host(registry, "700ms");
    let (directory, arbiter) = (ModelDirectory::of(&late), Arbiter::new());
    let (progress, strict) = (Arc::<Progress>::default(), Arc::<AtomicBool>::default());

    let (outcomes, results) = probe::acking_outlet();
    let (stored, predictions) = probe::acking_outlet();
    let outlets = prediction::Outlets { results: outcomes.clone(), predictions: stored, later: None };
    let predict = prediction::stage(&after, &late, &arbiter.handle(), outlets, &directory).unwrap();
    let (seen, on, watched) = (directory.clone(), Arc::clone(&strict), Arc::clone(&progress));
    let features = Outlet::new(move |batch: Batch<Features>, ack| {
        for version in batch.items.iter().map(|item| item.payload.version) {
            if on.load(Ordering::Acquire) && !seen.ready_count(MODEL, version).all_ready() {
                watched.wrong(format!("pinned to v{version}, which is not loaded"));
            }
        }
        predict.deliver(Delivery { payload: batch, ack });
    });
    let outlets = preprocessing::Outlets { features, results: outcomes };
    let inlet = preprocessing::stage(&before, &early, &arbiter.handle(), outlets, &directory).unwrap();
    let (results, predictions) = (Mutex::new(results), Mutex::new(predictions));
    Mesh { inlet, results, predictions, directory, hosts: [early, late], progress, strict, _arbiter: arbiter }
}

fn item(version: &str, first: f64) -> Item<Request> {
    let features = vec![first, 2.0, 32.1, 101.0, 157.0, 93.2, 38.0, 4.0, 4.8598, 87.0];
    let payload = Request { version: version.into(), features, ..Request::default() };
    context().client_request_id(version).timeout(TIMEOUT).item(payload)
}

impl Mesh {
    /// One batch after the other until `stop` is set; returns the longest time of one.
    fn hammer(&self, stop: &AtomicBool) -> Duration {
        let (mut longest, results) = (Duration::ZERO, self.results.lock().unwrap());
        while !stop.load(Ordering::Acquire) {
            let versions = ["", "v1", "", "candidate", "", "3", "", "Production"];
            let items: Vec<_> =
                versions.iter().zip(20u8..).map(|(version, age)| item(version, f64::from(age))).collect();
            let (count, started) = (items.len(), Instant::now());
            let payload = Batch { batch_partition: 0, stages: Vec::new(), items };
            self.inlet.deliver(Delivery { payload, ack: Ack::none() });
            let mut back = 0;
            while back < count {
                let Ok(batch) = results.recv_timeout(TIMEOUT) else {
                    self.progress.wrong("no answer came".to_owned());
                    return longest;
                };
                back += batch.items.len();
                batch.items.iter().for_each(|outcome| self.judge(outcome));
            }
            longest = longest.max(started.elapsed());
        }
        longest
    }

    /// Asks version 1 once; the prediction that the cache is given.
    fn predict_once(&self) -> Prediction {
        let payload = Batch { batch_partition: 0, stages: Vec::new(), items: vec![item("v1", 59.0)] };
        self.inlet.deliver(Delivery { payload, ack: Ack::none() });
        let results = self.results.lock().unwrap().recv_timeout(TIMEOUT).unwrap();
        results.items.iter().for_each(|outcome| self.judge(outcome));
        let mut stored = self.predictions.lock().unwrap().recv_timeout(TIMEOUT).unwrap();
        stored.items.remove(0).payload
    }

    fn judge(&self, outcome: &Item<Outcome>) {
        let version = outcome.context.client_request_id().unwrap_or_default();
        match &outcome.payload.result {
            Some(Wire::Answer(answer)) if answer.fallback_from.is_empty() => {
                self.progress.answered.fetch_add(1, Ordering::Relaxed);
                if version.is_empty() {
                    self.progress.production.store(answer.version, Ordering::Release);
                }
            }
            other => self.progress.wrong(format!("{version:?}: {other:?}")),
        }
    }

    fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !reached(self) {
            let wrong = self.progress.wrong.lock().unwrap();
            assert!(wrong.is_empty() && started.elapsed() < TIMEOUT, "{what}: {wrong:?}");
            drop(wrong);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn state(&self, version: u32) -> LoadState {
        let replicas = self.directory.replicas(MODEL);
        let states = replicas.iter().flat_map(|replica| &replica.versions);
        states.filter(|state| state.version == version).map(|state| state.state()).next().unwrap_or_default()
    }
}

/// The hammer stops whatever happens, or the test would not end.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn production_moves_and_no_request_notices() {
    let _system = System::new();
    let folder = copied();
    let root = folder.path().join(MODEL);
    let promote = |version: u32| {
        // whole or not at all, as a registry should be written
        let text = format!("aliases: {{candidate: 1}}\nstages: {{{version}: Production}}\n");
        std::fs::write(folder.path().join(".yaml"), text).unwrap();
        std::fs::rename(folder.path().join(".yaml"), root.join("registered_model.yaml")).unwrap();
    };
    let add = |version: u32, of: u32, broken: bool| {
        let new = folder.path().join(".version");
        copy(&root.join(of.to_string()), &new);
        if broken {
            std::fs::write(new.join("model.skops"), "broken").unwrap();
        }
        std::fs::rename(new, root.join(version.to_string())).unwrap();
    };
    let mesh = start(folder.path());
    mesh.until("loaded", |mesh| {
        mesh.hosts.iter().all(|host| host.lifecycle().is_ready()) && (1..=3).all(|v| mesh.state(v) == LoadState::Ready)
    });
    mesh.strict.store(true, Ordering::Release);
    let (stop, longest) = (AtomicBool::new(false), Mutex::new(Duration::ZERO));
    let moves = 8;
    std::thread::scope(|scope| {
        let mesh = &mesh;
        scope.spawn(|| *longest.lock().unwrap() = mesh.hammer(&stop));
        let _stop = Stop(&stop);
        let follows = |version: u32| {
            promote(version);
            mesh.until(&format!("v{version} answers"), |mesh| {
                mesh.progress.production.load(Ordering::Acquire) == version
            });
        };
        follows(2);
        for version in [3, 1, 2] {
            follows(version);
        }
        for (version, of) in [(4, 3), (5, 1)] {
            add(version, of, false);
            follows(version);
        }
        add(6, 2, true);
        promote(6);
        mesh.until("v6 is found broken", |mesh| mesh.state(6) == LoadState::Failed);
        let before = mesh.progress.answered.load(Ordering::Relaxed);
        mesh.until("requests continue", |mesh| mesh.progress.answered.load(Ordering::Relaxed) > before + 100);
        assert_eq!(mesh.progress.production.load(Ordering::Acquire), 5, "a broken version does not take over");
        follows(2);
        std::fs::remove_dir_all(root.join("4")).unwrap();
        std::fs::remove_dir_all(root.join("6")).unwrap();
        follows(3);
    });
    let (answered, longest) = (mesh.progress.answered.load(Ordering::Relaxed), *longest.lock().unwrap());
    assert_eq!(*mesh.progress.wrong.lock().unwrap(), [""; 0]);
    assert!(answered > 100 * moves, "{answered}");
    assert!(longest < TIMEOUT / 2, "a request waited for {longest:?}");
}

/// Preprocessing and prediction notice the change at different times; meanwhile rows are answered, and not cached.
#[test]
fn content_that_changes_in_place_gives_no_key_two_scores() {
    let _system = System::new();
    let folder = copied();
    let root = folder.path().join(MODEL);
    let mesh = start(folder.path());
    mesh.until("loaded", |mesh| {
        mesh.hosts.iter().all(|host| host.lifecycle().is_ready()) && (1..=3).all(|v| mesh.state(v) == LoadState::Ready)
    });
    let contents = ["1", "2"].map(|version| std::fs::read(root.join(version).join("model.skops")).unwrap());
    let mut scores = HashMap::new();
    for turn in 0..4 {
        // whole or not at all, as a registry should be written
        std::fs::write(folder.path().join(".model"), &contents[turn % 2]).unwrap();
        std::fs::rename(folder.path().join(".model"), root.join("1/model.skops")).unwrap();
        let (started, mut unstored) = (Instant::now(), 0);
        while scores.len() < (turn + 1).min(2) || started.elapsed() < Duration::from_secs(2) {
            assert!(started.elapsed() < TIMEOUT, "{} contents seen", scores.len());
            let prediction = mesh.predict_once();
            match prediction.score {
                Some(score) => {
                    let first = *scores.entry(prediction.key).or_insert(score.value);
                    assert_eq!(first.to_bits(), score.value.to_bits(), "one key, two scores");
                }
                None => unstored += 1,
            }
        }
        assert!(turn == 0 || unstored > 0, "the stages look at different times");
        assert_eq!(*mesh.progress.wrong.lock().unwrap(), [""; 0]);
    }
    let values: Vec<f64> = scores.into_values().collect();
    assert!(values.len() == 2 && values[0] != values[1], "{values:?}");
}
