//! What a stage gets from the process that it runs in, and the drain that it returns.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::AdminRoutes;
use crate::hostname::hostname;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::notifier::Notifier;
use crate::process::Process;
use crate::settings::CommonSettings;
use crate::telemetry::Telemetry;

/// The parts of the process that its stages share. Cheap to clone; in `forebay up` all five stages share one.
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
    admin_routes: AdminRoutes,
}

impl Host {
    /// A host of these parts. It registers the readiness metrics of `lifecycle`.
    pub fn new(
        process: Process,
        shared: CommonSettings,
        lifecycle: Lifecycle,
        metrics: Metrics,
        telemetry: Telemetry,
    ) -> Self {
        metrics.watch(&lifecycle);
        let (shared, replica, registry_notifier) = (Arc::new(shared), replica_name(process).into(), Notifier::new());
        let admin_routes = AdminRoutes::default();
        Self { process, shared, lifecycle, metrics, telemetry, admin: None, replica, registry_notifier, admin_routes }
    }

    /// A host without an admin endpoint, signals or export, for tests of a system.
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

    /// Name of this replica, different after every start: the host name (in Kubernetes the pod's name), else the
    /// program's, and a random suffix.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Notified when the model registry has changed, by its webhook. Stages that watch the registry subscribe to it.
    pub fn registry_notifier(&self) -> &Notifier {
        &self.registry_notifier
    }

    /// Routes of the admin endpoint that services add.
    pub fn admin_routes(&self) -> &AdminRoutes {
        &self.admin_routes
    }

    /// The settings that all services share.
    pub fn settings(&self) -> &CommonSettings {
        &self.shared
    }

    /// Components, readiness and shutdown.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The registry behind `/metrics`.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tracing.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The address of the admin endpoint; `None` in a detached host.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }
}

fn replica_name(process: Process) -> String {
    let machine = hostname().unwrap_or_default();
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let machine: String = machine.trim().chars().filter(legal).take(64).collect();
    let machine = if machine.is_empty() { process.name } else { &machine };
    format!("{machine}-{:08x}", rand::random::<u32>())
}

/// The work between the shutdown signal and the exit: stop intake, finish work in flight, flush, commit, leave the
/// group.
///
/// Closures that return a future are drains: `Ok(move || async move { source.stop().await })`.
pub trait Drain {
    /// Drains the stage. After `delivery.drain` the process exits without waiting any longer.
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
    /// A setting cannot be used here, such as a port that is taken. Exit code 2.
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
