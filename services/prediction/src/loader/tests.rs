//! The loader against a registry on disk that changes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Instant;

use forebay_bus::{ModelDirectory, ReadyCount};
use forebay_contract::{BreakerState, LoadState, ModelView as DirectoryView, VersionState};
use forebay_registry::RegistryOptions;
use forebay_runtime::Lifecycle;
use forebay_testkit::registry::{copied, copy};
use forebay_testkit::settings;

use super::*;
use crate::fakes::POLICY;
use crate::versions::{ModelVersions, VersionLookup};

const TIMEOUT: Duration = Duration::from_secs(20);

struct Kept {
    versions: Arc<Versions>,
    directory: ModelDirectory,
    lifecycle: Lifecycle,
    folder: tempfile::TempDir,
}

fn defaults() -> ModelSettings {
    settings(&[]).read(ModelSettings::read).unwrap()
}

fn kept(warm: Warm) -> Kept {
    looking(warm, Duration::from_millis(50))
}

/// A loader that reads a copy of the registry at an interval.
fn looking(warm: Warm, every: Duration) -> Kept {
    opening(Lifecycle::new(), warm, every, Duration::ZERO, None)
}

/// As [`looking`], with a registry that needs the time `takes` to open, and takes `load_limit` bytes to load a version at most.
fn opening(lifecycle: Lifecycle, warm: Warm, every: Duration, takes: Duration, load_limit: Option<u64>) -> Kept {
    let folder = copied();
    let (loader, commands) = channel();
    let versions = Arc::new(Versions::new(loader));
    let directory = ModelDirectory::new("here");
    let woken = Arc::downgrade(&versions);
    directory
        .changes()
        .on_notify(move || woken.upgrade().iter().for_each(|versions| versions.send(LoaderCommand::ReadDirectory)));
    let registry = format!("file:{}", folder.path().display());
    let location = registry.clone();
    let open = move || {
        std::thread::sleep(takes);
        Registry::open_with(&RegistryOptions { load_limit, ..RegistryOptions::new(&location) })
    };
    Loader {
        versions: Arc::downgrade(&versions),
        commands,
        watch: RegistryWatch::new(open, every),
        reporter: Reporter::new(directory.clone(), registry.clone()),
        overrides: Overrides::default(),
        started: Instant::now(),
        models: ModelSettings { registry, name: "diabetes".into(), ..defaults() },
        warm,
        policy: POLICY,
        grace: Duration::from_millis(100),
        metrics: ModelMetrics::default(),
        heartbeat: lifecycle.heartbeat("models"),
        component: lifecycle.register("models"),
        history: LoadHistory::default(),
        without_stage: HashSet::new(),
    }
    .spawn()
    .unwrap();
    let kept = Kept { versions, directory, lifecycle, folder };
    kept.until(|kept| kept.lifecycle.is_ready());
    kept
}

