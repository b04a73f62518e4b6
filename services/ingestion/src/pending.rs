//! HTTP requests that wait for their rows.
//!
//! The rows of a request come back one by one, in any order and possibly more than once; the caller is woken when the last
//! row has arrived. Two callers can wait for the same request: two connections that use one `Idempotency-Key`.
//!
//! Under such a key more than one copy of a request may be in the mesh, because a caller that hangs up does not recall
//! its own. A reply therefore counts only for the payload that it answers, and the expiry of a copy only for the callers
//! whose time has passed as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_contract::wire::outcome::Result as RowResult;
use forebay_contract::{Batch, ErrorCode, Item, Origin, Outcome, Problem, RequestId};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

/// One outcome for each row, in order.
pub type RowOutcomes = Vec<Outcome>;

/// All requests that wait at this replica. Clones share the state.
#[derive(Clone, Debug)]
pub struct PendingRequests(Arc<State>);

#[derive(Debug)]
struct State {
    /// Instance number of this replica, to recognise its own replies.
    instance: u64,
    requests: Mutex<FxHashMap<RequestId, PendingRequest>>,
    next_caller: AtomicU64,
    /// Notified whenever the map becomes empty.
    idle: Notify,
}

#[derive(Debug)]
struct PendingRequest {
    digest: Option<[u8; 16]>,
    /// The caller whose items were sent, and their deadline.
    sent_by: u64,
    sent_deadline_us: u64,
    rows: Vec<Option<Outcome>>,
    missing: usize,
    callers: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    deadline_us: u64,
    reply: oneshot::Sender<CallerReply>,
}

/// What a caller waits for.
#[derive(Debug, PartialEq)]
pub enum CallerReply {
    /// One outcome for each row.
    Rows(RowOutcomes),
    /// The items that another caller sent have expired, and this caller has time left: it registers again.
    Expired,
}

/// The same identity is already waited for with another payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadConflict;

/// One caller of a pending request. Dropping it unregisters the caller.
#[derive(Debug)]
pub struct PendingCaller {
    pending: PendingRequests,
    id: RequestId,
    number: u64,
    answer: oneshot::Receiver<CallerReply>,
}

impl PendingRequests {
    /// The pending requests of the replica `instance`.
    pub fn new(instance: u64) -> Self {
        Self(Arc::new(State {
            instance,
            requests: Mutex::default(),
            next_caller: AtomicU64::new(0),
            idle: Notify::new(),
        }))
    }

    /// Registers a caller that waits until `deadline_us`. The flag is `true` if the request is new here, so that its items
    /// must be sent, with this deadline.
    ///
    /// # Errors
    /// [`PayloadConflict`] if the same request is waited for with another payload.
    pub fn register(
        &self,
        id: RequestId,
        rows: usize,
        digest: Option<[u8; 16]>,
        deadline_us: u64,
    ) -> Result<(PendingCaller, bool), PayloadConflict> {
        let (reply, answer) = oneshot::channel();
        let number = self.0.next_caller.fetch_add(1, Ordering::Relaxed);
        let mut requests = self.0.requests.lock();
        let pending = requests.entry(id).or_insert_with(|| PendingRequest {
            digest,
            sent_by: number,
            sent_deadline_us: deadline_us,
            rows: vec![None; rows],
            missing: rows,
            callers: Vec::with_capacity(1),
        });
        if pending.digest != digest || pending.rows.len() != rows {
            return Err(PayloadConflict);
        }
        let new = pending.sent_by == number;
        pending.callers.push(Waiting { number, deadline_us, reply });
        drop(requests);
        Ok((PendingCaller { pending: self.clone(), id, number, answer }, new))
    }

    /// Records the rows of a reply batch. Rows of other replicas, of callers that left, of other payloads under the same
    /// key, and duplicates are ignored.
    pub fn on_replies(&self, batch: Batch<Outcome>) {
        let mut complete = Vec::new();
        let mut requests = self.0.requests.lock();
        for item in batch.items {
            let ours = matches!(item.context.origin(), Some(Origin::Http(http)) if http.instance == self.0.instance);
            let id = item.context.request_id();
            let Some(pending) = requests.get_mut(&id).filter(|it| ours && it.is_answered_by(&item)) else { continue };
            let Some(row @ None) = pending.rows.get_mut(item.context.row() as usize) else { continue };
            let expired_at = is_expired(&item.payload).then(|| item.context.deadline_us());
            *row = Some(item.payload);
            pending.missing -= 1;
            let early = expired_at.is_some_and(|expired_at| pending.send_away(expired_at));
            if pending.missing == 0 || early {
                complete.extend(requests.remove(&id));
            }
        }
        self.notify_if_idle(requests.is_empty());
        drop(requests);
        complete.into_iter().for_each(PendingRequest::answer);
    }

