//! Logs and traces requests that are rejected before they enter the mesh, because no later stage sees them.

use std::sync::Arc;

use forebay_contract::Problem;
use forebay_runtime::{Budget, KeyValue, SpanKind, SpanRecord, StageTracer, TraceContext};

/// Most spans and log lines of rejections per second.
const MAX_SPANS: u16 = 50;
const MAX_LINES: u16 = 10;

/// Reports rejections. Clones share the budget.
#[derive(Clone, Debug)]
pub(crate) struct RejectionReporter {
    tracer: StageTracer,
    /// Budgets of spans and of log lines.
    budgets: Arc<[Budget; 2]>,
}

impl RejectionReporter {
    pub(crate) fn new(tracer: StageTracer) -> Self {
        Self { tracer, budgets: Arc::new([Budget::new(MAX_SPANS), Budget::new(MAX_LINES)]) }
    }

    /// Logs the rejection of a request that arrived and ended at these times (Unix microseconds). Records its span as well
    /// if the trace was not sampled; otherwise the request's own span shows the error.
    pub(crate) fn report(
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
            tracing::info!(%trace_id, route, caller, code, reason, "request rejected");
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