impl Kept {
    fn until(&self, reached: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !reached(self) {
            assert!(started.elapsed() < TIMEOUT, "{:?} {:?}", self.model_versions(), self.lifecycle.components());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn model_versions(&self) -> Option<ModelVersions> {
        self.versions.snapshot().models.get("diabetes").cloned()
    }

    fn production(&self) -> Option<u32> {
        self.model_versions()?.production
    }

    fn write(&self, path: &str, content: &str) {
        let root = self.folder.path().join("diabetes");
        // whole or not at all, as a registry should be written
        std::fs::write(self.folder.path().join(".new"), content).unwrap();
        std::fs::rename(self.folder.path().join(".new"), root.join(path)).unwrap();
    }

    /// What the model directory says of a version here.
    fn reported(&self, version: u32) -> Option<VersionState> {
        let replicas = self.directory.replicas("diabetes");
        replicas.first()?.versions.iter().find(|state| state.version == version).cloned()
    }

    fn state(&self, version: u32) -> LoadState {
        self.reported(version).map_or(LoadState::Unknown, |state| state.state())
    }

    /// Adds a version made of version 3 and what `change` does to its folder, whole or not at all.
    fn add(&self, version: u32, change: impl Fn(&Path)) {
        let new = self.folder.path().join(".version");
        copy(&self.folder.path().join("diabetes/3"), &new);
        change(&new);
        std::fs::rename(new, self.folder.path().join(format!("diabetes/{version}"))).unwrap();
    }

    fn chain(&self, version: u32) -> Vec<u32> {
        self.versions.chain("diabetes", version).iter().map(|version| version.number()).collect()
    }
}

#[test]
fn production_is_loaded_before_readiness_and_the_rest_after() {
    let kept = kept(Warm::All);
    assert_eq!(kept.production(), Some(2));
    kept.until(|kept| kept.model_versions().is_some_and(|model_versions| model_versions.slots.len() == 3));
    assert_eq!((kept.chain(3), kept.chain(2)), (vec![2, 1], vec![1]));
}

#[test]
fn a_version_is_loaded_when_it_is_requested() {
    let kept = kept(Warm::Production);
    kept.until(|kept| kept.model_versions().is_some_and(|model_versions| model_versions.slots.len() == 2));
    assert!(matches!(kept.versions.find("diabetes", 3), VersionLookup::Loading));
    kept.until(|kept| matches!(kept.versions.find("diabetes", 3), VersionLookup::Ready(_)));
    kept.until(
        |kept| matches!(kept.versions.find("diabetes", 8), VersionLookup::Failed(why) if why == "is not in the registry"),
    );
    kept.until(|kept| matches!(kept.versions.find("unknown", 1), VersionLookup::Failed(_)));
}

#[test]
fn a_moved_stage_is_followed_and_the_old_version_is_the_fallback() {
    let kept = kept(Warm::All);
    kept.until(|kept| kept.model_versions().is_some_and(|model_versions| model_versions.slots.len() == 3));
    kept.write("registered_model.yaml", "stages: {3: Production}");
    kept.until(|kept| kept.production() == Some(3));
    assert_eq!(kept.chain(3), [2], "the previous production version, not merely the nearest older one");
    kept.write("registered_model.yaml", "stages: {1: Production}");
    kept.until(|kept| kept.production() == Some(1));
    assert_eq!(kept.chain(1), [3]);
}

const EXAMPLE: &str = "[[59.0, 2.0, 32.1, 101.0, 157.0, 93.2, 38.0, 4.0, 4.8598, 87.0]]";

/// Adds an input example to a version, and the predictions of its origin for it.
fn expect(folder: &Path, output: &str) {
    let mlmodel = std::fs::read_to_string(folder.join("MLmodel")).unwrap();
    let mlmodel = mlmodel + "saved_input_example_info: {artifact_path: input_example.json}\n";
    std::fs::write(folder.join("MLmodel"), mlmodel).unwrap();
    std::fs::write(folder.join("input_example.json"), EXAMPLE).unwrap();
    std::fs::write(folder.join("example_output.json"), output).unwrap();
}

type Breakage<'a> = &'a dyn Fn(&Path);

#[test]
fn a_broken_new_production_version_does_not_take_over() {
    let kept = kept(Warm::All);
    let write = |folder: &Path, file: &str, content: &[u8]| std::fs::write(folder.join(file), content).unwrap();
    let whole = std::fs::read(kept.folder.path().join("diabetes/3/model.skops")).unwrap();
    let mlmodel = std::fs::read_to_string(kept.folder.path().join("diabetes/3/MLmodel")).unwrap();
    let breakages: [(&str, Breakage<'_>); 6] = [
        ("neither skops nor a pickle", &|it| write(it, "model.skops", b"not a model")),
        ("model.skops", &|it| write(it, "model.skops", &whole[..whole.len() / 2])),
        ("MLmodel: signature", &|it| {
            write(it, "MLmodel", mlmodel.replace("\"age\"", "\"s0\"}, {\"name\": \"age\"").as_bytes())
        }),
        ("expected 1.5", &|it| expect(it, "[1.5]")),
        ("example_output.json", &|it| expect(it, "[null]")),
        ("names no model file", &|it| write(it, "MLmodel", b"flavors: {}")),
    ];
    for (version, (what, breakage)) in (4..).zip(breakages) {
        kept.add(version, breakage);
        kept.write("registered_model.yaml", &format!("stages: {{{version}: Production}}"));
        kept.until(|kept| kept.state(version) == LoadState::Failed);
        let why = kept.reported(version).unwrap().why;
        assert!(why.contains(what), "{what}: {why}");
        assert_eq!(kept.production(), Some(2), "{what}");
        assert_eq!(kept.chain(version)[0], 2);
        assert!(kept.lifecycle.is_ready());
    }
    let known = Registry::open(&format!("file:{}", kept.folder.path().display())).unwrap();
    let known = known.load("diabetes", 3, forebay_model::open).unwrap();
    let row: Vec<Vec<f64>> = serde_json::from_str(EXAMPLE).unwrap();
    let right = known.predict_raw(forebay_model::Rows::new(10, &row[0]).unwrap()).unwrap().values[0];
    kept.add(20, |folder| expect(folder, &format!("[{right:?}]")));
    kept.write("registered_model.yaml", "stages: {20: Production}");
    kept.until(|kept| kept.production() == Some(20));
}

#[test]
fn a_version_that_failed_is_new_only_when_its_content_is() {
    let kept = kept(Warm::All);
    kept.add(4, |folder| std::fs::write(folder.join("model.skops"), "broken").unwrap());
    kept.until(|kept| kept.state(4) == LoadState::Failed);
    let registry = Registry::open(&format!("file:{}", kept.folder.path().display())).unwrap();
    let seen = |number| is_new(&kept.versions, &registry.model("diabetes").unwrap(), number);
    assert!(!seen(4), "it is reported as failed while it is tried again");
    assert!(!seen(2) && seen(5));
    let mended = std::fs::read(kept.folder.path().join("diabetes/3/model.skops")).unwrap();
    std::fs::write(kept.folder.path().join("diabetes/4/model.skops"), mended).unwrap();
    kept.until(|kept| kept.state(4) == LoadState::Ready);
}

#[test]
fn content_that_breaks_in_place_leaves_the_old_one_answering() {
    let kept = kept(Warm::All);
    kept.until(|kept| kept.model_versions().is_some_and(|model_versions| model_versions.slots.len() == 3));
    let before = kept.reported(2).unwrap();
    kept.write("2/model.skops", "broken");
    let generation = || kept.directory.view("diabetes").unwrap().generation;
    let old = generation();
    kept.until(|_| generation() > old);
    kept.write("registered_model.yaml", "stages: {1: Production}");
    kept.until(|kept| kept.production() == Some(1));
    assert_eq!(kept.reported(2).unwrap(), before, "still loaded and unchanged");
}

#[test]
fn a_version_that_passes_the_memory_for_loading_leaves_the_old_one_answering_and_says_so() {
    const LIMIT: u64 = 4 << 20;
    let every = Duration::from_millis(50);
    let kept = opening(Lifecycle::new(), Warm::All, every, Duration::ZERO, Some(LIMIT));
    kept.until(|kept| kept.model_versions().is_some_and(|model_versions| model_versions.slots.len() == 3));
    let before = kept.reported(2).unwrap();
    let large = " ".repeat(LIMIT as usize);
    kept.write("2/model.skops", &large);
    let generation = || kept.directory.view("diabetes").unwrap().generation;
    let old = generation();
    kept.until(|_| generation() > old);
    kept.write("registered_model.yaml", "stages: {1: Production}");
    kept.until(|kept| kept.production() == Some(1));
    assert_eq!(kept.reported(2).unwrap(), before, "still loaded and unchanged");

    kept.add(30, |folder| std::fs::write(folder.join("model.skops"), &large).unwrap());
    kept.write("registered_model.yaml", "stages: {30: Production}");
    kept.until(|kept| kept.state(30) == LoadState::Failed);
    let why = match kept.model_versions().unwrap().slots.get(&30) {
        Some(VersionSlot::Failed { why, .. }) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(why.contains("have more than the 4194304 bytes that loading one may take here"), "{why}");
    assert_eq!(kept.production(), Some(1), "the old one answers");
}

#[test]
fn the_directory_knows_the_registry_and_what_is_loaded_here() {
    let kept = kept(Warm::Production);
    kept.until(|kept| kept.state(2) == LoadState::Ready && kept.state(1) == LoadState::Ready);
    let view = kept.directory.view("diabetes").unwrap();
    let versions: Vec<_> = view.versions.iter().map(|it| (it.version, it.stage.as_str(), it.flavor.as_str())).collect();
    assert_eq!(versions, [(1, "", "sklearn"), (2, "Production", "sklearn"), (3, "", "sklearn")]);
    assert_eq!(view.aliases.get("candidate"), Some(&1));
    assert_eq!(kept.state(3), LoadState::Unknown, "no row has needed it");
    assert_eq!(kept.reported(2).unwrap().digest, view.versions[1].digest);
    assert_eq!(kept.directory.replicas("diabetes")[0].production, 2);

    let VersionLookup::Ready(version) = kept.versions.find("diabetes", 2) else { panic!("not ready") };
    (0..5).for_each(|_| _ = version.failed(Instant::now()));
    kept.until(|kept| kept.reported(2).is_some_and(|state| state.breaker() == BreakerState::Open));
    drop(version.admit(Instant::now() + POLICY.open));
    kept.until(|kept| kept.reported(2).is_some_and(|state| state.breaker() == BreakerState::Closed));
    kept.until(|kept| {
        drop(kept.versions.find("diabetes", 9));
        kept.state(9) == LoadState::Failed
    });
}

#[test]
fn a_newer_view_in_the_directory_makes_it_read_the_registry_early() {
    let kept = looking(Warm::All, Duration::from_secs(3600));
    kept.until(|kept| kept.state(3) == LoadState::Ready);
    kept.write("registered_model.yaml", "stages: {3: Production}");
    let view = kept.directory.view("diabetes").unwrap();
    // another replica has seen it
    kept.directory.on_view(DirectoryView {
        generation: view.generation + 1,
        aliases: Default::default(),
        ..(*view).clone()
    });
    kept.until(|kept| kept.production() == Some(3));
    kept.write("registered_model.yaml", "stages: {1: Production}");
    kept.versions.send(LoaderCommand::ReadRegistry);
    kept.until(|kept| kept.production() == Some(1));
    let generation = kept.directory.view("diabetes").unwrap().generation;
    kept.directory.on_view(DirectoryView { generation: generation + 1, ..(*view).clone() });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        kept.directory.view("diabetes").unwrap().generation,
        generation + 1,
        "a change that is already known here is not published again"
    );
}

#[test]
fn a_retired_version_is_forgotten() {
    let kept = kept(Warm::All);
    kept.until(|kept| kept.model_versions().is_some_and(|model_versions| model_versions.slots.len() == 3));
    std::fs::remove_dir_all(kept.folder.path().join("diabetes/1")).unwrap();
    let VersionLookup::Ready(_) = kept.versions.find("diabetes", 1) else {
        panic!("rows pinned to it are on their way")
    };
    kept.until(|kept| kept.model_versions().is_some_and(|model_versions| model_versions.slots.len() == 2));
    assert_eq!(kept.chain(3), [2]);
}

#[test]
fn a_model_that_a_request_unloaded_leaves_and_comes_back_but_the_default_model_stays() {
    let kept = kept(Warm::All);
    kept.directory.keep_loaded("diabetes");
    copy(&kept.folder.path().join("diabetes"), &kept.folder.path().join("other"));
    let slots = |kept: &Kept, model: &str| kept.versions.snapshot().models.get(model).map_or(0, |it| it.slots.len());
    kept.until(|kept| slots(kept, "other") == 3 && slots(kept, "diabetes") == 3);
    kept.directory.set_override("other", false, "ann");
    kept.directory.set_override("diabetes", false, "ann");
    kept.until(|kept| slots(kept, "other") == 0);
    assert_eq!(slots(&kept, "diabetes"), 3, "it answers requests that name no model");
    // the report follows the versions
    let unloaded = ReadyCount { live: 1, ..ReadyCount::default() };
    kept.until(|kept| kept.directory.ready_count("other", 2) == unloaded);
    kept.until(|kept| matches!(kept.versions.find("other", 2), VersionLookup::Failed(why) if why == "is unloaded"));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(kept.directory.ready_count("other", 2).failed, 0, "a late row says nothing of the next load");
    assert!(kept.directory.view("other").is_some(), "the registry still has it");
    kept.directory.set_override("other", true, "ann");
    kept.until(|kept| slots(kept, "other") == 3 && kept.directory.ready_count("other", 2).all_ready());
}

#[test]
fn the_thread_ends_with_the_stage() {
    let Kept { versions, lifecycle, .. } = kept(Warm::Production);
    drop(versions);
    let started = Instant::now();
    while !lifecycle.components().is_empty() {
        assert!(started.elapsed() < TIMEOUT);
        std::thread::yield_now();
    }
    assert_eq!(lifecycle.failure(), None, "a planned end");
}

#[test]
fn a_registry_and_models_that_take_longer_than_the_bound_are_no_stall() {
    let lifecycle = Lifecycle::new();
    let bound = Duration::from_millis(200);
    lifecycle.watch_stalls(bound).unwrap();
    let watched = lifecycle.clone();
    let stalled = std::thread::spawn(move || {
        let started = Instant::now();
        while started.elapsed() < bound * 10 {
            if !watched.is_alive() {
                return watched.stalled();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Vec::new()
    });
    let kept = opening(lifecycle, Warm::All, Duration::from_secs(60), bound * 5, None);
    assert_eq!(kept.production(), Some(2));
    assert_eq!(stalled.join().unwrap(), [""; 0], "neither while the registry opens, nor while the loader is idle");
}

#[test]
fn versions_that_nobody_named_make_room() {
    let kept = kept(Warm::All);
    kept.until(|kept| kept.model_versions().is_some_and(|model_versions| model_versions.slots.len() == 3));
    assert!(super::room::make(&kept.versions), "version 3 has neither a stage nor an alias");
    let left: Vec<u32> = kept.model_versions().unwrap().slots.keys().copied().collect();
    assert_eq!(left, [1, 2]);
    assert!(!super::room::make(&kept.versions));
}
