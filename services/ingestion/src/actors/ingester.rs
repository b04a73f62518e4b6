//! The ingester actor: Kafka records and RabbitMQ messages become items, errors or dead letters on its arbiter.

use actix::{Actor, Context, Handler, Message};
use forebay_bus::amqp::AmqpMessages;
use forebay_bus::kafka::{DeadLetters, RawBatch};
use forebay_bus::{Ack, Delivery, Outlet};
use forebay_contract::{Batch, Item, MAX_BATCH_ITEMS, Outcome, Stage, StageTime, now_us, wire::outcome};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Component, Heartbeat, StageMetrics};

use crate::amqp::AmqpIngress;
use crate::batching::{BatcherHandle, PendingItems};
use crate::inbound::Inbound;
use crate::kafka::KafkaIngress;
use crate::record_age::RecordAge;

/// Records that share one acknowledgement.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct DeliverRecords(pub Delivery<RawBatch>);

/// Messages, each with its own acknowledgement.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct DeliverMessages(pub AmqpMessages);

/// Parses records and messages and passes on what they turn out to be.
pub(crate) struct Ingester {
    pub kafka: KafkaIngress,
    /// By lane.
    pub record_ages: [RecordAge; 3],
    pub amqp: AmqpIngress,
    pub batcher: BatcherHandle,
    /// Takes error outcomes to publishing.
    pub results: Outlet<Outcome>,
    pub dead_letters: DeadLetters,
    pub metrics: StageMetrics,
    /// `inference_requests_total`, for requests that never reach the batcher.
    pub accepted: Counter,
    pub component: Component,
    pub heartbeat: Heartbeat,
}

impl Ingester {
    /// Sends errors to publishing like any other outcome, in separate batches.
    fn send_errors(&self, rejected: Vec<Item<Outcome>>, entered_us: u64, ack: &Ack) {
        let count = rejected.len() as u64;
        self.metrics.received.inc_by(count);
        self.accepted.inc_by(count);
        let mut rejected = rejected.into_iter().peekable();
        while rejected.peek().is_some() {
            let items: Vec<_> = rejected.by_ref().take(MAX_BATCH_ITEMS).collect();
            for item in &items {
                if let Some(outcome::Result::Failure(failure)) = &item.payload.result {
                    self.metrics.failed(&failure.code).inc();
                }
            }
            let stages = vec![StageTime { stage: Stage::Ingestion.into(), entered_us, left_us: now_us() }];
            self.results.send(Batch { batch_partition: 0, stages, items }, ack.share());
        }
    }
}

impl Actor for Ingester {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.component.ready();
        actix::spawn(self.heartbeat.clone().beat_from_task());
    }
}

impl Handler<DeliverRecords> for Ingester {
    type Result = ();

    fn handle(&mut self, DeliverRecords(Delivery { payload, ack }): DeliverRecords, _: &mut Self::Context) {
        // here as well: no timer runs while the mailbox is never empty
        self.heartbeat.beat();
        let accepted_us = now_us();
        let RawBatch { lane, records, written_since_us } = payload;
        let mut items = Vec::with_capacity(records.len());
        let (mut spans, mut rejected) = (Vec::new(), Vec::new());
        let record_age = &mut self.record_ages[lane.index()];
        record_age.delivered(records.len(), written_since_us, accepted_us);
        for record in records {
            let age = record_age.of(record.timestamp_ms, accepted_us);
            match self.kafka.accept(record, lane, accepted_us, age) {
                Inbound::Accepted(rows, span) => {
                    items.extend(rows);
                    spans.extend(span);
                }
                Inbound::Rejected(item) => rejected.push(item),
                Inbound::Undecodable(dead_letter, item) => {
                    rejected.extend(item);
                    self.dead_letters.send(dead_letter, ack.share());
                }
            }
        }
        if !rejected.is_empty() {
            self.send_errors(rejected, accepted_us, &ack);
        }
        if items.is_empty() {
            return ack.ack();
        }
        (self.batcher)(PendingItems { items, ack, spans });
    }
}

impl Handler<DeliverMessages> for Ingester {
    type Result = ();

    fn handle(&mut self, DeliverMessages(messages): DeliverMessages, _: &mut Self::Context) {
        self.heartbeat.beat();
        let accepted_us = now_us();
        let (mut items, mut acks) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        let (mut spans, mut rejected, mut rejected_acks) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            match self.amqp.accept(&message, accepted_us) {
                Inbound::Accepted(rows, span) => {
                    items.extend(rows);
                    acks.push(message.ack);
                    spans.extend(span);
                }
                Inbound::Rejected(item) => {
                    rejected.push(item);
                    rejected_acks.push(message.ack);
                }
                Inbound::Undecodable(dead_letter, item) => {
                    message.reject();
                    if let Some(item) = item {
                        rejected.push(item);
                        rejected_acks.push(message.ack.share());
                    }
                    self.dead_letters.send(dead_letter, message.ack);
                }
            }
        }
        if !rejected.is_empty() {
            let ack = Ack::join(rejected_acks);
            self.send_errors(rejected, accepted_us, &ack);
            ack.ack();
        }
        if !items.is_empty() {
            (self.batcher)(PendingItems { items, ack: Ack::join(acks), spans });
        }
    }
}
