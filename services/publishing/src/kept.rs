//! Answers of requests with an `Idempotency-Key`: the same question from another connection gets the same answer, another
//! question under the same key is a conflict.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{ErrorCode, ItemId, Outcome, RequestId};
use rustc_hash::FxHashMap;

/// First 16 bytes of the BLAKE3 of a request's payload.
pub(crate) type Digest = [u8; 16];

/// Kept answers, oldest first out. Unlike ids they may be dropped early: then a caller gets the answer that was computed
/// for it instead of the kept one, and only the check for conflicts is lost.
#[derive(Debug)]
pub(crate) struct Kept {
    asks: FxHashMap<RequestId, Ask>,
    order: VecDeque<(Instant, RequestId)>,
    lifetime: Duration,
    capacity: usize,
}

#[derive(Debug)]
struct Ask {
    digest: Digest,
    rows: Vec<(u32, Outcome)>,
}

impl Kept {
    /// Keeps the answers of at most `capacity` asks for `lifetime`.
    pub(crate) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { asks: FxHashMap::default(), order: VecDeque::new(), lifetime, capacity }
    }

    /// Whether the request was made before with another payload.
    pub(crate) fn conflicts(&self, ask: RequestId, digest: Digest) -> bool {
        self.asks.get(&ask).is_some_and(|known| known.digest != digest)
    }

    /// Keeps the outcome of a row that is sent for the first time.
    pub(crate) fn keep(&mut self, item: ItemId, digest: Digest, outcome: &Outcome, now: Instant) {
        if self.capacity == 0 {
            return;
        }
        let order = &mut self.order;
        let ask = self.asks.entry(item.request_id).or_insert_with(|| {
            order.push_back((now, item.request_id));
            Ask { digest, rows: Vec::with_capacity(1) }
        });
        match ask.rows.iter_mut().find(|(row, _)| *row == item.row) {
            Some((_, kept)) => kept.clone_from(outcome),
            None => ask.rows.push((item.row, outcome.clone())),
        }
        if self.asks.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// What another connection gets: the kept outcome, or `own` where none is kept or the kept one was worth another try.
    pub(crate) fn again(&mut self, item: ItemId, own: Outcome) -> Outcome {
        let kept =
            self.asks.get_mut(&item.request_id).and_then(|ask| ask.rows.iter_mut().find(|(row, _)| *row == item.row));
        match kept {
            Some((_, kept)) if worth_another_try(kept) => {
                kept.clone_from(&own);
                own
            }
            Some((_, kept)) => kept.clone(),
            None => own,
        }
    }

    /// Forgets what is older than its lifetime.
    pub(crate) fn advance(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) > self.lifetime) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, ask)) = self.order.pop_front() {
            self.asks.remove(&ask);
        }
    }
}

fn worth_another_try(outcome: &Outcome) -> bool {
    match &outcome.result {
        Some(Answered::Failure(failure)) => ErrorCode::parse(&failure.code).retryable(),
        Some(Answered::Answer(_)) => false,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::{Answer, Problem};

    fn item(ask: u8) -> ItemId {
        ItemId { request_id: RequestId([ask; 16]), row: 0 }
    }

    fn answer(version: u32) -> Outcome {
        Answer { version, ..Answer::default() }.into()
    }

    fn kept(capacity: usize) -> (Kept, Instant) {
        (Kept::new(Duration::from_secs(60), capacity), Instant::now())
    }

    #[test]
    fn the_first_answer_is_given_again() {
        let (mut kept, now) = kept(10);
        kept.keep(item(1), [7; 16], &answer(1), now);
        assert!(!kept.conflicts(item(1).request_id, [7; 16]));
        assert_eq!(kept.again(item(1), answer(2)), answer(1));
        assert!(kept.conflicts(item(1).request_id, [8; 16]));
        assert!(!kept.conflicts(item(2).request_id, [8; 16]));
    }

    #[test]
    fn a_failure_worth_another_try_gives_way_to_an_answer() {
        let (mut kept, now) = kept(10);
        kept.keep(item(1), [7; 16], &Problem::new(ErrorCode::DeadlineExceeded, "late").into(), now);
        assert_eq!(kept.again(item(1), answer(2)), answer(2));
        assert_eq!(kept.again(item(1), answer(3)), answer(2));
        let fixed: Outcome = Problem::new(ErrorCode::InvalidFeatures, "bmi is missing").into();
        kept.keep(item(2), [7; 16], &fixed, now);
        assert_eq!(kept.again(item(2), answer(2)), fixed);
    }

    #[test]
    fn answers_go_after_their_time_or_when_there_are_too_many() {
        let (mut kept, now) = kept(2);
        kept.keep(item(1), [1; 16], &answer(1), now);
        kept.keep(item(2), [2; 16], &answer(2), now + Duration::from_secs(30));
        kept.keep(item(3), [3; 16], &answer(3), now + Duration::from_secs(30));
        assert_eq!(kept.again(item(1), answer(9)), answer(9), "the oldest made room");
        assert_eq!(kept.again(item(2), answer(9)), answer(2));
        kept.advance(now + Duration::from_secs(91));
        assert_eq!(kept.again(item(2), answer(9)), answer(9));
        assert!(kept.asks.is_empty() && kept.order.is_empty());
    }
}
