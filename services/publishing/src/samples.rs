//! Items for tests.

use forebay_contract::wire::{AmqpOrigin, HttpOrigin, KafkaOrigin, Stage, StageTime};
use forebay_contract::{
    Answer, Batch, Context, ContextFields, ErrorCode, Item, Origin, Outcome, Problem, RequestId, Score, now_us,
};
use forebay_runtime::{COMMON_DEFAULTS, CommonSettings, Layers, Problems};

/// A context in the making.
pub(crate) struct Sample(ContextFields);

fn sample(ask: RequestId, origin: Origin) -> Sample {
    let accepted_us = now_us();
    Sample(ContextFields {
        request_id: ask,
        row: 0,
        rows: 1,
        client_request_id: None,
        trace_id: [7; 16],
        trace_flags: 0,
        accepted_us,
        deadline_us: accepted_us + 60_000_000,
        priority: 1,
        result_partition: 5,
        origin,
        idempotent: None,
    })
}

/// An item that came from the legacy topic.
pub(crate) fn kafka(ask: RequestId) -> Sample {
    sample(ask, Origin::Kafka(KafkaOrigin { partition: 3, offset: 77, timestamp_ms: 1_700_000_000_000 }))
}

/// An item that a connection waits for.
pub(crate) fn http(ask: RequestId, reply_partition: u32) -> Sample {
    sample(ask, Origin::Http(HttpOrigin { instance: 9, reply_partition }))
}

/// An item that came over RabbitMQ.
pub(crate) fn amqp(ask: RequestId, reply_to: &str, correlation_id: &str) -> Sample {
    let origin = AmqpOrigin { reply_to: reply_to.into(), correlation_id: correlation_id.into() };
    sample(ask, Origin::Amqp(origin))
}

impl Sample {
    pub(crate) fn request_id(mut self, id: &str) -> Self {
        self.0.client_request_id = Some(id.to_owned());
        self
    }

    pub(crate) fn sampled(mut self) -> Self {
        self.0.trace_flags = 1;
        self
    }

    pub(crate) fn row(mut self, row: u32, rows: u32) -> Self {
        (self.0.row, self.0.rows) = (row, rows);
        self
    }

    pub(crate) fn expired(mut self) -> Self {
        self.0.deadline_us = self.0.accepted_us - 1;
        self
    }

    pub(crate) fn idempotent(mut self, digest: [u8; 16]) -> Self {
        self.0.idempotent = Some(digest);
        self
    }

    pub(crate) fn build(self) -> Context {
        Context::new(self.0)
    }

    pub(crate) fn item(self, payload: Outcome) -> Item<Outcome> {
        Item { context: self.build(), parent_span: 0, attempt: 0, payload }
    }
}

pub(crate) fn answer(value: f64) -> Outcome {
    let score = Some(Score { value, ..Score::default() });
    Answer { score, model: "diabetes-rf-model".into(), version: 1, label: "v1".into(), ..Answer::default() }.into()
}

pub(crate) fn failure(code: ErrorCode, message: &str) -> Outcome {
    Problem::new(code, message).into()
}

/// A batch that went through ingestion and prediction.
pub(crate) fn batch(items: Vec<Item<Outcome>>) -> Batch<Outcome> {
    let now = now_us();
    let time = |stage: Stage, entered: u64, left: u64| StageTime {
        stage: stage.into(),
        entered_us: now - entered,
        left_us: now - left,
    };
    Batch {
        batch_partition: 2,
        stages: vec![time(Stage::Ingestion, 900, 800), time(Stage::Prediction, 700, 500)],
        items,
    }
}

/// Shared settings with `flags` on top.
pub(crate) fn shared(flags: &[&str]) -> CommonSettings {
    let layers = Layers::from_parts(&[COMMON_DEFAULTS, crate::DEFAULTS], "", &[], flags).unwrap();
    CommonSettings::read(&layers, &mut Problems::default()).unwrap()
}
