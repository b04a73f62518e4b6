//! What every stage does with every batch: note the time, count, set expired items apart, open the spans of sampled
//! items.

use std::sync::Arc;

use forebay_contract::{Batch, Context, ErrorCode, Item, ItemId, Outcome, Problem, Stage, now_us};
use forebay_runtime::{Host, SpanKind, StageMetrics, StageSpan, StageTracer, TraceContext};
use rustc_hash::FxHashMap;

use crate::messaging::{MessagingOperation, set_consumer_group, set_conversation, set_messaging, set_partition};

/// The trace context an item's next span continues.
pub fn trace_of<P>(item: &Item<P>) -> TraceContext {
    TraceContext {
        trace_id: item.context.trace_id(),
        span_id: item.parent_span.to_be_bytes(),
        flags: item.context.trace_flags(),
    }
}

/// The span id of `span` as an item carries it.
pub fn span_id_of(span: &StageSpan) -> u64 {
    u64::from_be_bytes(span.context().span_id)
}

/// The name of a stage: its folder, its label in metrics, its `service.name` suffix.
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Ingestion => "ingestion",
        Stage::Preprocessing => "preprocessing",
        Stage::Caching => "caching",
        Stage::Prediction => "prediction",
        Stage::Publishing => "publishing",
        Stage::Unknown => "unknown",
    }
}

/// Opens batches for one stage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StageScope {
    stage: Stage,
    topic: Arc<str>,
    span_name: Arc<str>,
    group: Arc<str>,
    system: &'static str,
    metrics: StageMetrics,
    tracer: StageTracer,
}

/// A batch inside a stage.
#[derive(Debug)]
pub struct Entered<P> {
    /// Items whose deadline has not passed.
    pub batch: Batch<P>,
    /// Answers to the others.
    pub expired: Vec<Item<Outcome>>,
    /// Spans of the sampled items.
    pub spans: Spans,
    /// When the batch entered, Unix microseconds.
    pub entered_us: u64,
}

/// The open spans of a batch's sampled items. Empty, and free, when nothing is sampled; dropped, it ends them.
#[derive(Debug, Default)]
pub struct Spans(FxHashMap<ItemId, StageSpan>);

impl Spans {
    /// The span of an item.
    pub fn get(&mut self, context: &Context) -> Option<&mut StageSpan> {
        if self.0.is_empty() { None } else { self.0.get_mut(&context.item()) }
    }

    /// Ends the span of an item now.
    pub fn end(&mut self, context: &Context) {
        drop(self.take(context));
    }

    /// Takes the span of an item, to be ended elsewhere.
    pub fn take(&mut self, context: &Context) -> Option<StageSpan> {
        if self.0.is_empty() { None } else { self.0.remove(&context.item()) }
    }

    /// Whether nothing is sampled.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl StageScope {
    /// The scope of `stage`, which reads `topic`.
    pub fn new(host: &Host, stage: Stage, topic: &str) -> Self {
        let name = stage_name(stage);
        Self {
            stage,
            topic: topic.into(),
            span_name: format!("process {topic}").into(),
            group: format!("forebay-{name}").into(),
            system: if host.process().all_in_one { "forebay" } else { "kafka" },
            metrics: StageMetrics::register(host.metrics(), name),
            tracer: host.telemetry().stage(name),
        }
    }

    /// The metrics of the stage.
    pub fn metrics(&self) -> &StageMetrics {
        &self.metrics
    }

    /// The tracer of the stage.
    pub fn tracer(&self) -> &StageTracer {
        &self.tracer
    }

    /// Opens a batch. Items past their deadline become outcomes.
    pub fn enter<P>(&self, batch: Batch<P>) -> Entered<P> {
        let mut entered = self.enter_last(batch);
        let now = entered.entered_us;
        if entered.batch.items.iter().any(|item| item.context.expired(now)) {
            let items = std::mem::take(&mut entered.batch.items);
            let (late, live): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.context.expired(now));
            entered.batch.items = live;
            let stage = stage_name(self.stage);
            let problem = Problem::new(ErrorCode::DeadlineExceeded, format!("the deadline passed before {stage}"));
            let fail = |item| self.fail(item, problem.clone(), &mut entered.spans);
            entered.expired = late.into_iter().map(fail).collect();
        }
        entered
    }

    /// Opens a batch of outcomes at the last stage, which decides about late answers itself.
    pub fn enter_last<P>(&self, mut batch: Batch<P>) -> Entered<P> {
        let entered_us = batch.enter(self.stage);
        self.metrics.received.inc_by(batch.items.len() as u64);
        self.metrics.batch_size.observe(batch.items.len() as f64);
        let mut spans = Spans::default();
        if batch.items.iter().any(|item| item.context.sampled()) {
            for item in batch.items.iter_mut().filter(|item| item.context.sampled()) {
                let span = self.span(item, batch.batch_partition, entered_us);
                item.parent_span = span_id_of(&span);
                spans.0.insert(item.context.item(), span);
            }
        }
        Entered { batch, expired: Vec::new(), spans, entered_us }
    }

    /// Counts the time since a batch entered.
    pub fn leave(&self, entered_us: u64) {
        self.metrics.duration_seconds.observe(now_us().saturating_sub(entered_us) as f64 / 1e6);
    }

    /// The outcome of an item that cannot be processed further.
    pub fn fail<P>(&self, item: Item<P>, problem: Problem, spans: &mut Spans) -> Item<Outcome> {
        self.metrics.failed(problem.code.as_str()).inc();
        if let Some(mut span) = spans.take(&item.context) {
            span.error(problem.code.as_str(), problem.message.clone());
        }
        item.with(problem.into())
    }

    fn span<P>(&self, item: &Item<P>, batch_partition: u32, start_us: u64) -> StageSpan {
        let mut span = self.tracer.start(self.span_name.to_string(), SpanKind::Consumer, trace_of(item), start_us);
        set_messaging(&mut span, self.system, MessagingOperation::Process, &self.topic);
        set_consumer_group(&mut span, &self.group);
        let partition = if self.stage == Stage::Publishing { item.context.result_partition() } else { batch_partition };
        set_partition(&mut span, partition);
        set_conversation(&mut span, item.context.client_request_id());
        span
    }
}
