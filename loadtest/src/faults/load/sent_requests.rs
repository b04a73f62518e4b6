//! What was sent over one entrance, and what came back.

use std::fmt::Write as _;

use parking_lot::Mutex;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::now_us;
use crate::faults::origin::OriginRows;
use crate::run::{ResultOwner, RunId};

/// Rows that are sent again and again, so that the cache has something to answer.
const REPEATED_ROWS: usize = 50;
const REPEAT_SHARE: f64 = 0.2;

/// Whether a request has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// Not known: it may be answered or not.
    Unknown,
    /// Acknowledged, in Kafka with its partition and offset: it has to be answered.
    Accepted(Option<(i32, i64)>),
    /// Taken, and then removed by the operator: it may be answered or not.
    Removed,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SentRequest {
    pub(crate) row: usize,
    /// What it has to be answered with; a request that is invalid on purpose has to be answered with an error.
    pub(crate) prediction: Option<f64>,
    /// When it was sent, the last time if its client repeated it.
    pub(crate) sent_us: u64,
    pub(crate) first_sent_us: u64,
    pub(crate) acceptance: Acceptance,
    /// When its first answer was seen.
    pub(crate) answered_us: Option<u64>,
}

impl SentRequest {
    fn new(row: usize, prediction: Option<f64>) -> Self {
        let now = now_us();
        let acceptance = Acceptance::Unknown;
        Self { row, prediction, sent_us: now, first_sent_us: now, acceptance, answered_us: None }
    }
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct CollectedAnswer {
    /// The request's label.
    pub(crate) id: String,
    /// The identity of the message, where the entrance has one.
    pub(crate) message_id: String,
    pub(crate) body: Vec<u8>,
    pub(crate) at_us: u64,
}

/// An answer that came just now.
pub(crate) fn answer_of(id: &str, message_id: &str, body: Vec<u8>) -> CollectedAnswer {
    CollectedAnswer { id: id.to_owned(), message_id: message_id.to_owned(), body, at_us: now_us() }
}

/// The requests of one entrance, under a run id of their own.
#[derive(Debug)]
pub(crate) struct SentRequests {
    run: RunId,
    first_row: usize,
    requests: Mutex<Vec<SentRequest>>,
    answers: Mutex<Vec<CollectedAnswer>>,
    /// Attempts that ended without an answer, by what was seen instead.
    refusals: Mutex<std::collections::BTreeMap<String, u64>>,
}

impl SentRequests {
    /// Entrances begin at different rows, so that one does not fill the cache for another.
    pub(crate) fn new(origin: &OriginRows, seed: u64, entrance: usize) -> Self {
        let first_row = (seed as usize % origin.len()) + entrance * (origin.len() / 3);
        Self {
            run: RunId::random(),
            first_row,
            requests: Mutex::default(),
            answers: Mutex::default(),
            refusals: Mutex::default(),
        }
    }

    /// Notes that a request is about to be sent; its number, label and JSON.
    pub(crate) fn next(&self, origin: &OriginRows, random: &mut StdRng) -> (usize, String, String) {
        let mut requests = self.requests.lock();
        let index = requests.len();
        let row = if random.random::<f64>() < REPEAT_SHARE {
            random.random_range(0..REPEATED_ROWS)
        } else {
            (self.first_row + index) % origin.len()
        };
        requests.push(SentRequest::new(row, Some(origin.prediction(row))));
        drop(requests);
        let id = format!("{}-{index}", self.run);
        let mut body = format!("{{\"request_id\":\"{id}\",\"features\":");
        origin.write(row, &mut body);
        let _infallible = write!(body, ",\"model_version\":\"v1\"}}");
        (index, id, body)
    }

    /// Notes a request that is invalid on purpose; its number and label.
    pub(crate) fn next_invalid(&self) -> (usize, String) {
        let mut requests = self.requests.lock();
        let index = requests.len();
        // no two have the same row: what they hold is no row
        requests.push(SentRequest::new(usize::MAX - index, None));
        (index, format!("{}-{index}", self.run))
    }

    pub(crate) fn accepted(&self, index: usize, place: Option<(i32, i64)>) {
        if let Some(request) = self.requests.lock().get_mut(index) {
            request.acceptance = Acceptance::Accepted(place);
        }
    }

    /// Requests that `gone` picks by their places were removed by the operator.
    pub(crate) fn removed(&self, gone: impl Fn((i32, i64)) -> bool) {
        for request in self.requests.lock().iter_mut() {
            if let Acceptance::Accepted(Some(place)) = request.acceptance
                && gone(place)
            {
                request.acceptance = Acceptance::Removed;
            }
        }
    }

    /// It is sent once more, with a deadline of its own.
    pub(crate) fn repeated(&self, index: usize) {
        if let Some(request) = self.requests.lock().get_mut(index) {
            request.sent_us = now_us();
        }
    }

    /// An attempt ended without an answer.
    pub(crate) fn refused(&self, why: String) {
        *self.refusals.lock().entry(why).or_default() += 1;
    }

    /// An answer was seen, by its label.
    pub(crate) fn seen(&self, id: &str) {
        if let ResultOwner::Ours(index) = self.run.owner(id)
            && let Some(request) = self.requests.lock().get_mut(index as usize)
        {
            request.answered_us.get_or_insert_with(now_us);
        }
    }

    /// An answer came, and is kept.
    pub(crate) fn answer(&self, answer: CollectedAnswer) {
        self.seen(&answer.id);
        self.answers.lock().push(answer);
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    pub(crate) fn requests(&self) -> Vec<SentRequest> {
        self.requests.lock().clone()
    }

    pub(crate) fn answers(&self) -> Vec<CollectedAnswer> {
        self.answers.lock().clone()
    }

    pub(crate) fn refusals(&self) -> std::collections::BTreeMap<String, u64> {
        self.refusals.lock().clone()
    }

    /// How many have an answer.
    pub(crate) fn answered(&self) -> usize {
        self.requests.lock().iter().filter(|request| request.answered_us.is_some()).count()
    }

    /// How many were accepted and have no answer.
    pub(crate) fn open(&self) -> usize {
        let open = |request: &&SentRequest| {
            matches!(request.acceptance, Acceptance::Accepted(_)) && request.answered_us.is_none()
        };
        self.requests.lock().iter().filter(open).count()
    }
}
