//! Spans of the hot path: plain values that are filled in and queued, without `tracing`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use forebay_contract::now_us;
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::TraceContext;
use super::context::system_time;
use super::export::SpanQueue;

/// A span that is recorded after it has ended, such as one of a slow request that was not sampled.
#[derive(Debug, Clone)]
pub struct SpanRecord {
    /// Name, such as `"process forebay.features"`.
    pub name: Cow<'static, str>,
    /// Kind of the span.
    pub kind: SpanKind,
    /// Its trace and its own span id.
    pub context: TraceContext,
    /// The span that caused it; zero at the root.
    pub parent_span_id: [u8; 8],
    /// Unix time in microseconds.
    pub start_us: u64,
    /// Unix time in microseconds; not before the start.
    pub end_us: u64,
    /// Attributes of the span.
    pub attributes: Vec<KeyValue>,
    /// Error code and message, if it failed.
    pub error: Option<(Cow<'static, str>, String)>,
    /// Related spans that are not its cause.
    pub links: Vec<TraceContext>,
}

/// A span that has not ended. It ends when it is dropped, or at the time given to [`StageSpan::end_at`]. If the trace
/// is not sampled or nothing is exported, it is empty and its methods do nothing.
#[derive(Debug)]
pub struct StageSpan {
    context: TraceContext,
    open: Option<(Box<SpanData>, Arc<SpanQueue>)>,
}

impl StageSpan {
    pub(super) fn empty(parent: TraceContext) -> Self {
        Self { context: parent, open: None }
    }

    pub(super) fn open(
        queue: &Arc<SpanQueue>,
        name: Cow<'static, str>,
        kind: SpanKind,
        parent: TraceContext,
        start_us: u64,
    ) -> Self {
        let context = parent.child();
        let data = data(name, kind, context, parent.span_id, system_time(start_us), queue.scope());
        Self { context, open: Some((Box::new(data), queue.clone())) }
    }

    /// The parent context for spans that this one causes. An empty span returns the context of its parent.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some((data, _)) = &mut self.open {
            data.attributes.push(KeyValue::new(key, value));
        }
    }

    /// Adds an event with the current time.
    pub fn event(&mut self, name: &'static str, attributes: &[KeyValue]) {
        if let Some((data, _)) = &mut self.open {
            data.events.events.push(Event::new(name, system_time(now_us()), attributes.to_vec(), 0));
        }
    }

    /// Marks the span as failed with one of the project's error codes.
    pub fn error(&mut self, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) {
        if let Some((data, _)) = &mut self.open {
            failed(data, code.into(), message.into(), system_time(now_us()));
        }
    }

    /// Links a span that is not its cause, such as that of the batch it was in.
    pub fn link(&mut self, other: TraceContext) {
        if let Some((data, _)) = &mut self.open {
            data.links.links.push(Link::new(span_context(other), Vec::new(), 0));
        }
    }

    /// Ends the span at a Unix time in microseconds.
    pub fn end_at(mut self, end_us: u64) {
        self.finish(system_time(end_us));
    }

    /// Forgets the span: it is not recorded.
    pub fn discard(mut self) {
        self.open = None;
    }

    fn finish(&mut self, end: SystemTime) {
        if let Some((mut data, queue)) = self.open.take() {
            data.end_time = end.max(data.start_time);
            queue.send(*data);
        }
    }
}

impl Drop for StageSpan {
    fn drop(&mut self) {
        if self.open.is_some() {
            self.finish(system_time(now_us()));
        }
    }
}

/// Queues a record. It is marked as sampled, whatever its context says, because exporters skip other spans.
pub(super) fn send(queue: &SpanQueue, record: SpanRecord) {
    let SpanRecord { name, kind, context, parent_span_id, start_us, end_us, attributes, error, links } = record;
    let start = system_time(start_us);
    let mut span = data(name, kind, context.with_sampled(true), parent_span_id, start, queue.scope());
    span.end_time = system_time(end_us).max(start);
    span.attributes = attributes;
    span.links.links = links.into_iter().map(|other| Link::new(span_context(other), Vec::new(), 0)).collect();
    if let Some((code, message)) = error {
        let end = span.end_time;
        failed(&mut span, code, message.into(), end);
    }
    queue.send(span);
}

/// Records a failure as status, attribute and event, because tools look in different places.
fn failed(data: &mut SpanData, code: Cow<'static, str>, message: Cow<'static, str>, at: SystemTime) {
    data.attributes.push(KeyValue::new("error.type", code.clone()));
    let what = vec![KeyValue::new("exception.type", code), KeyValue::new("exception.message", message.clone())];
    data.events.events.push(Event::new("exception", at, what, 0));
    data.status = Status::error(message);
}

fn data(
    name: Cow<'static, str>,
    kind: SpanKind,
    context: TraceContext,
    parent_span_id: [u8; 8],
    start: SystemTime,
    instrumentation_scope: InstrumentationScope,
) -> SpanData {
    SpanData {
        span_context: span_context(context),
        parent_span_id: SpanId::from_bytes(parent_span_id),
        parent_span_is_remote: matches!(kind, SpanKind::Consumer | SpanKind::Server) && parent_span_id != [0; 8],
        span_kind: kind,
        name,
        start_time: start,
        end_time: start,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope,
    }
}

fn span_context(context: TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace_id),
        SpanId::from_bytes(context.span_id),
        TraceFlags::new(context.flags),
        false,
        TraceState::default(),
    )
}
