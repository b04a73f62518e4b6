//! What an outage of RabbitMQ means for the process. Until the first connection the process is unready, so that wrong
//! settings stop a rollout. After that an outage shows in the log and in a gauge only: an unready process would get no
//! requests over HTTP either, and those do not need RabbitMQ.

use std::sync::atomic::{AtomicBool, Ordering};

use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use forebay_runtime::{Heartbeat, Host, StageMetrics};

use crate::EdgeEvents as _;
use crate::host_events::HostEvents;

/// The state of one connection to RabbitMQ.
#[derive(Debug)]
pub(super) struct ConnectionStatus {
    events: HostEvents,
    connected: Gauge,
    before: AtomicBool,
}

impl ConnectionStatus {
    /// Registers the component `name` of `stage`, and the gauge `metric`.
    pub(super) fn register(host: &Host, stage: &'static str, name: String, metric: &str) -> Self {
        let metrics = StageMetrics::register(host.metrics(), stage);
        let connected = Gauge::default();
        host.metrics().register(metric, "1 while there is a connection to RabbitMQ", connected.clone());
        Self { events: HostEvents::register(host, &metrics, name), connected, before: AtomicBool::new(false) }
    }

    /// The heartbeat of this end's thread.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        self.events.heartbeat()
    }

    /// There is a connection, and work gets through.
    pub(super) fn ready(&self) {
        self.before.store(true, Ordering::Relaxed);
        self.connected.set(1);
        self.events.ready();
    }

    /// There is no connection.
    pub(super) fn lost(&self, why: &str) {
        self.connected.set(0);
        if !self.before.load(Ordering::Relaxed) {
            self.events.unready(why);
        }
    }

    /// There is a connection, but its requests cannot be passed on, which affects every endpoint.
    pub(super) fn stuck(&self, why: &str) {
        self.events.unready(why);
    }
}
