//! The one actor of the stage: carries messages to the [`CacheStage`] and runs the I/O of the L2 cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use forebay_bus::{Delivery, Permit};
use forebay_contract::{Batch, Features, Item, Prediction};
use forebay_runtime::{Component, Heartbeat};

use crate::lookup::{CacheStage, L2Lookup};
use crate::metrics::CacheMetrics;
use crate::remote::{CacheWrite, RemoteCache, within};

/// Resolution of the timer that ends waits; finer is not worth a timer.
const TICK: Duration = Duration::from_millis(2);
/// Writes in flight at most. If the L2 cache is this far behind, more of them would only queue in its connection.
const MAX_WRITES: usize = 16;

/// Owns the caches and the flights, so that nothing behind it takes a lock.
pub(crate) struct CacheActor {
    pub(crate) stage: CacheStage,
    /// The L2 cache; `None` keeps answers in memory only.
    pub(crate) l2: Option<Arc<dyn RemoteCache>>,
    /// How long one L2 command may take.
    pub(crate) l2_timeout: Duration,
    pub(crate) metrics: CacheMetrics,
    /// Dropped with the actor: an actor that dies takes the process down.
    pub(crate) component: Component,
    pub(crate) heartbeat: Heartbeat,
    /// L2 writes in flight.
    pub(crate) writing: usize,
    /// When the pending timer fires.
    pub(crate) timer: Option<(Instant, SpawnHandle)>,
}

/// Answer the items of this batch, or send them on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LookUp(pub(crate) Delivery<Batch<Features>>);

/// Store these predictions. The permit bounds how many wait in the mailbox.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StorePredictions(pub(crate) Vec<Item<Prediction>>, pub(crate) Permit);

/// Send every waiter on as a miss.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReleaseWaiters;

impl Actor for CacheActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        actix::spawn(self.heartbeat.clone().beat_from_task());
        self.component.ready();
    }
}

impl CacheActor {
    fn look_up_l2(&mut self, lookup: L2Lookup, ctx: &mut Context<Self>) {
        let Some(l2) = &self.l2 else {
            return self.stage.on_l2_reply(lookup, Ok(Vec::new()), Instant::now());
        };
        if lookup.probe {
            l2.reconnect();
        }
        let reply = within(self.l2_timeout, l2.get(lookup.keys()));
        ctx.spawn(reply.into_actor(self).map(move |reply, actor, ctx| {
            actor.stage.on_l2_reply(lookup, reply, Instant::now());
            actor.schedule_tick(ctx);
        }));
    }

    fn write_l2(&mut self, writes: Vec<CacheWrite>, ctx: &mut Context<Self>) {
        let Some(l2) = self.l2.as_ref().filter(|_| !writes.is_empty()) else {
            return;
        };
        if self.writing >= MAX_WRITES {
            return self.metrics.bypassed("busy", writes.len());
        }
        self.writing += 1;
        let entries = writes.len();
        let result = within(self.l2_timeout, l2.put(writes));
        ctx.spawn(result.into_actor(self).map(move |result, actor, _| {
            actor.writing -= 1;
            actor.stage.on_l2_written(entries, result, Instant::now());
        }));
    }

    /// Schedules the stage's next tick.
    fn schedule_tick(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.stage.next_tick() else {
            return;
        };
        if let Some((at, timer)) = self.timer {
            if at <= due + TICK {
                return;
            }
            ctx.cancel_future(timer);
        }
        let wait = due.saturating_duration_since(Instant::now()).max(TICK);
        let timer = ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.stage.tick(Instant::now());
            actor.schedule_tick(ctx);
        });
        self.timer = Some((Instant::now() + wait, timer));
    }
}

impl Handler<LookUp> for CacheActor {
    type Result = ();

    fn handle(&mut self, LookUp(delivery): LookUp, ctx: &mut Context<Self>) {
        // here as well: no timer runs while the mailbox is never empty
        self.heartbeat.beat();
        if let Some(lookup) = self.stage.look_up(delivery, Instant::now()) {
            self.look_up_l2(lookup, ctx);
        }
        self.schedule_tick(ctx);
    }
}

impl Handler<StorePredictions> for CacheActor {
    type Result = ();

    fn handle(&mut self, StorePredictions(predictions, permit): StorePredictions, ctx: &mut Context<Self>) {
        let writes = self.stage.store(predictions, Instant::now());
        drop(permit);
        self.write_l2(writes, ctx);
        self.schedule_tick(ctx);
    }
}

impl Handler<ReleaseWaiters> for CacheActor {
    type Result = ();

    fn handle(&mut self, _: ReleaseWaiters, _: &mut Context<Self>) {
        self.stage.release_waiters();
    }
}
