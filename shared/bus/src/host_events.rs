//! Reports the events of edges to the process: readiness, failure and metrics.

use std::time::Duration;

use forebay_runtime::{Component, Heartbeat, Host, Lifecycle, Metrics, StageMetrics};

use crate::EdgeEvents;

/// One edge as the process sees it.
#[derive(Debug)]
pub(crate) struct HostEvents {
    component: Component,
    lifecycle: Lifecycle,
    metrics: Metrics,
    stage: StageMetrics,
    name: &'static str,
}

impl HostEvents {
    /// Registers `name` as a component that is not ready yet.
    pub(crate) fn register(host: &Host, stage: &StageMetrics, name: String) -> Self {
        let component = host.lifecycle().register(name);
        Self {
            component,
            lifecycle: host.lifecycle().clone(),
            metrics: host.metrics().clone(),
            stage: stage.clone(),
            name: stage.name(),
        }
    }

    /// Watches a loop of this edge.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        self.component.heartbeat()
    }
}

impl EdgeEvents for HostEvents {
    fn ready(&self) {
        self.component.ready();
    }

    fn unready(&self, why: &str) {
        self.component.unready(why);
    }

    fn fail(&self, why: &str) {
        self.lifecycle.fail(why);
    }

    fn waited(&self, time: Duration) {
        self.stage.waited_seconds.inc_by(time.as_secs_f64());
    }

    fn in_flight(&self, items: usize, bytes: u64) {
        self.stage.in_flight.set(i64::try_from(items).unwrap_or(i64::MAX));
        self.stage.in_flight_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn lag(&self, topic: &str, partition: i32, records: i64) {
        self.metrics.legacy().consumer_lag(topic, partition).set(records);
    }

    fn forget_lag(&self, topic: &str, partition: i32) {
        self.metrics.legacy().forget_lag(topic, partition);
    }

    fn round_trip(&self, time: Duration) {
        self.metrics.kafka().round_trip(self.name).set(time.as_secs_f64());
    }

    fn throttled(&self, client: &'static str, time: Duration) {
        self.metrics.kafka().throttle(self.name, client).set(time.as_secs_f64());
    }

    fn clock_skew(&self, seconds: f64) {
        self.metrics.kafka().clock_skew(self.name).set(seconds);
    }

    fn oldest(&self, age: Duration) {
        self.stage.oldest_item_age_seconds.set(age.as_secs_f64());
    }

    fn client_replaced(&self, client: &'static str) {
        self.metrics.kafka().replaced(self.name, client).inc();
    }

    fn position_lost(&self, topic: &str, records: u64) {
        self.metrics.kafka().removed_unread(self.name, topic).inc_by(records);
    }

    fn unreadable(&self, topic: &str) {
        self.metrics.kafka().unreadable(self.name, topic).inc();
    }

    fn dead_letter(&self) {
        self.stage.dead_letters.inc();
    }

    fn advice_dropped(&self, items: usize) {
        self.stage.advice_dropped.inc_by(items as u64);
    }

    fn dead_letter_lost(&self) {
        self.stage.dead_letters_lost.inc();
    }
}

/// Counts dead letters, which do not affect readiness.
pub(crate) struct CountOnly(pub(crate) StageMetrics);

impl EdgeEvents for CountOnly {
    fn dead_letter(&self) {
        self.0.dead_letters.inc();
    }

    fn dead_letter_lost(&self) {
        self.0.dead_letters_lost.inc();
    }
}
