//! The thread that reads answers.

use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;

use crate::answer_tally::AnswerTally;
use crate::error::LoadtestError;

/// When to stop reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadTimeouts {
    /// How long to wait for answers after the last one that came, once everything is sent.
    pub(crate) drain: Duration,
    /// How long to keep reading after the last expected answer, which is when duplicates arrive.
    pub(crate) settle: Duration,
}

/// What the reader waits for, known once everything is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// Requests that were accepted and so have to be answered.
    pub(crate) accepted: u64,
    /// When the last request was sent.
    pub(crate) sent: Instant,
}

/// Reads into `tally` until the goal is reached (plus `settle`), or, once there is a goal, until no answer has come for
/// `drain`. `quick` looks into successful answers only as far as needed to count them.
pub(crate) fn read_answers(
    consumer: &BaseConsumer,
    mut tally: AnswerTally,
    goal: impl Fn() -> Option<Goal>,
    timeouts: ReadTimeouts,
    quick: bool,
) -> Result<AnswerTally, LoadtestError> {
    let mut progress = Instant::now();
    let mut complete = None;
    loop {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(record)) => {
                let (now, before) = (Instant::now(), tally.answered);
                tally.record(record.payload().unwrap_or_default(), now, quick);
                if tally.answered > before {
                    progress = now;
                }
                if !tally.answered.is_multiple_of(CHECK_EVERY) {
                    continue;
                }
            }
            Some(Err(error)) if fatal(&error) => return Err(LoadtestError::kafka("read results")(error)),
            Some(Err(error)) => eprintln!("reading results: {error}"),
            None => {}
        }
        let Some(goal) = goal() else { continue };
        if tally.answered >= goal.accepted && complete.get_or_insert_with(Instant::now).elapsed() >= timeouts.settle {
            return Ok(tally);
        }
        if progress.max(goal.sent).elapsed() > timeouts.drain {
            return Ok(tally);
        }
    }
}

/// Answers between two checks of the goal while they stream in.
const CHECK_EVERY: u64 = 64;

fn fatal(error: &rdkafka::error::KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(rdkafka::error::RDKafkaErrorCode::UnknownTopicOrPartition | rdkafka::error::RDKafkaErrorCode::Fatal)
    )
}
