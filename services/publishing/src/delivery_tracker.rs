//! Results between sending and confirmation, and what follows the confirmation.

use std::sync::Arc;

use forebay_bus::{Ack, AckOutcome};
use forebay_contract::{Context, ItemId, now_us};
use forebay_runtime::TraceContext;

use crate::amqp_results::AmqpReplies;
use crate::dedupe::{Now, Placement, SharedDeduplicator};
use crate::metrics::PublishingMetrics;
use crate::pending::{BatchScope, PendingResult};
use crate::slow_requests::{ReportedRequest, SlowRequestReporter};

/// A result that was sent and not confirmed yet.
#[derive(Debug)]
pub(crate) struct InFlightResult {
    pub(crate) id: ItemId,
    /// Where its answer is, if it goes to the result topic.
    pub(crate) placement: Option<Placement>,
    pub(crate) accepted_us: u64,
    /// Where it is announced to the other replicas, if it goes over RabbitMQ.
    pub(crate) amqp: Option<AmqpReplies>,
    pub(crate) failed: bool,
    pub(crate) ack: Ack,
    pub(crate) scope: Arc<BatchScope>,
    /// Present if there is a span to end or a report to write.
    pub(crate) reported: Option<Box<ReportedRequest>>,
}

/// Settles results when they are confirmed. Called on the threads of producers, so it holds the lock on the
/// deduplicator only briefly and leaves sending to the stage.
pub(crate) struct DeliveryTracker {
    pub(crate) deduplicator: SharedDeduplicator,
    pub(crate) metrics: PublishingMetrics,
    pub(crate) reporter: SlowRequestReporter,
    /// Dispatches results again, on the stage's own thread.
    pub(crate) redispatch: Box<dyn Fn(Vec<PendingResult>) + Send + Sync>,
}

impl std::fmt::Debug for DeliveryTracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryTracker").finish_non_exhaustive()
    }
}

impl DeliveryTracker {
    /// Settles a result that was confirmed, or that could not be sent. Copies that waited for it are duplicates in the
    /// first case, and dispatched again in the second.
    pub(crate) fn settle(&self, result: InFlightResult, outcome: AckOutcome) {
        let sent = outcome == AckOutcome::Done;
        let waiting = self.deduplicator.lock().settle(result.id, result.placement.as_ref(), sent, Now::read());
        self.trace(&result, sent);
        if !sent {
            result.ack.nack();
            return self.redispatch(waiting);
        }
        if let Some(amqp) = &result.amqp {
            amqp.replied(result.id);
        }
        let latency = now_us().saturating_sub(result.accepted_us);
        let exported = result.reported.as_ref().filter(|it| it.context.sampled() || it.report.spans);
        let trace = exported.map(|reported| trace_context(&reported.context));
        self.metrics.legacy.latency_seconds.observe(latency as f64 / 1e6, trace);
        if result.failed {
            self.metrics.legacy.errors.inc();
        }
        result.ack.ack();
        let (callers, copies): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|copy| copy.idempotency_digest().is_some());
        copies.into_iter().for_each(|copy| self.drop_duplicate(copy));
        self.redispatch(callers);
    }

    /// Acknowledges and counts a copy of a result that was sent already.
    pub(crate) fn drop_duplicate(&self, copy: PendingResult) {
        self.metrics.duplicates.inc();
        end_span(&copy.scope, &copy.item.context, |span| span.set("forebay.duplicate", true));
        copy.ack.ack();
    }

    fn redispatch(&self, results: Vec<PendingResult>) {
        if !results.is_empty() {
            (self.redispatch)(results);
        }
    }

    fn trace(&self, result: &InFlightResult, sent: bool) {
        let Some(reported) = &result.reported else { return };
        if reported.context.sampled() {
            end_span(&result.scope, &reported.context, |span| {
                if !sent {
                    span.error("unavailable", "the result could not be sent, its request is processed again");
                }
            });
        }
        if sent {
            self.reporter.report(reported, result.scope.stages(), now_us());
        }
    }
}

fn trace_context(context: &Context) -> TraceContext {
    TraceContext { trace_id: context.trace_id(), span_id: [0; 8], flags: context.trace_flags() }
}

/// Ends the stage's span of an item, if it is sampled, after `last` has changed it.
pub(crate) fn end_span(scope: &BatchScope, context: &Context, last: impl FnOnce(&mut forebay_runtime::StageSpan)) {
    if !context.sampled() {
        return;
    }
    let span = scope.spans().lock().take(context);
    if let Some(mut span) = span {
        last(&mut span);
    }
}
