//! The gatherer: items of all doors leave as batches, paced.

use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use forebay_bus::Outlet;
use forebay_contract::{Request, now_us};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Component, StageMetrics};

use crate::gathering::{Due, Flush, Gathering, Offer};

/// Items of a door.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Offered(pub Offer);

/// What is pending leaves.
#[derive(Message)]
#[rtype(result = "()")]
struct Leave;

/// Holds what is pending between two batches.
pub(crate) struct Gatherer {
    gathering: Gathering,
    requests: Outlet<Request>,
    metrics: StageMetrics,
    accepted: Counter,
    scheduled: bool,
    component: Component,
}

impl Gatherer {
    pub(crate) fn new(
        gathering: Gathering,
        requests: Outlet<Request>,
        metrics: StageMetrics,
        accepted: Counter,
        component: Component,
    ) -> Self {
        Self { gathering, requests, metrics, accepted, scheduled: false, component }
    }

    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if self.scheduled {
            return;
        }
        let now = Instant::now();
        match self.gathering.due(now) {
            Due::Idle => return,
            // behind whatever is in the mailbox, so that what came together leaves together
            Due::Now => ctx.notify(Leave),
            Due::At(at) => {
                ctx.notify_later(Leave, at - now);
            }
        }
        self.scheduled = true;
    }
}

fn hand_over(flush: Flush, requests: &Outlet<Request>, metrics: &StageMetrics) {
    let Flush { batch, ack, spans } = flush;
    metrics.batch_size.observe(batch.items.len() as f64);
    let now = now_us();
    let waited = batch.stages.first().map_or(0, |stage| now.saturating_sub(stage.entered_us));
    metrics.duration_seconds.observe(waited as f64 / 1e6);
    requests.send(batch, ack);
    spans.into_iter().for_each(|span| span.end_at(now));
}

impl Actor for Gatherer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // permits bound what can be waiting here, not the mailbox
        ctx.set_mailbox_capacity(1024);
        self.component.ready();
    }
}

impl Handler<Offered> for Gatherer {
    type Result = ();

    fn handle(&mut self, Offered(offer): Offered, ctx: &mut Self::Context) {
        self.metrics.received.inc_by(offer.items.len() as u64);
        self.accepted.inc_by(offer.items.len() as u64);
        let Self { gathering, requests, metrics, .. } = self;
        gathering.add(offer, Instant::now(), |flush| hand_over(flush, requests, metrics));
        self.schedule(ctx);
    }
}

impl Handler<Leave> for Gatherer {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        self.scheduled = false;
        let now = Instant::now();
        // a batch that was full may have left meanwhile and taken the turn
        if self.gathering.due(now) == Due::Now
            && let Some(flush) = self.gathering.flush(now)
        {
            hand_over(flush, &self.requests, &self.metrics);
        }
        self.schedule(ctx);
    }
}
