//! The spans of a call: one for each sampled row, as a child of the span of its stage, and one for the batch, which
//! links to them.

use forebay_bus::trace_of;
use forebay_runtime::{KeyValue, SpanKind, SpanRecord, StageTracer, TraceContext};

use crate::infer::RowResult;
use crate::queue::RowGroup;

/// Records the spans of a call that ran from `start_us` to `end_us`. When no row is sampled it costs one test for each.
pub(crate) fn spans(tracer: &StageTracer, group: &RowGroup, results: &[RowResult], start_us: u64, end_us: u64) {
    if !group.rows.iter().any(|row| row.item.context.sampled()) {
        return;
    }
    let batch = TraceContext::root(true).child();
    let rows = i64::try_from(group.rows.len()).unwrap_or(i64::MAX);
    let mut links = Vec::new();
    for (row, result) in group.rows.iter().zip(results).filter(|(row, _)| row.item.context.sampled()) {
        let mut span = tracer.start("infer", SpanKind::Internal, trace_of(&row.item), start_us);
        span.set("forebay.model", group.pinned.model.clone());
        span.set("forebay.batch.size", rows);
        match result {
            RowResult::Answered { version, .. } => {
                span.set("forebay.version", i64::from(version.number()));
                if version.number() != group.pinned.number {
                    span.set("forebay.fallback_from", i64::from(group.pinned.number));
                }
            }
            RowResult::Failed(problem) => {
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
