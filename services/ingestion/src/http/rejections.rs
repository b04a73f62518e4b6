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

    /// Logs the rejection of a request that arrived and ended at these times (Unix microseconds), and says whether the
    /// request's own span may be recorded: callers without credentials may ask for their traces to be sampled as well, so
    /// all rejections share a budget. If the trace was not sampled, a span is recorded here.
    pub(crate) fn report(
        &self,
        trace: TraceContext,
        route: &str,
        caller: Option<&str>,
        problem: &Problem,
        arrived_us: u64,
        ended_us: u64,
    ) -> bool {
        let [spans, lines] = &*self.budgets;
        let (code, status) = (problem.code, problem.code.status());
        if lines.take(ended_us) {
            let (trace_id, code, reason) = (trace.trace_id_hex(), code.as_str(), &problem.message);
            tracing::info!(%trace_id, route, caller, code, reason, "request rejected");
        }
        if !self.tracer.is_enabled() || !spans.take(ended_us) {
            return false;
        }
        if trace.sampled() {
            return true;
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
        false
    }
}

#[cfg(test)]
mod tests {
    use forebay_contract::ErrorCode;
    use forebay_runtime::{OtelEnvironment, Process, Telemetry, TelemetrySettings};

    use super::*;

    #[actix_rt::test]
    async fn spans_of_rejections_have_a_budget_whoever_sampled_them() {
        // nothing listens there: what is counted is what would be exported
        let environment = OtelEnvironment::of([("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "http://127.0.0.1:1".into())]);
        let settings = TelemetrySettings { sample_ratio: 0.0, slow: std::time::Duration::from_secs(1) };
        let telemetry = Telemetry::start(Process::service("ingestion"), &settings, &environment).unwrap();
        let reporter = RejectionReporter::new(telemetry.stage("ingestion"));
        let problem = Problem::new(ErrorCode::Unauthorized, "no credentials");
        let report = |sampled, at_us| reporter.report(TraceContext::root(sampled), "/", None, &problem, at_us, at_us);
        let recorded = |at_us: u64| (0..200).filter(|_| report(true, at_us)).count();
        assert_eq!(recorded(1_700_000_000_000_000), usize::from(MAX_SPANS));
        assert_eq!(recorded(1_700_000_001_000_000), usize::from(MAX_SPANS));
        assert!(!report(false, 1_700_000_002_000_000), "its span is recorded afterwards, and there is no other");
    }
}
