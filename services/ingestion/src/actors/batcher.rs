//! The batcher actor: items from every entry point leave as batches, at a limited rate.

use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use forebay_bus::Outlet;
use forebay_bus::kafka::{GroupSize, IntakePace};
use forebay_contract::{Request, now_us};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Component, Heartbeat, StageMetrics};

use crate::batching::{Batcher, FlushTime, PendingItems, ReadyBatch};

/// Items from an entry point.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AddItems(pub PendingItems);

/// Sends the pending items if they are due.
#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

/// Owns the pending items between two batches.
pub(crate) struct BatcherActor {
    batcher: Batcher,
    /// The replicas that share the rate.
    group: GroupSize,
    /// Tells the source of Kafka records when the next batch leaves.
    pace: IntakePace,
    requests: Outlet<Request>,
    metrics: StageMetrics,
    accepted: Counter,
    /// A `Flush` is on its way.
    scheduled: bool,
    component: Component,
    heartbeat: Heartbeat,
}

impl BatcherActor {
    pub(crate) fn new(
        batcher: Batcher,
        (group, pace): (GroupSize, IntakePace),
        requests: Outlet<Request>,
        metrics: StageMetrics,
        accepted: Counter,
        component: Component,
    ) -> Self {
        let heartbeat = component.heartbeat();
        Self { batcher, group, pace, requests, metrics, accepted, scheduled: false, component, heartbeat }
    }

    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if self.scheduled {
            return;
        }
        let now = Instant::now();
        match self.batcher.flush_time(now) {
            FlushTime::Idle => return,
            // queued behind the rest of the mailbox, so that items that arrived together leave together
            FlushTime::Now => ctx.notify(Flush),
            FlushTime::At(at) => {
                ctx.notify_later(Flush, at - now);
            }
        }
        self.scheduled = true;
    }
}

fn send(ready: ReadyBatch, requests: &Outlet<Request>, metrics: &StageMetrics) {
    let ReadyBatch { batch, ack, spans } = ready;
    metrics.batch_size.observe(batch.items.len() as f64);
    let now = now_us();
    let waited = batch.stages.first().map_or(0, |stage| now.saturating_sub(stage.entered_us));
    metrics.duration_seconds.observe(waited as f64 / 1e6);
    requests.send(batch, ack);
    spans.into_iter().for_each(|span| span.end_at(now));
}

impl Actor for BatcherActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // permits bound how many items wait here; the mailbox does not
        ctx.set_mailbox_capacity(1024);
        actix::spawn(self.heartbeat.clone().beat_from_task());
        self.component.ready();
    }
}

impl Handler<AddItems> for BatcherActor {
    type Result = ();

    fn handle(&mut self, AddItems(pending): AddItems, ctx: &mut Self::Context) {
        // here as well: no timer runs while the mailbox is never empty
        self.heartbeat.beat();
        self.metrics.received.inc_by(pending.items.len() as u64);
        self.accepted.inc_by(pending.items.len() as u64);
        let Self { batcher, requests, metrics, .. } = self;
        let now = Instant::now();
        batcher.add(pending, now, |ready| send(ready, requests, metrics));
        if let Some(ready) = batcher.flush_if_large(now) {
            send(ready, requests, metrics);
        }
        self.schedule(ctx);
    }
}

impl Handler<Flush> for BatcherActor {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) {
        self.scheduled = false;
        let now = Instant::now();
        self.batcher.share_rate(self.group.members());
        // a full batch may have left in the meantime and used up the rate
        if self.batcher.flush_time(now) == FlushTime::Now
            && let Some(ready) = self.batcher.flush(now)
        {
            send(ready, &self.requests, &self.metrics);
            self.batcher.next_flush().into_iter().for_each(|at| self.pace.due(at));
        }
        self.schedule(ctx);
    }
}
