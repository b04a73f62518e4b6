//! Spans of a call: one for each sampled row below its own, and one for the batch, linked both ways.

use forebay_bus::trace_of;
use forebay_runtime::{KeyValue, SpanKind, SpanRecord, StageTracer, TraceContext};

use crate::infer::Verdict;
use crate::work::Group;

/// Writes the spans of a call that ran from `start_us` to `end_us`. Costs a byte test a row when none is sampled.
pub(crate) fn spans(tracer: &StageTracer, group: &Group, verdicts: &[Verdict], start_us: u64, end_us: u64) {
    if !group.jobs.iter().any(|job| job.item.context.sampled()) {
        return;
    }
    let batch = TraceContext::root(true).child();
    let rows = i64::try_from(group.jobs.len()).unwrap_or(i64::MAX);
    let mut links = Vec::new();
    for (job, verdict) in group.jobs.iter().zip(verdicts).filter(|(job, _)| job.item.context.sampled()) {
        let mut span = tracer.start("infer", SpanKind::Internal, trace_of(&job.item), start_us);
        span.set("forebay.model", group.pinned.model.clone());
        span.set("forebay.batch.size", rows);
        match verdict {
            Verdict::Answered { version, .. } => {
                span.set("forebay.version", i64::from(version.number()));
                if version.number() != group.pinned.number {
                    span.set("forebay.fallback_from", i64::from(group.pinned.number));
                }
            }
            Verdict::Failed(problem) => {
                span.set("forebay.version", i64::from(group.pinned.number));
                span.error(problem.code.as_str(), problem.message.clone());
            }
        }
        span.link(batch);
        links.push(span.context());
        span.end_at(end_us);
    }
    tracer.record(SpanRecord {
        name: "infer batch".into(),
        kind: SpanKind::Internal,
        context: batch,
        parent_span_id: [0; 8],
        start_us,
        end_us,
        attributes: vec![
            KeyValue::new("forebay.model", group.pinned.model.clone()),
            KeyValue::new("forebay.version", i64::from(group.pinned.number)),
            KeyValue::new("forebay.batch.size", rows),
        ],
        error: None,
        links,
    });
}
