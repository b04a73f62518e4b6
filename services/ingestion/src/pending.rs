//! HTTP requests that wait for their rows.
//!
//! The rows of a request come back one by one, in any order and possibly more than once; the caller is woken when the last
//! row has arrived. Two callers can wait for the same request: two connections that use one `Idempotency-Key`.

use std::sync::Arc;

use forebay_contract::{Batch, ErrorCode, Origin, Outcome, Problem, RequestId};
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
    /// Notified whenever the map becomes empty.
    idle: Notify,
}

#[derive(Debug)]
struct PendingRequest {
    digest: Option<[u8; 16]>,
    rows: Vec<Option<Outcome>>,
    missing: usize,
    callers: Vec<(u64, oneshot::Sender<RowOutcomes>)>,
    next_caller: u64,
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
    answer: oneshot::Receiver<RowOutcomes>,
}

impl PendingRequests {
    /// The pending requests of the replica `instance`.
    pub fn new(instance: u64) -> Self {
        Self(Arc::new(State { instance, requests: Mutex::default(), idle: Notify::new() }))
    }

    /// Registers a caller. The flag is `true` if the request is new here, so that its items must be sent.
    ///
    /// # Errors
    /// [`PayloadConflict`] if the same request is waited for with another payload.
    pub fn register(
        &self,
        id: RequestId,
        rows: usize,
        digest: Option<[u8; 16]>,
    ) -> Result<(PendingCaller, bool), PayloadConflict> {
        let (sender, answer) = oneshot::channel();
        let mut requests = self.0.requests.lock();
        let new = !requests.contains_key(&id);
        let pending = requests.entry(id).or_insert_with(|| PendingRequest {
            digest,
            rows: vec![None; rows],
            missing: rows,
            callers: Vec::with_capacity(1),
            next_caller: 0,
        });
        if pending.digest != digest || pending.rows.len() != rows {
            return Err(PayloadConflict);
        }
        let number = pending.next_caller;
        pending.next_caller += 1;
        pending.callers.push((number, sender));
        drop(requests);
        Ok((PendingCaller { pending: self.clone(), id, number, answer }, new))
    }

    /// Records the rows of a reply batch. Rows of other replicas, of callers that left, and duplicates are ignored.
    pub fn on_replies(&self, batch: Batch<Outcome>) {
        let mut complete = Vec::new();
        let mut requests = self.0.requests.lock();
        for item in batch.items {
            let ours = matches!(item.context.origin(), Some(Origin::Http(http)) if http.instance == self.0.instance);
            let id = item.context.request_id();
            let Some(pending) = requests.get_mut(&id).filter(|_| ours) else { continue };
            let Some(row @ None) = pending.rows.get_mut(item.context.row() as usize) else { continue };
            *row = Some(item.payload);
            pending.missing -= 1;
            if pending.missing == 0 {
                complete.extend(requests.remove(&id));
            }
        }
        self.notify_if_idle(requests.is_empty());
        drop(requests);
        complete.into_iter().for_each(PendingRequest::answer);
    }

    /// Answers a request whose items could not be sent, with `problem` for every missing row.
    pub fn fail(&self, id: RequestId, problem: &Problem) {
        let mut requests = self.0.requests.lock();
        let failed = requests.remove(&id);
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
        let at = pending.callers.iter().position(|(caller, _)| *caller == number)?;
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
    fn fill(&mut self, problem: &Problem) {
        for row in self.rows.iter_mut().filter(|row| row.is_none()) {
            *row = Some(problem.clone().into());
        }
    }

    /// Sends the rows to every caller. A caller that has left is not an error.
    fn answer(mut self) {
        let rows: RowOutcomes = self.rows.into_iter().flatten().collect();
        let last = self.callers.pop();
        for (_, caller) in self.callers {
            drop(caller.send(rows.clone()));
        }
        if let Some((_, caller)) = last {
            drop(caller.send(rows));
        }
    }
}

impl PendingCaller {
    /// Waits for the rows. Rows that have not arrived after `limit` are answered with `deadline_exceeded`.
    pub async fn rows(mut self, limit: std::time::Duration) -> RowOutcomes {
        if let Ok(Ok(rows)) = tokio::time::timeout(limit, &mut self.answer).await {
            return rows;
        }
        let late = Problem::new(ErrorCode::DeadlineExceeded, format!("no answer within {} ms", limit.as_millis()));
        match self.pending.unregister(self.id, self.number) {
            Some(rows) => rows.into_iter().map(|row| row.unwrap_or_else(|| late.clone().into())).collect(),
            // completed just as the time ran out
            None => self.answer.try_recv().unwrap_or_else(|_| vec![late.into()]),
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
