//! Publishes outcomes: one actor, so that a partition's outcomes are judged in their order.

use std::collections::VecDeque;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use forebay_bus::Delivery;
use forebay_contract::{Batch, Outcome};
use forebay_runtime::Component;

use crate::desk::Desk;
use crate::letter::Letter;

/// Between two looks at the clock: old ids go, and what was held back gets its chance.
const TICK: Duration = Duration::from_millis(250);

/// A delivery from the results edge.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Incoming(pub(crate) Delivery<Batch<Outcome>>);

/// Letters that were waiting for another copy of theirs.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Again(pub(crate) Vec<Letter>);

/// The actor.
pub(crate) struct Publisher {
    desk: Desk,
    /// Held back while the window is full, in the order of arrival. Permits bound it.
    held: VecDeque<Held>,
    /// Dropped with the actor: a publisher that dies takes the process down.
    component: Component,
}

enum Held {
    Letters(Vec<Letter>),
    Delivery(Delivery<Batch<Outcome>>),
}

impl Publisher {
    pub(crate) fn new(desk: Desk, component: Component) -> Self {
        Self { desk, held: VecDeque::new(), component }
    }

    fn hold(&mut self, held: Held, first: bool) {
        if first {
            self.held.push_front(held)
        } else {
            self.held.push_back(held)
        }
        self.note_held();
    }

    fn note_held(&self) {
        let items = |held: &Held| match held {
            Held::Letters(letters) => letters.len(),
            Held::Delivery(delivery) => delivery.payload.items.len(),
        };
        self.desk.note_held(self.held.iter().map(items).sum());
    }

    fn tick(&mut self) {
        let mut room = self.desk.advance();
        while room && let Some(held) = self.held.pop_front() {
            let rest = match held {
                Held::Letters(letters) => self.desk.admit(letters),
                Held::Delivery(delivery) => self.desk.take(delivery),
            };
            room = rest.is_empty();
            if !room {
                self.held.push_front(Held::Letters(rest));
            }
            self.note_held();
        }
    }
}

impl Actor for Publisher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.component.ready();
        ctx.run_interval(TICK, |publisher, _| publisher.tick());
    }
}

impl Handler<Incoming> for Publisher {
    type Result = ();

    fn handle(&mut self, Incoming(delivery): Incoming, _: &mut Self::Context) {
        if !self.held.is_empty() {
            return self.hold(Held::Delivery(delivery), false);
        }
        let rest = self.desk.take(delivery);
        if !rest.is_empty() {
            tracing::warn!(items = rest.len(), "the window of answered items is full, holding intake back");
            self.hold(Held::Letters(rest), true);
        }
    }
}

impl Handler<Again> for Publisher {
    type Result = ();

    fn handle(&mut self, Again(letters): Again, _: &mut Self::Context) {
        // not behind what is held back: their ids are in the window, or were a moment ago
        let rest = self.desk.admit(letters);
        if !rest.is_empty() {
            self.hold(Held::Letters(rest), true);
        }
    }
}
