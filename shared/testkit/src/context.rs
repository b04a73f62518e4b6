//! Builds the context of a request, with a default for every field.

use std::time::Duration;

use forebay_contract::wire::{AmqpOrigin, HttpOrigin, KafkaOrigin};
use forebay_contract::{Context, ContextFields, Item, Origin, RequestId, now_us};

/// A [`Context`] under construction.
#[derive(Clone, Debug)]
pub struct ContextBuilder(ContextFields);

/// The only row of a request with a random id: it came from Kafka, is not sampled, has priority 1 and expires in a
/// minute. Its results go to partition 5, its trace id is sixteen sevens.
pub fn context() -> ContextBuilder {
    let accepted_us = now_us();
    ContextBuilder(ContextFields {
        request_id: RequestId::random(),
        row: 0,
        rows: 1,
        client_request_id: None,
        trace_id: [7; 16],
        trace_flags: 0,
        accepted_us,
        deadline_us: accepted_us + 60_000_000,
        priority: 1,
        result_partition: 5,
        origin: Origin::Kafka(KafkaOrigin {
            partition: 3,
            offset: 77,
            timestamp_ms: 1_700_000_000_000,
            ..KafkaOrigin::default()
        }),
        idempotent: None,
    })
}

/// As [`context()`], with this id.
pub fn kafka(request: RequestId) -> ContextBuilder {
    context().request(request)
}

/// A request over HTTP, whose caller waits at the instance that reads `reply_partition`.
pub fn http(request: RequestId, reply_partition: u32) -> ContextBuilder {
    context().request(request).origin(Origin::Http(HttpOrigin { instance: 9, reply_partition }))
}

/// A request over RabbitMQ.
pub fn amqp(request: RequestId, reply_to: &str, correlation_id: &str) -> ContextBuilder {
    let origin = AmqpOrigin { reply_to: reply_to.into(), correlation_id: correlation_id.into() };
    context().request(request).origin(Origin::Amqp(origin))
}

impl ContextBuilder {
    /// Sets the id of the request.
    #[must_use]
    pub fn request(mut self, id: RequestId) -> Self {
        self.0.request_id = id;
        self
    }

    /// Sets the client's label of the request.
    #[must_use]
    pub fn client_request_id(mut self, id: &str) -> Self {
        self.0.client_request_id = Some(id.to_owned());
        self
    }

    /// Makes it row `row`, counted from 0, of `rows`.
    #[must_use]
    pub fn row(mut self, row: u32, rows: u32) -> Self {
        (self.0.row, self.0.rows) = (row, rows);
        self
    }

    /// Sets where the request came from.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.0.origin = origin;
        self
    }

    /// Sets the partition of the results.
    #[must_use]
    pub fn result_partition(mut self, partition: u32) -> Self {
        self.0.result_partition = partition;
        self
    }

    /// Marks the trace as sampled.
    #[must_use]
    pub fn sampled(mut self) -> Self {
        self.0.trace_flags = 1;
        self
    }

    /// Sets the priority; lower numbers go first.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.0.priority = priority;
        self
    }

    /// Sets when the request was accepted, in microseconds since 1970; it expires a minute later.
    #[must_use]
    pub fn accepted_us(mut self, us: u64) -> Self {
        self.0.accepted_us = us;
        self.0.deadline_us = us + 60_000_000;
        self
    }

    /// Lets the request expire this long after it was accepted.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.deadline_us = self.0.accepted_us + timeout.as_micros() as u64;
        self
    }

    /// Puts the deadline before the acceptance.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.0.deadline_us = self.0.accepted_us - 1;
        self
    }

    /// Gives the request an `Idempotency-Key` and this digest of its payload.
    #[must_use]
    pub fn idempotent(mut self, digest: [u8; 16]) -> Self {
        self.0.idempotent = Some(digest);
        self
    }

    /// The context.
    pub fn build(self) -> Context {
        Context::new(self.0)
    }

    /// An item with this context and `payload`, on its first attempt and without a parent span.
    pub fn item<P>(self, payload: P) -> Item<P> {
        Item { context: self.build(), parent_span: 0, attempt: 0, payload }
    }
}
