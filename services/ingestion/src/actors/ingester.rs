//! The ingester: records of the outside topic and messages of RabbitMQ become items, errors or dead letters, on its
//! arbiter.

use actix::{Actor, Context, Handler, Message};
use forebay_bus::amqp::AmqpMessages;
use forebay_bus::kafka::{DeadLetters, RawBatch};
use forebay_bus::{Ack, Delivery, Outlet};
use forebay_contract::{Batch, Item, MAX_BATCH_ITEMS, Outcome, Stage, StageTime, now_us, wire::outcome};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Component, StageMetrics};

use crate::gathering::{Gather, Offer};
use crate::messages::MessageDoor;
use crate::records::{RecordDoor, Taken};

/// Records at hand, under one acknowledgement.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RecordsTaken(pub Delivery<RawBatch>);

/// Messages at hand, each with an acknowledgement of its own.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct MessagesTaken(pub AmqpMessages);

/// Where records go.
pub(crate) struct Ingester {
    pub door: RecordDoor,
    pub messages: MessageDoor,
    pub gather: Gather,
    pub results: Outlet<Outcome>,
    pub dead_letters: DeadLetters,
    pub metrics: StageMetrics,
    pub accepted: Counter,
    pub component: Component,
}

impl Ingester {
    /// Errors go to publishing like any answer, in batches of their own.
    fn answer(&self, refused: Vec<Item<Outcome>>, entered_us: u64, ack: &Ack) {
        let mut refused = refused.into_iter().peekable();
        while refused.peek().is_some() {
            let items: Vec<_> = refused.by_ref().take(MAX_BATCH_ITEMS).collect();
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
    }
}

impl Handler<RecordsTaken> for Ingester {
    type Result = ();

    fn handle(&mut self, RecordsTaken(Delivery { payload, ack }): RecordsTaken, _: &mut Self::Context) {
        let accepted_us = now_us();
        let mut items = Vec::with_capacity(payload.records.len());
        let (mut spans, mut refused) = (Vec::new(), Vec::new());
        for record in payload.records {
            match self.door.take(record, accepted_us) {
                Taken::Asked(item, span) => {
                    items.push(item);
                    spans.extend(span);
                }
                Taken::Refused(item) => refused.push(item),
                Taken::Dead(letter, told) => {
                    refused.extend(told);
                    self.dead_letters.send(letter, ack.share());
                }
            }
        }
        if !refused.is_empty() {
            self.metrics.received.inc_by(refused.len() as u64);
            self.accepted.inc_by(refused.len() as u64);
            self.answer(refused, accepted_us, &ack);
        }
        if items.is_empty() {
            return ack.ack();
        }
        (self.gather)(Offer { items, ack, spans });
    }
}

impl Handler<MessagesTaken> for Ingester {
    type Result = ();

    fn handle(&mut self, MessagesTaken(messages): MessagesTaken, _: &mut Self::Context) {
        let accepted_us = now_us();
        let (mut items, mut acks) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        let (mut spans, mut refused, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            match self.messages.take(&message, accepted_us) {
                Taken::Asked(item, span) => {
                    items.push(item);
                    acks.push(message.ack);
                    spans.extend(span);
                }
                Taken::Refused(item) => {
                    refused.push(item);
                    told.push(message.ack);
                }
                Taken::Dead(letter, item) => {
                    message.reject();
                    if let Some(item) = item {
                        refused.push(item);
                        told.push(message.ack.share());
                    }
                    self.dead_letters.send(letter, message.ack);
                }
            }
        }
        if !refused.is_empty() {
            self.metrics.received.inc_by(refused.len() as u64);
            self.accepted.inc_by(refused.len() as u64);
            let ack = Ack::join(told);
            self.answer(refused, accepted_us, &ack);
            ack.ack();
        }
        if !items.is_empty() {
            (self.gather)(Offer { items, ack: Ack::join(acks), spans });
        }
    }
}
