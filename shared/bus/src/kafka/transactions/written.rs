//! The delivery reports of one call that writes records.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::committer::{StepError, WriteError};
use crate::kafka::producer::Reason;

/// The records of one call of `write`.
pub(super) struct Written {
    state: Mutex<WriteState>,
    changed: Condvar,
}

struct WriteState {
    open: usize,
    places: Vec<(i32, i64)>,
    refused: Vec<(usize, Reason, String)>,
    failed: Option<String>,
}

impl Written {
    pub(super) fn new(records: usize) -> Self {
        let places = vec![(-1, -1); records];
        let state = WriteState { open: records, places, refused: Vec::new(), failed: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn take(&self, number: usize, outcome: Result<(i32, i64), KafkaError>) {
        use RDKafkaErrorCode::{
            InvalidMessage, InvalidMessageSize, InvalidRecord, MessageBatchTooLarge, MessageSizeTooLarge,
        };
        let mut state = self.state.lock();
        state.open = state.open.saturating_sub(1);
        match outcome {
            // it may be missing, as the client reports so what a broker has refused once a later record was taken
            Ok((_, ..0)) => state.failed = Some("a record is reported as delivered without an offset".to_owned()),
            Ok(place) => state.places.get_mut(number).into_iter().for_each(|it| *it = place),
            Err(error) => match error.rdkafka_error_code() {
                Some(MessageSizeTooLarge | MessageBatchTooLarge) => {
                    state.refused.push((number, Reason::TooLarge, error.to_string()));
                }
                Some(InvalidMessage | InvalidMessageSize | InvalidRecord) => {
                    state.refused.push((number, Reason::Invalid, error.to_string()));
                }
                _ => state.failed = Some(error.to_string()),
            },
        }
        if state.open == 0 {
            self.changed.notify_all();
        }
    }

    pub(super) fn wait(&self, deadline: Instant) -> Result<Vec<(i32, i64)>, WriteError> {
        let mut state = self.state.lock();
        while state.open > 0 {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                let why = format!("{} records got no delivery report", state.open);
                return Err(WriteError::Step(StepError::Broken(why)));
            }
        }
        // a record that is refused takes others with it, which report another error
        if !state.refused.is_empty() {
            return Err(WriteError::Refused(std::mem::take(&mut state.refused)));
        }
        match state.failed.take() {
            Some(why) => Err(WriteError::Step(StepError::Abort(why))),
            None => Ok(std::mem::take(&mut state.places)),
        }
    }
}
