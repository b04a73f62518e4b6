//! What is kept of an item until its delivery report, and what happens then.

use std::sync::Arc;
use std::time::Instant;

use forebay_bus::{Ack, AckOutcome};
use forebay_contract::{Context, Failure, ItemId, now_us};
use forebay_runtime::TraceContext;

use crate::counters::Counters;
use crate::ledger::SharedLedger;
use crate::letter::{Journey, Letter};
use crate::story::{Notice, Teller};

/// An item on its way.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) id: ItemId,
    pub(crate) accepted_us: u64,
    pub(crate) failed: bool,
    pub(crate) ack: Ack,
    pub(crate) journey: Arc<Journey>,
    /// Present when there is a span to end or a story to tell.
    pub(crate) traced: Option<Box<Traced>>,
}

#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) context: Context,
    pub(crate) failure: Option<Failure>,
    pub(crate) notice: Notice,
}

/// Settles items when their reports are in. Called on the threads of producers, so it only ever takes the ledger for a
/// moment and leaves what is to be sent to the stage.
pub(crate) struct Settler {
    pub(crate) ledger: SharedLedger,
    pub(crate) counters: Counters,
    pub(crate) teller: Teller,
    /// Brings letters before the desk again, on the stage's own thread.
    pub(crate) again: Box<dyn Fn(Vec<Letter>) + Send + Sync>,
}

impl std::fmt::Debug for Settler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settler").finish_non_exhaustive()
    }
}

impl Settler {
    pub(crate) fn settle(&self, receipt: Receipt, outcome: AckOutcome) {
        let sent = outcome == AckOutcome::Done;
        let waiting = self.ledger.lock().settle(receipt.id, sent, Instant::now());
        self.trace(&receipt, sent);
        if !sent {
            receipt.ack.nack();
            return self.bring_again(waiting);
        }
        let latency = now_us().saturating_sub(receipt.accepted_us);
        let exported = receipt.traced.as_ref().filter(|it| it.context.sampled() || it.notice.spans);
        let trace = exported.map(|traced| trace_context(&traced.context));
        self.counters.legacy.latency_seconds.observe(latency as f64 / 1e6, trace);
        if receipt.failed {
            self.counters.legacy.errors.inc();
        }
        receipt.ack.ack();
        let (callers, copies): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|it| it.idempotency().is_some());
        copies.into_iter().for_each(|copy| self.duplicate(copy));
        self.bring_again(callers);
    }

    /// A copy of an item that was answered: done, and counted.
    pub(crate) fn duplicate(&self, letter: Letter) {
        self.counters.duplicates.inc();
        end_span(&letter.journey, &letter.item.context, |span| span.set("forebay.duplicate", true));
        letter.ack.ack();
    }

    fn bring_again(&self, letters: Vec<Letter>) {
        if !letters.is_empty() {
            (self.again)(letters);
        }
    }

    fn trace(&self, receipt: &Receipt, sent: bool) {
        let Some(traced) = &receipt.traced else { return };
        if traced.context.sampled() {
            end_span(&receipt.journey, &traced.context, |span| {
                if !sent {
                    span.error("unavailable", "the result could not be sent, it is made again");
                }
            });
        }
        if sent {
            self.teller.tell(traced, receipt.journey.stages(), now_us());
        }
    }
}

fn trace_context(context: &Context) -> TraceContext {
    TraceContext { trace_id: context.trace_id(), span_id: [0; 8], flags: context.trace_flags() }
}

/// Ends the stage's span of a sampled item.
pub(crate) fn end_span(journey: &Journey, context: &Context, last: impl FnOnce(&mut forebay_runtime::StageSpan)) {
    if !context.sampled() {
        return;
    }
    let span = journey.spans().lock().take(context);
    if let Some(mut span) = span {
        last(&mut span);
    }
}
