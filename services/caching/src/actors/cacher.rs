//! The one actor of the stage: carries messages to the [`Keeper`] and runs the second level's I/O beside them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use forebay_bus::{Delivery, Permit};
use forebay_contract::{Batch, Features, Item, Prediction};
use forebay_runtime::Component;

use crate::keeper::{Keeper, Question};
use crate::metrics::CacheMetrics;
use crate::second_level::{SecondLevel, Write, within};

/// Waits are not worth a timer finer than this.
const TICK: Duration = Duration::from_millis(2);
/// Stores under way at once; when the second level is that far behind, more would only queue in its connection.
const STORES: usize = 16;

/// Looks up and stores; owns the levels and the flights alone.
pub(crate) struct Cacher {
    pub(crate) keeper: Keeper,
    pub(crate) second: Option<Arc<dyn SecondLevel>>,
    pub(crate) timeout: Duration,
    pub(crate) metrics: CacheMetrics,
    pub(crate) component: Component,
    pub(crate) storing: usize,
    pub(crate) armed: Option<(Instant, SpawnHandle)>,
}

/// A batch to answer or to send on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Lookup(pub(crate) Delivery<Batch<Features>>);

/// Predictions to store; the permit bounds how many wait.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Landed(pub(crate) Vec<Item<Prediction>>, pub(crate) Permit);

/// Every waiter goes on as a miss.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Release;

impl Actor for Cacher {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.component.ready();
    }
}

impl Cacher {
    fn ask(&mut self, question: Question, ctx: &mut Context<Self>) {
        let Some(second) = &self.second else {
            return self.keeper.hear(question, Ok(Vec::new()), Instant::now());
        };
        if question.probe {
            second.renew();
        }
        let reply = within(self.timeout, second.get(question.keys()));
        ctx.spawn(reply.into_actor(self).map(move |found, actor, ctx| {
            actor.keeper.hear(question, found, Instant::now());
            actor.arm(ctx);
        }));
    }

    fn store(&mut self, writes: Vec<Write>, ctx: &mut Context<Self>) {
        let Some(second) = self.second.as_ref().filter(|_| !writes.is_empty()) else {
            return;
        };
        if self.storing >= STORES {
            return self.metrics.bypassed("busy", writes.len());
        }
        self.storing += 1;
        let items = writes.len();
        let reply = within(self.timeout, second.put(writes));
        ctx.spawn(reply.into_actor(self).map(move |reply, actor, _| {
            actor.storing -= 1;
            actor.keeper.stored(items, reply, Instant::now());
        }));
    }

    /// Sees to it that the keeper hears of the time when it next has to.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.keeper.next_due() else {
            return;
        };
        if let Some((at, timer)) = self.armed {
            if at <= due + TICK {
                return;
            }
            ctx.cancel_future(timer);
        }
        let wait = due.saturating_duration_since(Instant::now()).max(TICK);
        let timer = ctx.run_later(wait, |actor, ctx| {
            actor.armed = None;
            actor.keeper.tick(Instant::now());
            actor.arm(ctx);
        });
        self.armed = Some((Instant::now() + wait, timer));
    }
}

impl Handler<Lookup> for Cacher {
    type Result = ();

    fn handle(&mut self, Lookup(delivery): Lookup, ctx: &mut Context<Self>) {
        if let Some(question) = self.keeper.admit(delivery, Instant::now()) {
            self.ask(question, ctx);
        }
        self.arm(ctx);
    }
}

impl Handler<Landed> for Cacher {
    type Result = ();

    fn handle(&mut self, Landed(predictions, permit): Landed, ctx: &mut Context<Self>) {
        let writes = self.keeper.land(predictions, Instant::now());
        drop(permit);
        self.store(writes, ctx);
        self.arm(ctx);
    }
}

impl Handler<Release> for Cacher {
    type Result = ();

    fn handle(&mut self, _: Release, _: &mut Context<Self>) {
        self.keeper.release_all();
    }
}
