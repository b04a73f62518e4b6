//! Keeps the catalog equal to the registry and to what the prediction replicas report, on a separate thread, because
//! files must not be read on the hot path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use forebay_bus::{ModelDirectory, SeenGenerations};
use forebay_registry::{ModelView, Registry, RegistryWatch};
use forebay_runtime::{Component, Heartbeat, Lifecycle, RegistryRead};

use crate::catalog::{CatalogPolicy, CatalogSnapshot, ListedModel, ModelCatalog};
use crate::promotion::{PromotionCandidate, PromotionGate};
use crate::reported::ReportedVersions;
use crate::served_version::DescribedVersion;

/// Time after which versions that could not be read are tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Longest wait for the model directory before the first catalog is compiled without it.
const DIRECTORY_WAIT: Duration = Duration::from_secs(10);
/// Interval between checks of the model directory during that wait.
const DIRECTORY_CHECK: Duration = Duration::from_millis(20);
/// Longest sleep, after which the thread checks whether the process ends.
const MAX_SLEEP: Duration = Duration::from_secs(5);

/// Why the thread is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeReason {
    /// A webhook says that the registry has changed.
    Registry,
    /// The model directory has changed.
    Directory,
}

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Refresher {
    pub catalog: ModelCatalog,
    pub watch: RegistryWatch,
    pub wakes: Receiver<WakeReason>,
    pub directory: ModelDirectory,
    pub gate: PromotionGate,
    pub policy: CatalogPolicy,
    /// Where the registry is, without credentials.
    pub location: String,
    pub lifecycle: Lifecycle,
    pub component: Component,
    pub heartbeat: Heartbeat,
    /// Longest time without a beat while the registry is read.
    pub longest_wait: Duration,
    pub state: RefreshState,
    /// When the registry was read, for the metrics.
    pub read_at: RegistryRead,
}

/// What was read last.
#[derive(Debug, Default)]
pub(crate) struct RefreshState {
    views: Vec<ModelView>,
    /// When the registry was read for the first time.
    first_read: Option<Instant>,
    /// What the prediction replicas reported of these.
    reported: ReportedVersions,
    /// Whether the views or the directory have changed since the reports were read.
    reports_due: bool,
    /// Versions that cannot be used, and why.
    unusable: BTreeMap<(String, u32), String>,
    /// Versions that cannot be used before prediction has reported the names of their features.
    unreported: BTreeSet<(String, u32)>,
    /// When the catalog was compiled.
    compiled: Option<Instant>,
    /// Which views of the directory were read from the registry here as well.
    seen: SeenGenerations,
    /// Versions of splits that were logged as missing.
    missing: Vec<String>,
}

