//! What a stage gets from the process it runs in, and what it gives back.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::notifier::Notifier;
use crate::settings::CommonSettings;
use crate::telemetry::Telemetry;

/// Which program this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// `"caching"` for a service, `"forebay"` for the all-in-one.
    pub name: &'static str,
    /// True when stages of several services run in it.
    pub all_in_one: bool,
}

impl Process {
    /// A binary with the one stage `name`.
    pub const fn service(name: &'static str) -> Self {
        Self { name, all_in_one: false }
    }

    /// A binary with several stages.
    pub const fn all_in_one(name: &'static str) -> Self {
        Self { name, all_in_one: true }
    }
}

/// The process as its stages see it. Cheap to clone; in `forebay up` all five stages share one.
#[derive(Debug, Clone)]
pub struct Host {
    process: Process,
    shared: Arc<CommonSettings>,
    lifecycle: Lifecycle,
    metrics: Metrics,
    telemetry: Telemetry,
    admin: Option<SocketAddr>,
    replica: Arc<str>,
    registry_notifier: Notifier,
}

impl Host {
    /// Puts the parts together.
    pub fn new(
        process: Process,
        shared: CommonSettings,
        lifecycle: Lifecycle,
        metrics: Metrics,
        telemetry: Telemetry,
    ) -> Self {
        metrics.watch(&lifecycle);
        let (shared, replica, registry_notifier) = (Arc::new(shared), replica_name(process).into(), Notifier::new());
        Self { process, shared, lifecycle, metrics, telemetry, admin: None, replica, registry_notifier }
    }

    /// A host without endpoint, signals or export, for tests of a system.
    pub fn detached(shared: CommonSettings) -> Self {
        let process = Process::all_in_one("test");
        Self::new(process, shared, Lifecycle::new(), Metrics::new(), Telemetry::disabled())
    }

    pub(crate) fn with_admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// Which program this is.
    pub fn process(&self) -> Process {
        self.process
    }

    /// Name of this replica, new at every start: the machine's (a pod's is the pod's), or the program's, and a random end.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Called when somebody knows that the model registry has changed. Who watches the registry listens.
    pub fn registry_notifier(&self) -> &Notifier {
        &self.registry_notifier
    }

    /// The settings that all services share.
    pub fn settings(&self) -> &CommonSettings {
        &self.shared
    }

    /// Components, readiness and the end.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The registry behind `/metrics`.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Traces.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Where the admin endpoint listens; none in a detached host.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }
}

fn replica_name(process: Process) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let machine: String = machine.trim().chars().filter(legal).take(64).collect();
    let machine = if machine.is_empty() { process.name } else { &machine };
    format!("{machine}-{:08x}", rand::random::<u32>())
}

/// What happens between the signal and the end: stop intake, finish work, flush, commit, leave.
///
/// Closures that return a future are drains: `Ok(move || async move { source.stop().await })`.
pub trait Drain {
    /// Finishes. The process gives it `delivery.drain` and then goes without it.
    fn drain(self) -> impl Future<Output = ()>;
}

impl<F, Finished> Drain for F
where
    F: FnOnce() -> Finished,
    Finished: Future<Output = ()>,
{
    fn drain(self) -> impl Future<Output = ()> {
        self()
    }
}

/// Why a system could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used in this place, such as a taken port. Exit code 2.
    #[error("{key}: {text}")]
    Setting {
        /// Dotted key.
        key: String,
        /// What is wrong.
        text: String,
    },
    /// Anything else. Exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl StartError {
    /// A setting that cannot be used.
    pub fn setting(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), text: text.into() }
    }

    /// An address, given by the setting `key`, that cannot be listened on.
    pub fn bind(key: impl Into<String>, address: impl fmt::Display, error: &std::io::Error) -> Self {
        let text = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("{address} is taken by another program"),
            _ => format!("{address} cannot be listened on: {error}"),
        };
        Self::setting(key, text)
    }

    /// Any other error.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}
