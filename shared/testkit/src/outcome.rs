//! Outcomes as prediction sends them.

use forebay_contract::wire::{Stage, StageTime};
use forebay_contract::{Answer, Batch, ErrorCode, Item, Outcome, Problem, Score, now_us};

/// A prediction of version 1 of `diabetes-rf-model`.
pub fn answer(value: f64) -> Outcome {
    let score = Some(Score { value, ..Score::default() });
    Answer { score, model: "diabetes-rf-model".into(), version: 1, label: "v1".into(), ..Answer::default() }.into()
}

/// An error.
pub fn failure(code: ErrorCode, message: &str) -> Outcome {
    Problem::new(code, message).into()
}

/// A batch that has passed ingestion and prediction.
pub fn results(items: Vec<Item<Outcome>>) -> Batch<Outcome> {
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
