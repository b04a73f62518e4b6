//! What every Forebay binary needs: settings, logs, traces, metrics, health endpoints, signals and an orderly shutdown.
//!
//! A service binary is [`service`] with a [`ServiceSpec`]; the all-in-one binary uses [`load_settings`] and [`launch`].
//! The parts do not depend on Kafka or models, so tests can use each of them separately.
//!
//! ```no_run
//! use forebay_runtime::{
//!     DefaultSettings, Drain, Host, Layers, MemoryBudget, Problems, ServiceSpec, StartError, service,
//! };
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Cache {
//!     capacity: usize,
//! }
//!
//! fn read(layers: &Layers, problems: &mut Problems) -> Option<(MemoryBudget, Cache)> {
//!     let cache: Cache = layers.section("cache", problems)?;
//!     if cache.capacity == 0 {
//!         problems.add("cache.capacity", "is 0, expected at least 1");
//!     }
//!     Some((MemoryBudget::default(), cache))
//! }
//!
//! async fn start((_, _cache): (MemoryBudget, Cache), host: Host) -> Result<impl Drain, StartError> {
//!     let source = host.lifecycle().register("kafka source forebay.features");
//!     source.ready();
//!     Ok(move || async move { source.finished() })
//! }
//!
//! const DEFAULTS: DefaultSettings = DefaultSettings::new("caching", "[cache]\ncapacity = 1000\n");
//!
//! fn main() -> std::process::ExitCode {
//!     let defaults = &[DEFAULTS];
//!     service(ServiceSpec { name: "caching", about: "answers repeated requests", defaults }, read, start)
//! }
//! ```

mod admin;
mod circuit_breaker;
mod cli;
mod container;
mod host;
mod hostname;
mod launch;
mod lifecycle;
mod logs;
mod memory;
mod memory_budget;
mod metric_group;
mod metrics;
mod notifier;
mod process;
mod settings;
mod telemetry;

pub use admin::{AdminError, AdminRoutes, AdminServer, PostRequest, PostResponse};
pub use circuit_breaker::{CircuitAdmission, CircuitBreaker, CircuitPolicy, CircuitState};
pub use cli::{
    Command, ConfigCommand, LoadedSettings, ServiceSpec, SettingsArgs, check_health, load_settings, service,
    service_from,
};
pub use container::{in_container, is_exposed};
pub use host::{Drain, Host, StartError};
pub use hostname::hostname;
pub use launch::launch;
pub use lifecycle::{Component, ComponentState, Fence, Heartbeat, LONGEST_UNMARKED_WAIT, Lifecycle, Phase, Waiting};
pub use memory::{memory_budget, memory_left, resident_memory};
pub use memory_budget::{DividesMemory, MemoryBudget, MemoryPart, OverCommitted, UsesMemory};
pub use metric_group::MetricGroup;
pub use metrics::{KafkaMetrics, Latency, LegacyMetrics, Metrics, RegistryRead, Seconds, StageMetrics};
pub use notifier::Notifier;
pub use opentelemetry::trace::SpanKind;
pub use opentelemetry::{KeyValue, Value};
pub use process::Process;
pub use prometheus_client;
pub use settings::{
    AdminSettings, COMMON_DEFAULTS, CommonSettings, DefaultSettings, DeliverySettings, EnvironmentReader,
    ImpliedSettings, Layers, LogFormat, LogSettings, MemorySettings, Problems, Secret, SettingOrigin, SettingProblem,
    SettingsError, TelemetrySettings, TopicSettings, address, check_pem, duration, shown, size, without_password,
};
pub use telemetry::{
    Budget, OtelEnvironment, SpanRecord, StageSpan, StageTracer, Telemetry, TelemetryError, TraceContext,
};