    /// Answers a request with `problem` for every missing row, because the items that the caller `sent_by` had to send
    /// could not be sent.
    pub fn fail(&self, id: RequestId, sent_by: u64, problem: &Problem) {
        let mut requests = self.0.requests.lock();
        let failed = requests.get(&id).is_some_and(|it| it.sent_by == sent_by).then(|| requests.remove(&id)).flatten();
        self.notify_if_idle(requests.is_empty());
        drop(requests);
        if let Some(mut pending) = failed {
            pending.fill(problem);
            pending.answer();
        }
    }

    /// Number of pending requests.
    pub fn len(&self) -> usize {
        self.0.requests.lock().len()
    }

    /// Whether no request is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until no request is pending.
    pub async fn idle(&self) {
        loop {
            let notified = self.0.idle.notified();
            if self.is_empty() {
                return;
            }
            notified.await;
        }
    }

    fn notify_if_idle(&self, empty: bool) {
        if empty {
            self.0.idle.notify_waiters();
        }
    }

    /// Removes a caller and, with the last one, the request. Returns the rows that have arrived so far.
    fn unregister(&self, id: RequestId, number: u64) -> Option<Vec<Option<Outcome>>> {
        let mut requests = self.0.requests.lock();
        let pending = requests.get_mut(&id)?;
        let at = pending.callers.iter().position(|caller| caller.number == number)?;
        pending.callers.swap_remove(at);
        let rows = if pending.callers.is_empty() {
            requests.remove(&id).map(|pending| pending.rows)
        } else {
            Some(pending.rows.clone())
        };
        self.notify_if_idle(requests.is_empty());
        rows
    }
}

impl PendingRequest {
    /// Whether a reply answers this payload. Of the copies of a request, one with an earlier deadline than the copy that
    /// was sent for these callers says nothing by expiring: theirs is on its way.
    fn is_answered_by(&self, item: &Item<Outcome>) -> bool {
        let superseded = is_expired(&item.payload) && item.context.deadline_us() < self.sent_deadline_us;
        self.digest == item.context.payload_digest() && !superseded
    }

    /// Tells the callers whose deadline is after `expired_at_us` to register again. Returns whether there were any; the
    /// others are then to be answered.
    fn send_away(&mut self, expired_at_us: u64) -> bool {
        let before = self.callers.len();
        for caller in self.callers.extract_if(.., |it| it.deadline_us > expired_at_us) {
            drop(caller.reply.send(CallerReply::Expired));
        }
        let early = self.callers.len() < before;
        if early {
            self.fill(&Problem::new(ErrorCode::DeadlineExceeded, "the deadline passed in the mesh"));
        }
        early
    }

    fn fill(&mut self, problem: &Problem) {
        for row in self.rows.iter_mut().filter(|row| row.is_none()) {
            *row = Some(problem.clone().into());
        }
    }

    /// Sends the rows to every caller. A caller that has left is not an error.
    fn answer(mut self) {
        let rows: RowOutcomes = self.rows.into_iter().flatten().collect();
        let last = self.callers.pop();
        for caller in self.callers {
            drop(caller.reply.send(CallerReply::Rows(rows.clone())));
        }
        if let Some(caller) = last {
            drop(caller.reply.send(CallerReply::Rows(rows)));
        }
    }
}

fn is_expired(outcome: &Outcome) -> bool {
    matches!(&outcome.result, Some(RowResult::Failure(it)) if it.code == ErrorCode::DeadlineExceeded.as_str())
}

impl PendingCaller {
    /// The number by which [`PendingRequests::fail`] knows this caller's items.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Waits for the rows. Rows that have not arrived after `limit` are answered with `deadline_exceeded`.
    pub async fn reply(mut self, limit: std::time::Duration) -> CallerReply {
        let waited = tokio::time::timeout(limit, &mut self.answer).await;
        if let Ok(Ok(reply)) = waited {
            return reply;
        }
        let late = Problem::new(ErrorCode::DeadlineExceeded, format!("no answer within {} ms", limit.as_millis()));
        match self.pending.unregister(self.id, self.number) {
            Some(rows) => {
                CallerReply::Rows(rows.into_iter().map(|row| row.unwrap_or_else(|| late.clone().into())).collect())
            }
            // completed just as the time ran out: whoever removed the request answers it now
            None if waited.is_err() => {
                (&mut self.answer).await.unwrap_or_else(|_| CallerReply::Rows(vec![late.into()]))
            }
            None => CallerReply::Rows(vec![late.into()]),
        }
    }
}

impl Drop for PendingCaller {
    fn drop(&mut self) {
        drop(self.pending.unregister(self.id, self.number));
    }
}

#[cfg(test)]
mod tests;
