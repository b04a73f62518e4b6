//! What every Forebay main needs: settings, logs, traces, metrics, health endpoints, signals and an orderly stop.
//!
//! A service binary is [`service`] with a [`ServiceSpec`]; the all-in-one binary uses [`open`] and [`launch`].
//! The parts know nothing of Kafka or models, so tests can use each of them alone.
//!
//! ```no_run
//! use forebay_runtime::{DefaultSettings, Drain, Host, Layers, Problems, ServiceSpec, StartError, service};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Cache {
//!     capacity: usize,
//! }
//!
//! fn read(layers: &Layers, problems: &mut Problems) -> Option<Cache> {
//!     let cache: Cache = layers.section("cache", problems)?;
//!     if cache.capacity == 0 {
//!         problems.add("cache.capacity", "is 0, expected at least 1");
//!     }
//!     Some(cache)
//! }
//!
//! async fn start(_cache: Cache, host: Host) -> Result<impl Drain, StartError> {
//!     let source = host.lifecycle().register("kafka source forebay.features");
//!     source.ready();
//!     Ok(move || async move { source.finished() })
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let bundle = DefaultSettings { name: "caching", toml: "[cache]\ncapacity = 1000\n" };
//!     service(ServiceSpec { name: "caching", about: "answers repeated questions", bundle }, read, start)
//! }
//! ```

mod admin;
mod circuit_breaker;
mod cli;
mod container;
mod host;
mod launch;
mod lifecycle;
mod logs;
mod metric_group;
mod metrics;
mod notifier;
mod settings;
mod telemetry;
mod webhook;

pub use admin::{AdminError, AdminServer};
pub use circuit_breaker::{CircuitAdmission, CircuitBreaker, CircuitPolicy};
pub use cli::{Command, ConfigCommand, Opened, ServiceSpec, SettingsArgs, check_health, open, service, service_from};
pub use container::is_exposed;
pub use host::{Drain, Host, Process, StartError};
pub use launch::launch;
pub use lifecycle::{Component, ComponentState, Fence, Lifecycle, Phase};
pub use metric_group::MetricGroup;
pub use metrics::{KafkaMetrics, Latency, LegacyMetrics, Metrics, RegistryRead, Seconds, StageMetrics};
pub use notifier::{NotificationReceiver, Notifier};
pub use opentelemetry::trace::SpanKind;
pub use opentelemetry::{KeyValue, Value};
pub use prometheus_client;
pub use settings::{
    AdminSettings, COMMON_DEFAULTS, CommonSettings, DefaultSettings, DeliverySettings, EventHubs, KafkaSettings,
    Layers, LogFormat, LogSettings, ModelSettings, Origin, Problem, Problems, RabbitMqSettings, Secret,
    SecurityProtocol, SettingsError, TelemetrySettings, TopicSettings, duration, shown, size, without_password,
};
pub use telemetry::{
    Budget, OtelEnvironment, SpanRecord, StageSpan, StageTracer, Telemetry, TelemetryError, TraceContext, now_us,
};