impl Refresher {
    /// Starts the thread. It ends with the process; a registry that is absent is waited for.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("registry".into()).spawn(move || self.run()).map(|_| ())
    }

    fn run(mut self) {
        let heartbeat = self.heartbeat.clone();
        while !self.lifecycle.is_draining() {
            let waiting = heartbeat.waiting(self.longest_wait);
            if self.watch.is_due() {
                self.look();
            }
            let now = Instant::now();
            self.compile_first(now);
            self.follow_reports(now);
            self.promote_pending(now);
            drop(waiting);
            let sleep = self.watch.wait().min(self.gate.wait(now)).min(MAX_SLEEP).min(heartbeat.interval());
            let sleep = if self.waits_for_directory() { sleep.min(DIRECTORY_CHECK) } else { sleep };
            match self.wakes.recv_timeout(sleep) {
                Ok(reason) => self.woken(reason),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.component.finished();
    }

    /// Makes the next read of the registry due if it may have changed. Pending reasons are handled together.
    fn woken(&mut self, first: WakeReason) {
        let reasons: Vec<WakeReason> = std::iter::once(first).chain(self.wakes.try_iter()).collect();
        self.state.reports_due |= reasons.contains(&WakeReason::Directory);
        let more = self.watch.list_also(self.directory.overrides().into_keys());
        if more || reasons.contains(&WakeReason::Registry) || self.state.seen.has_news(&self.directory) {
            self.watch.hurry();
        }
    }

    fn look(&mut self) {
        match self.watch.look() {
            Ok(registry) => {
                if registry.status().stale.is_none() {
                    self.read_at.now();
                }
                let views = registry.models();
                if self.state.first_read.is_none() || views != self.state.views {
                    tracing::info!(registry = self.location, models = views.len(), "model registry read");
                    self.state.views = views;
                    self.state.reports_due = true;
                    self.state.first_read.get_or_insert_with(Instant::now);
                    if self.may_compile() {
                        self.compile(&registry, Instant::now());
                    }
                } else if !self.state.unusable.is_empty() && self.state.compiled.is_none_or(|at| at.elapsed() >= RETRY)
                {
                    // its files may not have been there, or could not be fetched
                    self.compile(&registry, Instant::now());
                }
            }
            Err(failed) if failed.is_new => {
                let error = failed.error.to_string();
                tracing::warn!(registry = self.location, error, "model registry cannot be read, trying again");
                if self.catalog.snapshot().is_none() {
                    self.component.unready(error);
                }
            }
            Err(_) => {}
        }
    }

    /// Whether the catalog may be compiled: what prediction has reported is known, or has been waited for long enough. A
    /// catalog without it would refuse versions whose features only the model knows.
    fn may_compile(&self) -> bool {
        let waited = self.state.first_read.is_some_and(|at| at.elapsed() >= DIRECTORY_WAIT);
        waited || self.directory.is_caught_up() || self.catalog.snapshot().is_some()
    }

    fn waits_for_directory(&self) -> bool {
        self.state.first_read.is_some() && self.catalog.snapshot().is_none()
    }

    /// Compiles the first catalog when the model directory has been read after the registry.
    fn compile_first(&mut self, now: Instant) {
        if !self.waits_for_directory() || !self.may_compile() {
            return;
        }
        if let Some(registry) = self.watch.registry() {
            self.compile(&registry, now);
        }
    }

    /// The registry, once the catalog was compiled from it.
    fn compiled(&self) -> Option<Arc<Registry>> {
        self.watch.registry().filter(|_| self.catalog.snapshot().is_some())
    }

    /// Compiles the catalog again when the replicas report something else of its versions.
    fn follow_reports(&mut self, now: Instant) {
        let Some(registry) = self.compiled() else { return };
        if self.read_reports() {
            self.compile(&registry, now);
        }
    }

    /// Reads what the replicas report if it may have changed, and returns whether it has. The directory notifies of
    /// replicas that expire as well.
    fn read_reports(&mut self) -> bool {
        if !std::mem::take(&mut self.state.reports_due) {
            return false;
        }
        let reported = ReportedVersions::read(&self.directory, &self.state.views, &self.state.reported);
        let changed = reported != self.state.reported;
        self.state.reported = reported;
        changed
    }

    /// Compiles the catalog again when a Production version that was waiting takes effect.
    fn promote_pending(&mut self, now: Instant) {
        let Some(registry) = self.compiled() else { return };
        let snapshot = self.catalog.snapshot();
        let usable = |model: &str, version: u32| snapshot.as_ref().is_some_and(|snapshot| snapshot.has(model, version));
        let mut moved = false;
        for view in &self.state.views {
            let (Ok(wanted), Some(current)) =
                (view.resolve(Some(&self.policy.stage)), self.gate.production(&view.name))
            else {
                continue;
            };
            if wanted.version != current {
                let candidate = self.candidate(&view.name, wanted.version, |version| usable(&view.name, version));
                moved |= self.gate.decide(&view.name, candidate, now) != current;
            }
        }
        drop(snapshot);
        if moved {
            self.compile(&registry, now);
        }
    }

    /// Compiles a new snapshot of what was read and reported.
    fn compile(&mut self, registry: &Registry, now: Instant) {
        self.read_reports();
        let views = self.state.views.clone();
        let unusable = std::mem::take(&mut self.state.unusable);
        let unreported = std::mem::take(&mut self.state.unreported);
        self.state.compiled = Some(now);
        let listed: Vec<ListedModel> = views.into_iter().filter_map(|view| self.list(registry, view, now)).collect();
        for ((model, version), error) in
            self.state.unusable.iter().filter(|(name, why)| unusable.get(name) != Some(why))
        {
            tracing::warn!(model, version, error, "version cannot be used");
        }
        for (model, version) in self.state.unreported.difference(&unreported) {
            tracing::info!(model, version, "version waits for its feature names, production answers for it");
        }
        let snapshot = CatalogSnapshot::new(&self.policy, listed);
        if snapshot.missing() != self.state.missing {
            self.state.missing = snapshot.missing().to_vec();
            if !self.state.missing.is_empty() {
                let missing = self.state.missing.join(", ");
                tracing::warn!(missing, "a split names versions that cannot be used, production answers instead");
            }
        }
        let ready = snapshot.ready();
        self.catalog.replace(snapshot);
        match ready {
            Ok(()) => self.component.ready(),
            Err(why) => self.component.unready(why),
        }
    }

    fn list(&mut self, registry: &Registry, view: ModelView, now: Instant) -> Option<ListedModel> {
        // those that answer come first, so that the others cannot take the memory for describing them
        let numbers = view.versions.iter().map(|listed| listed.version);
        let (named, others): (Vec<_>, Vec<_>) = numbers.partition(|number| view.is_named(*number));
        let numbers = named.into_iter().chain(others);
        let mut versions: Vec<_> = numbers.filter_map(|n| self.describe(registry, &view, n)).collect();
        versions.sort_by_key(|described| described.meta.version);
        let version = view.resolve(Some(&self.policy.stage)).ok()?.version;
        let usable = |number: u32| versions.iter().any(|described| described.meta.version == number);
        let candidate = self.candidate(&view.name, version, usable);
        let production = self.gate.decide(&view.name, candidate, now);
        Some(ListedModel { view, versions, production })
    }

    /// The version that the registry names, as the gate judges it. A version that no replica has reported yet may be one.
    fn candidate(&self, model: &str, version: u32, usable: impl Fn(u32) -> bool) -> PromotionCandidate {
        let unreported = self.state.unreported.contains(&(model.to_owned(), version));
        PromotionCandidate {
            version,
            usable: unreported || usable(version),
            ready_count: self.directory.ready_count(model, version),
            current_usable: self.gate.production(model).is_some_and(usable),
        }
    }

    /// What is known of a version; `None` when it cannot be used, or not yet. The preprocessing artefact of a version that
    /// no request asks for is not read; prediction prepares its first rows, and reports it then.
    fn describe(&mut self, registry: &Registry, view: &ModelView, version: u32) -> Option<DescribedVersion> {
        self.heartbeat.beat();
        let model = view.name.as_str();
        let name = (model.to_owned(), version);
        let reported = self.state.reported.get(model, version).cloned().unwrap_or_default();
        let answers = reported.format.is_some() || self.policy.answers(view, version);
        let described =
            if answers { registry.describe(model, version) } else { registry.describe_alone(model, version) };
        let failed = "no prediction replica can load it";
        let meta = described.map_err(|error| error.to_string());
        let meta = meta.and_then(|meta| if reported.failed { Err(failed.to_owned()) } else { Ok(meta) });
        let meta = meta.map_err(|why| self.state.unusable.insert(name.clone(), why)).ok()?;
        let described = DescribedVersion::new(meta, reported.format.as_ref());
        if described.is_none() {
            self.state.unreported.insert(name);
        }
        described
    }
}
