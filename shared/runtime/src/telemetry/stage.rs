//! The tracer of one stage.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::SpanKind;

use super::export::Pipe;
use super::sampler::Sampler;
use super::{SpanRecord, StageSpan, TraceContext, span};

/// Makes spans under the stage's own `service.name`. Clones share its queue.
#[derive(Debug, Clone)]
pub struct StageTracer {
    sampler: Sampler,
    pipe: Option<Arc<Pipe>>,
}

impl StageTracer {
    pub(super) fn new(sampler: Sampler, pipe: Option<Arc<Pipe>>) -> Self {
        Self { sampler, pipe }
    }

    /// A tracer that does nothing, for tests of a stage.
    pub fn disabled() -> Self {
        Self::new(Sampler::never(), None)
    }

    /// True when spans leave the process.
    pub fn is_enabled(&self) -> bool {
        self.pipe.is_some()
    }

    /// The context a request starts with, and with it the decision whether it is recorded: the caller's context when
    /// there is one (unless the sampler is not parent-based), else a new trace. A new one has a zero `span_id`, which
    /// makes the first span its root. Without export new traces are not sampled, but a caller's bit is passed on.
    pub fn sample_root(&self, remote: Option<TraceContext>) -> TraceContext {
        match (remote, &self.pipe) {
            (Some(remote), None) => remote,
            (remote, _) => self.sampler.decide(remote),
        }
    }

    /// Begins a span at `start_us` (Unix microseconds) below `parent`. Ask [`TraceContext::sampled`] first: for a trace
    /// that is not sampled this gives an empty span.
    pub fn start(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: TraceContext,
        start_us: u64,
    ) -> StageSpan {
        match &self.pipe {
            Some(pipe) if parent.sampled() => StageSpan::open(pipe, name.into(), kind, parent, start_us),
            _ => StageSpan::empty(parent),
        }
    }

    /// Writes a span afterwards, with ids and times of the caller's choice. It is exported even if its trace was not
    /// sampled; that is what it is for.
    pub fn record(&self, record: SpanRecord) {
        if let Some(pipe) = &self.pipe {
            span::send(pipe, record);
        }
    }
}
