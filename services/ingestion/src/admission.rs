//! Turns a request into items: identity, deadline, partitions and trace are decided here, once.

use std::time::Duration;

use forebay_contract::{Context, ContextFields, Item, Origin, Outcome, Problem, Request, RequestId};
use forebay_runtime::{DeliverySettings, TraceContext};

use crate::request::{DEFAULT_PRIORITY, ParsedRequest};

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Applies to a request that names no timeout.
    pub default: Duration,
    /// Caps the timeout that a request names.
    pub max: Duration,
}

impl From<&DeliverySettings> for Timeouts {
    fn from(delivery: &DeliverySettings) -> Self {
        Self { default: delivery.timeout, max: delivery.max_timeout }
    }
}

impl Timeouts {
    /// The timeout of a request that named `requested`.
    pub fn effective(&self, requested: Option<Duration>) -> Duration {
        requested.unwrap_or(self.default).min(self.max)
    }
}

/// Everything about a request that its entry point decides; each item carries it unchanged through the mesh.
#[derive(Clone, Debug)]
pub struct RequestAdmission {
    /// Identity of the request inside the mesh.
    pub id: RequestId,
    /// Partition of the results topic, and so the publishing replica that sees every copy of this request.
    pub result_partition: u32,
    /// Where the answer is sent.
    pub origin: Origin,
    /// When the request arrived, Unix microseconds.
    pub accepted_us: u64,
    /// How long the request may take, counted from `accepted_us`.
    pub timeout: Duration,
    /// The span of the entry point; only the trace id counts if the trace is not sampled.
    pub trace: TraceContext,
    /// Digest of the payload, for a request with an `Idempotency-Key`.
    pub idempotent: Option<[u8; 16]>,
    /// Tells callers apart where their requests are idempotent; 0 for callers without credentials.
    pub caller: u32,
}

impl RequestAdmission {
    /// Until when an answer is useful, Unix microseconds.
    pub fn deadline_us(&self) -> u64 {
        self.accepted_us.saturating_add(u64::try_from(self.timeout.as_micros()).unwrap_or(u64::MAX))
    }

    /// One item for each row. With `exact`, numbers keep how they were written; see [`crate::Row`].
    pub fn items(&self, request: ParsedRequest, exact: bool) -> Vec<Item<Request>> {
        let rows = request.features.rows().len();
        let (request_id, priority) = (request.request_id.clone(), request.priority);
        let mut items = Vec::with_capacity(rows);
        for payload in request.into_requests(exact) {
            let context = self.context(items.len(), rows, request_id.clone(), priority);
            items.push(self.item(context, payload));
        }
        items
    }

    /// The error outcome of a request that does not enter the mesh.
    pub fn rejection(&self, request_id: Option<String>, problem: Problem) -> Item<Outcome> {
        let context = self.context(0, 1, request_id, DEFAULT_PRIORITY);
        self.item(context, problem.into())
    }

    fn item<P>(&self, context: Context, payload: P) -> Item<P> {
        let parent_span = if self.trace.sampled() { u64::from_be_bytes(self.trace.span_id) } else { 0 };
        Item { context, parent_span, attempt: 0, payload }
    }

    fn context(&self, row: usize, rows: usize, request_id: Option<String>, priority: i32) -> Context {
        let fields = ContextFields {
            request_id: self.id,
            row: u32::try_from(row).unwrap_or(u32::MAX),
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            client_request_id: request_id,
            trace_id: self.trace.trace_id,
            trace_flags: self.trace.flags,
            accepted_us: self.accepted_us,
            deadline_us: self.deadline_us(),
            priority,
            result_partition: self.result_partition,
            origin: self.origin.clone(),
            idempotent: self.idempotent,
        };
        Context::of_caller(fields, self.caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::HttpOrigin;

    #[test]
    fn a_request_gets_the_timeout_it_names_up_to_the_limit() {
        let timeouts = Timeouts { default: Duration::from_secs(60), max: Duration::from_secs(300) };
        assert_eq!(timeouts.effective(None), Duration::from_secs(60));
        assert_eq!(timeouts.effective(Some(Duration::from_millis(5))), Duration::from_millis(5));
        assert_eq!(timeouts.effective(Some(Duration::from_secs(9999))), Duration::from_secs(300));
    }

    #[test]
    fn every_row_carries_the_decisions() {
        let admission = RequestAdmission {
            id: RequestId([7; 16]),
            result_partition: 3,
            origin: Origin::Http(HttpOrigin { instance: 9, reply_partition: 2 }),
            accepted_us: 1_000_000,
            timeout: Duration::from_millis(250),
            trace: TraceContext::root(true).child(),
            idempotent: Some([1; 16]),
            caller: 7,
        };
        let request = crate::parse::parse_http(br#"{"features":[[1],[2]],"request_id":"r","priority":5}"#, 2).unwrap();
        let items = admission.items(request, false);
        assert_eq!(items.len(), 2);
        for (row, item) in items.iter().enumerate() {
            let context = &item.context;
            assert_eq!((context.row() as usize, context.rows(), context.result_partition()), (row, 2, 3));
            assert_eq!((context.accepted_us(), context.deadline_us()), (1_000_000, 1_250_000));
            assert_eq!((context.client_request_id(), context.priority()), (Some("r"), 5));
            assert_eq!(context.reply_partition(), Some(2));
            assert_eq!(context.payload_digest(), Some([1; 16]));
            assert_eq!(context.caller(), 7);
            assert_eq!(context.trace_id(), admission.trace.trace_id);
            assert_eq!(item.parent_span.to_be_bytes(), admission.trace.span_id);
        }
    }
}
