//! Reports slow and failed requests, from the stage times that they carry: a log line, and, if the request was not
//! sampled, spans that are written afterwards.

use std::fmt::Write as _;

use forebay_bus::stage_name;
use forebay_contract::{Context, ErrorCode, Failure, Origin, Stage, StageTime};
use forebay_runtime::{Budget, Host, KeyValue, SpanKind, SpanRecord, StageTracer, TraceContext};

/// Most requests per second that are reported as spans.
const SPANS_PER_SECOND: u16 = 50;
/// Most requests per second that are reported in the log.
const LINES_PER_SECOND: u16 = 10;

/// How a request is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlowRequestReport {
    /// As spans: the request was not sampled.
    pub(crate) spans: bool,
    /// As a log line.
    pub(crate) line: bool,
}

/// An item that has a span to end, or is to be reported once its result is confirmed.
#[derive(Debug)]
pub(crate) struct ReportedRequest {
    pub(crate) context: Context,
    pub(crate) failure: Option<Failure>,
    pub(crate) report: SlowRequestReport,
}

/// Writes the reports. Each stage's span has the name and service name that the stage itself uses.
#[derive(Debug)]
pub(crate) struct SlowRequestReporter {
    /// The tracer and span name of each stage.
    stages: Vec<(Stage, StageTracer, String)>,
    /// Ingestion's span name for requests from Kafka, and from RabbitMQ.
    from_kafka: String,
    from_amqp: String,
    /// Whether spans are exported.
    enabled: bool,
    /// Latency above which a request is slow, in microseconds.
    slow_us: u64,
    spans: Budget,
    lines: Budget,
}

impl SlowRequestReporter {
    pub(crate) fn new(host: &Host, queue: &str) -> Self {
        let topics = &host.settings().topics;
        let stages = [
            (Stage::Ingestion, "POST /v1/predict".to_owned()),
            (Stage::Preprocessing, format!("process {}", topics.requests)),
            (Stage::Caching, format!("process {}", topics.features)),
            (Stage::Prediction, format!("process {}", topics.predict)),
            (Stage::Publishing, format!("process {}", topics.results)),
        ];
        let with_tracer = |(stage, name)| (stage, host.telemetry().stage(stage_name(stage)), name);
        Self {
            stages: stages.into_iter().map(with_tracer).collect(),
            from_kafka: format!("process {}", topics.requests_in),
            from_amqp: format!("process {queue}"),
            enabled: host.telemetry().is_enabled(),
            slow_us: u64::try_from(host.settings().telemetry.slow.as_micros()).unwrap_or(u64::MAX),
            spans: Budget::new(SPANS_PER_SECOND),
            lines: Budget::new(LINES_PER_SECOND),
        }
    }

    /// Decides whether and how a request is reported: only if it failed or was slow, and within the budgets.
    pub(crate) fn plan(&self, context: &Context, failed: bool, now_us: u64) -> SlowRequestReport {
        if !failed && now_us.saturating_sub(context.accepted_us()) <= self.slow_us {
            return SlowRequestReport::default();
        }
        let spans = self.enabled && !context.sampled() && self.spans.take(now_us);
        SlowRequestReport { spans, line: self.lines.take(now_us) }
    }

    /// Writes the report: a log line, and a span for each stage with that of the stage before as its parent.
    pub(crate) fn report(&self, request: &ReportedRequest, stages: &[StageTime], end_us: u64) {
        let ReportedRequest { context, failure, report } = request;
        if report.line {
            log(context, failure.as_ref(), stages, end_us);
        }
        if report.spans {
            for (record, tracer) in self.span_chain(context, failure.as_ref(), stages, end_us) {
                tracer.record(record);
            }
        }
    }

