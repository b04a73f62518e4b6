//! What is told of requests that the HTTP door refuses itself: nobody behind it will.

use std::sync::Arc;

use forebay_contract::Problem;
use forebay_runtime::{Budget, KeyValue, SpanKind, SpanRecord, StageTracer, TraceContext};

/// Refusals told of in a second at most: as spans, and in the log.
const SPANS: u16 = 50;
const LINES: u16 = 10;

/// Tells of them. Clones share the budget.
#[derive(Clone, Debug)]
pub(crate) struct Refusals {
    tracer: StageTracer,
    budgets: Arc<[Budget; 2]>,
}

impl Refusals {
    pub(crate) fn new(tracer: StageTracer) -> Self {
        Self { tracer, budgets: Arc::new([Budget::new(SPANS), Budget::new(LINES)]) }
    }

    /// Logs the refusal of a request that arrived and ended at these times, and writes its span when it was not sampled.
    pub(super) fn tell(
        &self,
        trace: TraceContext,
        route: &str,
        caller: Option<&str>,
        problem: &Problem,
        arrived_us: u64,
        ended_us: u64,
    ) {
        let [spans, lines] = &*self.budgets;
        let (code, status) = (problem.code, problem.code.status());
        if lines.take(ended_us) {
            let (trace_id, code, reason) = (trace.trace_id_hex(), code.as_str(), &problem.message);
            tracing::info!(%trace_id, route, caller, code, reason, "request was refused at the door");
        }
        if trace.sampled() || !self.tracer.is_enabled() || !spans.take(ended_us) {
            return;
        }
        let mut attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(status)),
            KeyValue::new("forebay.afterwards", true),
        ];
        attributes.extend(caller.map(|caller| KeyValue::new("forebay.caller", caller.to_owned())));
        self.tracer.record(SpanRecord {
            name: format!("POST {route}").into(),
            kind: SpanKind::Server,
            context: trace.child(),
            parent_span_id: trace.span_id,
            start_us: arrived_us,
            end_us: ended_us,
            attributes,
            error: Some((code.as_str().into(), problem.message.clone())),
            links: Vec::new(),
        });
    }
}
