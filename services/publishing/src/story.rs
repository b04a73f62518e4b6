//! Spans afterwards: what a slow or failed request that was not sampled went through, from the stage times it carries.

use std::sync::atomic::{AtomicU64, Ordering};

use forebay_bus::stage_name;
use forebay_contract::{Context, Failure, Origin, Stage, StageTime};
use forebay_runtime::{Host, KeyValue, SpanKind, SpanRecord, StageTracer, TraceContext};

/// Stories told in a second at most: a flood of bad requests must not become a flood of spans.
const A_SECOND: u64 = 50;

/// Tells such stories, each stage's part under the name of that stage.
#[derive(Debug)]
pub(crate) struct Teller {
    parts: Vec<(Stage, StageTracer, String)>,
    from_kafka: String,
    enabled: bool,
    slow_us: u64,
    /// Second of the last story, and how many there were in it (low 16 bits).
    told: AtomicU64,
}

impl Teller {
    pub(crate) fn new(host: &Host) -> Self {
        let topics = &host.shared().topics;
        let stages = [
            (Stage::Ingestion, "POST /v1/predict".to_owned()),
            (Stage::Preprocessing, format!("process {}", topics.requests)),
            (Stage::Caching, format!("process {}", topics.features)),
            (Stage::Prediction, format!("process {}", topics.predict)),
            (Stage::Publishing, format!("process {}", topics.results)),
        ];
        let part = |(stage, name)| (stage, host.telemetry().stage(stage_name(stage)), name);
        Self {
            parts: stages.into_iter().map(part).collect(),
            from_kafka: format!("process {}", topics.requests_in),
            enabled: host.telemetry().is_enabled(),
            slow_us: u64::try_from(host.shared().telemetry.slow.as_micros()).unwrap_or(u64::MAX),
            told: AtomicU64::new(0),
        }
    }

    /// Whether an item has a story to be told: it was not sampled, and it failed or took long.
    pub(crate) fn wants(&self, context: &Context, failed: bool, now_us: u64) -> bool {
        self.enabled
            && !context.sampled()
            && (failed || now_us.saturating_sub(context.accepted_us()) > self.slow_us)
            && self.in_budget(now_us / 1_000_000)
    }

    /// Counts are exact enough: a race at the turn of a second tells a story more or less.
    fn in_budget(&self, second: u64) -> bool {
        let told = self.told.load(Ordering::Relaxed);
        let count = if told >> 16 == second { told & 0xFFFF } else { 0 };
        if count < A_SECOND {
            self.told.store(second << 16 | (count + 1), Ordering::Relaxed);
        }
        count < A_SECOND
    }

    /// Writes a span for each stage, the one before as its parent.
    pub(crate) fn tell(&self, context: &Context, failure: Option<&Failure>, stages: &[StageTime], end_us: u64) {
        for (record, tracer) in self.chain(context, failure, stages, end_us) {
            tracer.record(record);
        }
    }

    fn chain<'a>(
        &'a self,
        context: &'a Context,
        failure: Option<&'a Failure>,
        stages: &'a [StageTime],
        end_us: u64,
    ) -> impl Iterator<Item = (SpanRecord, &'a StageTracer)> {
        let mut parent_span_id = [0; 8];
        stages.iter().enumerate().filter_map(move |(index, time)| {
            let (stage, tracer, name) = self.parts.iter().find(|(stage, ..)| i32::from(*stage) == time.stage)?;
            let from_kafka = matches!(context.origin(), Some(Origin::Kafka(_)));
            let (name, kind) = match stage {
                Stage::Ingestion if from_kafka => (&self.from_kafka, SpanKind::Consumer),
                Stage::Ingestion => (name, SpanKind::Server),
                _ => (name, SpanKind::Consumer),
            };
            let next = stages.get(index + 1).map_or(end_us, |next| next.entered_us);
            // an error comes from the last stage before this one
            let culprit = index + 2 == stages.len() || stages.len() == 1;
            let error = failure.filter(|_| culprit).map(|f| (f.code.clone().into(), f.message.clone()));
            let own = TraceContext {
                trace_id: context.trace_id(),
                span_id: TraceContext::new_span_id(),
                flags: context.trace_flags(),
            };
            let record = SpanRecord {
                name: name.clone().into(),
                kind,
                context: own,
                parent_span_id: std::mem::replace(&mut parent_span_id, own.span_id),
                start_us: time.entered_us,
                end_us: if time.left_us == 0 { next } else { time.left_us }.max(time.entered_us),
                attributes: attributes(context),
                error,
                links: Vec::new(),
            };
            Some((record, tracer))
        })
    }
}

fn attributes(context: &Context) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("forebay.ask", context.ask().to_string()),
        KeyValue::new("forebay.row", i64::from(context.row())),
        KeyValue::new("forebay.afterwards", true),
    ];
    if let Some(id) = context.request_id() {
        attributes.push(KeyValue::new("messaging.message.conversation_id", id.to_owned()));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{batch, http, kafka, shared};
    use forebay_contract::{AskId, ErrorCode, Problem, now_us};

    fn teller() -> Teller {
        let mut teller = Teller::new(&Host::detached(shared(&[])));
        teller.enabled = true;
        teller
    }

    #[test]
    fn the_chain_has_a_span_of_each_stage_below_the_one_before() {
        let teller = teller();
        let context = kafka(AskId([1; 16])).request_id("r").build();
        let mut batch = batch(Vec::new());
        batch.enter(Stage::Publishing);
        let failure = Problem::new(ErrorCode::ModelUnavailable, "every version is open").into();
        let end = now_us() + 5;
        let spans: Vec<_> = teller.chain(&context, Some(&failure), &batch.stages, end).map(|(span, _)| span).collect();
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["process inference-requests", "process forebay.predict", "process forebay.results"]);
        assert_eq!(spans[0].parent_span_id, [0; 8]);
        assert_eq!(spans[1].parent_span_id, spans[0].context.span_id);
        assert_eq!(spans[2].parent_span_id, spans[1].context.span_id);
        assert!(spans.iter().all(|span| span.context.trace_id == [7; 16] && span.end_us >= span.start_us));
        assert_eq!(spans[2].end_us, end);
        assert_eq!(spans[1].error.as_ref().map(|(code, _)| code.as_ref()), Some("model_unavailable"));
        assert!(spans[0].error.is_none() && spans[2].error.is_none());
        let http = http(AskId([1; 16]), 0).build();
        assert_eq!(teller.chain(&http, None, &batch.stages, end).next().unwrap().0.name, "POST /v1/predict");
    }

    #[test]
    fn only_slow_or_failed_unsampled_items_have_a_story() {
        let teller = teller();
        let quick = kafka(AskId([1; 16])).build();
        assert!(!teller.wants(&quick, false, quick.accepted_us() + 10));
        assert!(teller.wants(&quick, true, quick.accepted_us() + 10));
        assert!(teller.wants(&quick, false, quick.accepted_us() + 1_000_001));
        let sampled = kafka(AskId([1; 16])).sampled().build();
        assert!(!teller.wants(&sampled, true, sampled.accepted_us() + 5_000_000));
    }

    #[test]
    fn a_flood_is_cut_to_a_budget_a_second() {
        let teller = teller();
        let context = kafka(AskId([1; 16])).build();
        let told = |at| (0..200).filter(|_| teller.wants(&context, true, at)).count();
        assert_eq!(told(1_700_000_000_000_000), 50);
        assert_eq!(told(1_700_000_001_000_000), 50);
    }
}