    fn span_chain<'a>(
        &'a self,
        context: &'a Context,
        failure: Option<&'a Failure>,
        stages: &'a [StageTime],
        end_us: u64,
    ) -> impl Iterator<Item = (SpanRecord, &'a StageTracer)> {
        let mut parent_span_id = [0; 8];
        stages.iter().enumerate().filter_map(move |(index, time)| {
            let (stage, tracer, name) = self.stages.iter().find(|(stage, ..)| i32::from(*stage) == time.stage)?;
            let (name, kind) = match (stage, context.origin()) {
                (Stage::Ingestion, Some(Origin::Kafka(_))) => (&self.from_kafka, SpanKind::Consumer),
                (Stage::Ingestion, Some(Origin::Amqp(_))) => (&self.from_amqp, SpanKind::Consumer),
                (Stage::Ingestion, _) => (name, SpanKind::Server),
                _ => (name, SpanKind::Consumer),
            };
            let next = stages.get(index + 1).map_or(end_us, |next| next.entered_us);
            // the error comes from the last stage before publishing
            let has_failed = index + 2 == stages.len() || stages.len() == 1;
            let error = failure.filter(|_| has_failed).map(|f| (f.code.clone().into(), f.message.clone()));
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

/// Logs the request with the time it spent in each stage, for installations that keep no traces.
fn log(context: &Context, failure: Option<&Failure>, stages: &[StageTime], end_us: u64) {
    let trace = TraceContext { trace_id: context.trace_id(), ..TraceContext::default() };
    let (trace_id, id, row, request_id) =
        (trace.trace_id_hex(), context.request_id(), context.row(), context.client_request_id());
    let latency_ms = end_us.saturating_sub(context.accepted_us()) as f64 / 1e3;
    let stages = stage_times(context.accepted_us(), stages, end_us);
    // not `message`, which is the name of the log text
    let Some(Failure { code, message: reason }) = failure else {
        return tracing::warn!(%trace_id, %id, row, request_id, latency_ms, stages, "request was slow");
    };
    if ErrorCode::parse(code).status() < 500 {
        // the client's mistake: no warning
        tracing::info!(%trace_id, %id, row, request_id, code, reason, latency_ms, stages, "request was rejected");
    } else {
        tracing::warn!(%trace_id, %id, row, request_id, code, reason, latency_ms, stages, "request failed");
    }
}

/// The milliseconds spent in each stage and on the edges between them: `"ingestion 0.2, edge 1.1, preprocessing 0.3"`.
fn stage_times(accepted_us: u64, stages: &[StageTime], end_us: u64) -> String {
    let mut text = String::new();
    let mut before = accepted_us;
    for (index, time) in stages.iter().enumerate() {
        let edge = time.entered_us.saturating_sub(before) as f64 / 1e3;
        let next = stages.get(index + 1).map_or(end_us, |next| next.entered_us);
        let left = if time.left_us == 0 { next } else { time.left_us };
        let inside = left.saturating_sub(time.entered_us) as f64 / 1e3;
        let name = Stage::try_from(time.stage).map_or("unknown", stage_name);
        if index > 0 {
            // writing into a String cannot fail
            let _ = write!(text, ", edge {edge:.1}, ");
        }
        let _ = write!(text, "{name} {inside:.1}");
        before = left;
    }
    text
}

fn attributes(context: &Context) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("forebay.request.id", context.request_id().to_string()),
        KeyValue::new("forebay.row", i64::from(context.row())),
        KeyValue::new("forebay.afterwards", true),
    ];
    if let Some(id) = context.client_request_id() {
        attributes.push(KeyValue::new("messaging.message.conversation_id", id.to_owned()));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::{ErrorCode, Problem, RequestId, now_us};
    use forebay_testkit::{http, kafka, results as batch, settings};

    fn reporter() -> SlowRequestReporter {
        let mut reporter = SlowRequestReporter::new(&settings(&[]).host(), &settings(&[]).bus().rabbitmq.queue);
        reporter.enabled = true;
        reporter
    }

    #[test]
    fn each_stage_has_a_span_below_that_of_the_stage_before() {
        let reporter = reporter();
        let context = kafka(RequestId([1; 16])).client_request_id("r").build();
        let mut batch = batch(Vec::new());
        batch.enter(Stage::Publishing);
        let failure = Problem::new(ErrorCode::ModelUnavailable, "every version is open").into();
        let end = now_us() + 5;
        let spans: Vec<_> =
            reporter.span_chain(&context, Some(&failure), &batch.stages, end).map(|(span, _)| span).collect();
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["process inference-requests", "process forebay.predict", "process forebay.results"]);
        assert_eq!(spans[0].parent_span_id, [0; 8]);
        assert_eq!(spans[1].parent_span_id, spans[0].context.span_id);
        assert_eq!(spans[2].parent_span_id, spans[1].context.span_id);
        assert!(spans.iter().all(|span| span.context.trace_id == [7; 16] && span.end_us >= span.start_us));
        assert_eq!(spans[2].end_us, end);
        assert_eq!(spans[1].error.as_ref().map(|(code, _)| code.as_ref()), Some("model_unavailable"));
        assert!(spans[0].error.is_none() && spans[2].error.is_none());
        let http = http(RequestId([1; 16]), 0).build();
        assert_eq!(reporter.span_chain(&http, None, &batch.stages, end).next().unwrap().0.name, "POST /v1/predict");
    }

    #[test]
    fn only_slow_or_failed_requests_are_reported() {
        let reporter = reporter();
        let both = SlowRequestReport { spans: true, line: true };
        let quick = kafka(RequestId([1; 16])).build();
        assert_eq!(reporter.plan(&quick, false, quick.accepted_us() + 10), SlowRequestReport::default());
        assert_eq!(reporter.plan(&quick, true, quick.accepted_us() + 10), both);
        assert_eq!(reporter.plan(&quick, false, quick.accepted_us() + 1_000_001), both);
        let sampled = kafka(RequestId([1; 16])).sampled().build();
        let line = SlowRequestReport { spans: false, line: true };
        assert_eq!(reporter.plan(&sampled, true, sampled.accepted_us() + 5_000_000), line);
    }

    #[test]
    fn reports_have_a_budget_per_second() {
        let reporter = reporter();
        let context = kafka(RequestId([1; 16])).build();
        let reports: Vec<_> = (0..200).map(|_| reporter.plan(&context, true, 1_700_000_000_000_000)).collect();
        assert_eq!(reports.iter().filter(|report| report.spans).count(), 50);
        assert_eq!(reports.iter().filter(|report| report.line).count(), 10);
    }

    #[test]
    fn a_line_shows_where_the_time_was_spent() {
        let time = |stage: Stage, entered_us, left_us| StageTime { stage: stage.into(), entered_us, left_us };
        let stages = [
            time(Stage::Ingestion, 1_000, 1_200),
            time(Stage::Caching, 2_000, 22_000),
            time(Stage::Publishing, 22_500, 0),
        ];
        let expected = "ingestion 0.2, edge 0.8, caching 20.0, edge 0.5, publishing 0.5";
        assert_eq!(stage_times(1_000, &stages, 23_000), expected);
    }
}
