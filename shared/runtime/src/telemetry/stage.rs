//! The tracer of one stage.

use std::borrow::Cow;
use std::sync::Arc;

use forebay_contract::now_us;
use opentelemetry::trace::SpanKind;

use super::budget::Budget;
use super::export::SpanQueue;
use super::sampler::Sampler;
use super::{SpanRecord, StageSpan, TraceContext, span};

/// How many traces a second are recorded because callers want it, beyond those that the sampler takes itself.
const MAX_CALLER_SAMPLED: u16 = 500;

/// Starts spans under the `service.name` of one stage. Clones share the stage's queue.
#[derive(Debug, Clone)]
pub struct StageTracer {
    sampler: Sampler,
    queue: Option<Arc<SpanQueue>>,
    caller_sampled: Arc<Budget>,
}

impl StageTracer {
    pub(super) fn new(sampler: Sampler, queue: Option<Arc<SpanQueue>>) -> Self {
        Self { sampler, queue, caller_sampled: Arc::new(Budget::new(MAX_CALLER_SAMPLED)) }
    }

    /// A tracer that does nothing, for tests of a stage.
    pub fn disabled() -> Self {
        Self::new(Sampler::never(), None)
    }

    /// Whether spans are exported.
    pub fn is_enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// The context of a new request, which says whether it is recorded: the caller's context if there is one (unless
    /// the sampler is not parent-based, and within a budget of sampled ones per second), else a new trace. A new trace has a zero `span_id`, so its first span becomes
    /// the root. Without an export new traces are not sampled, but a caller's context is passed on unchanged.
    pub fn sample_root(&self, remote: Option<TraceContext>) -> TraceContext {
        match (remote, &self.queue) {
            (Some(remote), None) => remote,
            (remote, _) => self.sampler.decide(remote, || self.caller_sampled.take(now_us())),
        }
    }

    /// Starts a span at `start_us` (Unix time in microseconds) below `parent`. The span is empty if the trace is not
    /// sampled; check [`TraceContext::sampled`] first where preparing its attributes costs something.
    pub fn start(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: TraceContext,
        start_us: u64,
    ) -> StageSpan {
        match &self.queue {
            Some(queue) if parent.sampled() => StageSpan::open(queue, name.into(), kind, parent, start_us),
            _ => StageSpan::empty(parent),
        }
    }

    /// Records a span that has ended, with the ids and times of the record. It is exported even if its trace was not
    /// sampled, so that slow requests can be recorded afterwards.
    pub fn record(&self, record: SpanRecord) {
        if let Some(queue) = &self.queue {
            span::send(queue, record);
        }
    }
}
