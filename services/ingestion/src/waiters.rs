//! Callers that wait, and the rows of their answers.
//!
//! A request with many rows comes back row by row, in any order and perhaps more than once; its caller is woken when the
//! last row is there. Two callers may wait for one ask: the same `Idempotency-Key` from two connections.

use std::sync::Arc;

use forebay_contract::{Batch, ErrorCode, Origin, Outcome, Problem, RequestId};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

/// One outcome a row, in order.
pub type Rows = Vec<Outcome>;

/// Everyone who waits at this replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waiters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    instance: u64,
    asks: Mutex<FxHashMap<RequestId, Waiting>>,
    idle: Notify,
}

#[derive(Debug)]
struct Waiting {
    digest: Option<[u8; 16]>,
    rows: Vec<Option<Outcome>>,
    missing: usize,
    callers: Vec<(u64, oneshot::Sender<Rows>)>,
    next: u64,
}

/// The key is in use for another payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// A place in the waiting room; dropped, it is given up.
#[derive(Debug)]
pub struct Waiter {
    waiters: Waiters,
    ask: RequestId,
    number: u64,
    answer: oneshot::Receiver<Rows>,
}

impl Waiters {
    /// The waiting room of the replica `instance`.
    pub fn new(instance: u64) -> Self {
        Self(Arc::new(Shared { instance, asks: Mutex::default(), idle: Notify::new() }))
    }

    /// Takes a place. The flag says whether the request is new here, so that its items must be sent.
    ///
    /// # Errors
    /// [`Conflict`] when the same ask is waited for with another payload.
    pub fn enter(&self, ask: RequestId, rows: usize, digest: Option<[u8; 16]>) -> Result<(Waiter, bool), Conflict> {
        let (sender, answer) = oneshot::channel();
        let mut asks = self.0.asks.lock();
        let new = !asks.contains_key(&ask);
        let fresh =
            || Waiting { digest, rows: vec![None; rows], missing: rows, callers: Vec::with_capacity(1), next: 0 };
        let waiting = asks.entry(ask).or_insert_with(fresh);
        if waiting.digest != digest || waiting.rows.len() != rows {
            return Err(Conflict);
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.callers.push((number, sender));
        drop(asks);
        Ok((Waiter { waiters: self.clone(), ask, number, answer }, new))
    }

    /// Takes what came back. Answers of other replicas, of callers that left, and second copies of a row are ignored.
    pub fn settle(&self, batch: Batch<Outcome>) {
        let mut complete = Vec::new();
        let mut asks = self.0.asks.lock();
        for item in batch.items {
            let ours = matches!(item.context.origin(), Some(Origin::Http(http)) if http.instance == self.0.instance);
            let ask = item.context.request_id();
            let Some(waiting) = asks.get_mut(&ask).filter(|_| ours) else { continue };
            let Some(row @ None) = waiting.rows.get_mut(item.context.row() as usize) else { continue };
            *row = Some(item.payload);
            waiting.missing -= 1;
            if waiting.missing == 0 {
                complete.extend(asks.remove(&ask));
            }
        }
        self.finish(asks.is_empty());
        drop(asks);
        complete.into_iter().for_each(Waiting::answer);
    }

    /// The request's items could not be handed to the mesh: nobody else will answer.
    pub fn fail(&self, ask: RequestId, problem: &Problem) {
        let mut asks = self.0.asks.lock();
        let failed = asks.remove(&ask);
        self.finish(asks.is_empty());
        drop(asks);
        if let Some(mut waiting) = failed {
            waiting.fill(problem);
            waiting.answer();
        }
    }

    /// Asks that are waited for.
    pub fn len(&self) -> usize {
        self.0.asks.lock().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until nobody waits any more.
    pub async fn idle(&self) {
        loop {
            let told = self.0.idle.notified();
            if self.is_empty() {
                return;
            }
            told.await;
        }
    }

    fn finish(&self, empty: bool) {
        if empty {
            self.0.idle.notify_waiters();
        }
    }

    /// Removes a caller and, with the last one, the request; returns the rows that have come so far.
    fn leave(&self, ask: RequestId, number: u64) -> Option<Vec<Option<Outcome>>> {
        let mut asks = self.0.asks.lock();
        let waiting = asks.get_mut(&ask)?;
        let at = waiting.callers.iter().position(|(caller, _)| *caller == number)?;
        waiting.callers.swap_remove(at);
        let rows = if waiting.callers.is_empty() {
            asks.remove(&ask).map(|waiting| waiting.rows)
        } else {
            Some(waiting.rows.clone())
        };
        self.finish(asks.is_empty());
        rows
    }
}

impl Waiting {
    fn fill(&mut self, problem: &Problem) {
        for row in self.rows.iter_mut().filter(|row| row.is_none()) {
            *row = Some(problem.clone().into());
        }
    }

    /// A caller that left meanwhile is no error.
    fn answer(mut self) {
        let rows: Rows = self.rows.into_iter().flatten().collect();
        let last = self.callers.pop();
        for (_, caller) in self.callers {
            drop(caller.send(rows.clone()));
        }
        if let Some((_, caller)) = last {
            drop(caller.send(rows));
        }
    }
}

impl Waiter {
    /// Waits for the rows. When `limit` passes first, rows that have not come are answered with `deadline_exceeded`.
    pub async fn rows(mut self, limit: std::time::Duration) -> Rows {
        if let Ok(Ok(rows)) = tokio::time::timeout(limit, &mut self.answer).await {
            return rows;
        }
        let late = Problem::new(ErrorCode::DeadlineExceeded, format!("no answer within {} ms", limit.as_millis()));
        match self.waiters.leave(self.ask, self.number) {
            Some(rows) => rows.into_iter().map(|row| row.unwrap_or_else(|| late.clone().into())).collect(),
            // completed while the time ran out
            None => self.answer.try_recv().unwrap_or_else(|_| vec![late.into()]),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        drop(self.waiters.leave(self.ask, self.number));
    }
}

#[cfg(test)]
mod tests;
