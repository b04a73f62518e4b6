//! The one actor of the stage: carries messages to the [`Dispatcher`]. It is one, so that the outcomes of a partition
//! are deduplicated in their order.

use std::collections::VecDeque;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use forebay_bus::Delivery;
use forebay_contract::{Batch, Outcome};
use forebay_runtime::{Component, Heartbeat};

use crate::dispatcher::Dispatcher;
use crate::pending::PendingResult;

/// How often expired ids are removed and results that are held back are tried again.
const TICK: Duration = Duration::from_millis(250);

/// Publish this batch of the results edge.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Publish(pub(crate) Delivery<Batch<Outcome>>);

/// Dispatch these results again: they waited for another copy of theirs.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Redispatch(pub(crate) Vec<PendingResult>);

/// Owns the dispatcher, and holds results back while the dedupe window is full.
pub(crate) struct Publisher {
    dispatcher: Dispatcher,
    /// Held back in their order of arrival. Bounded by the permits of unfinished work.
    held: VecDeque<Held>,
    /// Dropped with the actor: an actor that dies takes the process down.
    component: Component,
    heartbeat: Heartbeat,
}

enum Held {
    Results(Vec<PendingResult>),
    Delivery(Delivery<Batch<Outcome>>),
}

impl Publisher {
    pub(crate) fn new(dispatcher: Dispatcher, component: Component) -> Self {
        let heartbeat = component.heartbeat();
        Self { dispatcher, held: VecDeque::new(), component, heartbeat }
    }

    fn hold(&mut self, held: Held, first: bool) {
        if first {
            self.held.push_front(held)
        } else {
            self.held.push_back(held)
        }
        self.show_held();
    }

    fn show_held(&self) {
        let items = |held: &Held| match held {
            Held::Results(results) => results.len(),
            Held::Delivery(delivery) => delivery.payload.items.len(),
        };
        self.dispatcher.show_held(self.held.iter().map(items).sum());
    }

    fn tick(&mut self) {
        let mut room = self.dispatcher.advance();
        while room && let Some(held) = self.held.pop_front() {
            let rest = match held {
                Held::Results(results) => self.dispatcher.dispatch(results),
                Held::Delivery(delivery) => self.dispatcher.take(delivery),
            };
            room = rest.is_empty();
            if !room {
                self.held.push_front(Held::Results(rest));
            }
            self.show_held();
        }
    }
}

impl Actor for Publisher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.component.ready();
        ctx.run_interval(TICK, |publisher, _| publisher.tick());
        actix::spawn(self.heartbeat.clone().beat_from_task());
    }
}

impl Handler<Publish> for Publisher {
    type Result = ();

    fn handle(&mut self, Publish(delivery): Publish, _: &mut Self::Context) {
        // here as well: no timer runs while the mailbox is never empty
        self.heartbeat.beat();
        if !self.held.is_empty() {
            return self.hold(Held::Delivery(delivery), false);
        }
        let rest = self.dispatcher.take(delivery);
        if !rest.is_empty() {
            tracing::warn!(items = rest.len(), "dedupe window is full, holding intake back");
            self.hold(Held::Results(rest), true);
        }
    }
}

impl Handler<Redispatch> for Publisher {
    type Result = ();

    fn handle(&mut self, Redispatch(results): Redispatch, _: &mut Self::Context) {
        // ahead of what is held back: their ids are in the window, or were a moment ago
        let rest = self.dispatcher.dispatch(results);
        if !rest.is_empty() {
            self.hold(Held::Results(rest), true);
        }
    }
}
