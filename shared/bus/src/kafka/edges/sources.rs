//! What a source of a stage needs to start.

use std::sync::Arc;

use rdkafka::ClientConfig;

use super::Edges;
use crate::EdgeEvents;
use crate::host_events::HostEvents;
use crate::kafka::broker_contact::DeadClientCheck;
use crate::kafka::source::{IntakePace, RevokeBudget, SourceSpec, SourceTopics};
use crate::kafka::transactions::TransactionalSink;

impl Edges {
    /// A source of `topics`, with the configuration of its consumer.
    pub(super) fn source(&mut self, topics: SourceTopics, mut config: ClientConfig, from_latest: bool) -> SourceSpec {
        let topic = &**topics.base();
        let registered = HostEvents::register(&self.host, &self.metrics, format!("kafka source {topic}"));
        let heartbeat = registered.heartbeat();
        let events: Arc<dyn EdgeEvents> = Arc::new(registered);
        let commits = self.transactions.as_ref().map(TransactionalSink::source);
        if commits.is_some() {
            config.set("enable.auto.commit", "false");
        }
        if topics.has_lanes() {
            self.client.divide_queue(&mut config);
        }
        for topic in topics.names() {
            self.host.metrics().kafka().removed_unread(self.stage, topic);
            self.host.metrics().kafka().unreadable(self.stage, topic);
        }
        let (on_assigned, on_leaving) = self.assignment.hooks();
        let (permits, on_first) = (self.permits.clone(), self.on_first.take());
        let session = self.client.settings().session_timeout;
        let revoke_budget = match &self.answers {
            Some(answers) => RevokeBudget::answered_through(answers, session / 2),
            None => RevokeBudget::new(&self.sink, session),
        };
        SourceSpec {
            config,
            dead_client: DeadClientCheck::new(&self.client, topic),
            topics,
            from_latest,
            of_clients: false,
            revoke_budget,
            pace: IntakePace::default(),
            permits,
            held_back_after: self.host.settings().delivery.held_back_after(),
            events,
            dead_letters: self.dead_letters(),
            heartbeat,
            on_assigned,
            on_leaving,
            on_first,
            commits,
        }
    }
}
