//! Requests that are answered later (`Prefer: respond-async`, RFC 7240): the caller gets an id at once, and with it the
//! answer once it is there.
//!
//! A request is recorded in the [`AnswerStore`] before it enters the mesh. The replica that accepted it waits for its
//! outcomes like any HTTP caller and stores the answer. With Redis each request in work has a lease: when the replica dies
//! the lease expires, and another replica sends the request again under the same identity, so the mesh answers it once.
//!
//! # Layout
//! - `submission`: what is recorded of a request; `answer`: what is kept of its answer
//! - `store`: where both are; `memory` and `redis_store`: the two kinds
//! - `window`: how many requests this replica accepts
//! - `metrics`: counters
//! - `callback`: posts answers to the addresses that callers name

mod answer;
mod callback;
mod memory;
mod metrics;
mod redis_store;
mod store;
mod submission;
mod window;

use std::future::Future;
use std::hash::BuildHasher as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, Problem};
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashSet};
use tokio::sync::{Notify, oneshot};

pub(crate) use answer::StoredAnswer;
pub(crate) use callback::{AllowedTarget, Callbacks, secret_bytes};
pub(crate) use memory::MemoryStore;
pub(crate) use metrics::AsyncMetrics;
use metrics::CallMetrics;
pub(crate) use redis_store::RedisStore;
pub(crate) use store::{AnswerStore, StoreError, StoredResult};
pub(crate) use submission::{ResultId, Submission, SubmissionHead, Unfinished};
pub(crate) use window::Reservation;
use window::SubmissionWindow;

use crate::rejection::HttpRejection;

/// Work that runs beside the connections.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Starts such work on the runtime that the store belongs to.
pub(crate) type Spawn = Arc<dyn Fn(Task) + Send + Sync>;

/// Most requests and calls in work of which a request that calls back may become one more. Each takes a few KiB.
const MAX_RUNNING: usize = 10_000;
/// Time between two attempts to store an answer.
const RETRY: Duration = Duration::from_secs(1);

/// The requests that are answered later. Clones share them.
#[derive(Clone)]
pub(crate) struct AsyncResults(Arc<Shared>);

struct Shared {
    store: AnswerStore,
    spawn: Spawn,
    ttl: Duration,
    window: Arc<Mutex<SubmissionWindow>>,
    /// Requests that this replica works on.
    running: Mutex<FxHashSet<ResultId>>,
    /// Notified whenever it works on none.
    idle: Notify,
    metrics: AsyncMetrics,
    /// `None` if answers may be posted nowhere.
    callbacks: Option<Callbacks>,
}

impl AsyncResults {
    /// Keeps answers in `store` for `ttl`, at most `max_requests` of them, and posts them with `callbacks`.
    pub(crate) fn new(
        store: AnswerStore,
        spawn: Spawn,
        ttl: Duration,
        max_requests: usize,
        metrics: AsyncMetrics,
        callbacks: Option<Callbacks>,
    ) -> Self {
        let window = Arc::new(Mutex::new(SubmissionWindow::new(ttl, max_requests)));
        let (running, idle) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { store, spawn, ttl, window, running, idle, metrics, callbacks }))
    }

    /// Checks that an answer may be posted to `url`.
    ///
    /// # Errors
    /// `invalid_request` if not.
    pub(crate) fn check_callback(&self, url: &str) -> Result<(), Problem> {
        let nowhere = || Problem::new(ErrorCode::InvalidRequest, "callback_url: async.callbacks allows no address");
        self.0.callbacks.as_ref().ok_or_else(nowhere)?.check(url)
    }

    /// Posts the answer of the request `id`, which is stored, until it is taken or given up.
    pub(crate) async fn call_back(&self, id: ResultId, url: &str) {
        if let Some(callbacks) = &self.0.callbacks {
            callbacks.call(&self.0.store, &self.0.metrics.calls, id, url).await;
        }
        if let Err(error) = self.0.store.finish(id).await {
            // its message has an id, so that the receiver knows a second one
            tracing::warn!(%error, result = ?id, "an answer may be posted again");
        }
    }

    /// Reserves a place for one more request of `owner`, which is given back unless the request is submitted.
    ///
    /// # Errors
    /// `overloaded` if this replica keeps too many, or has too many calls in work.
    pub(crate) fn reserve(&self, owner: &str, calls_back: bool) -> Result<Reservation, HttpRejection> {
        if calls_back && self.0.running.lock().len() >= MAX_RUNNING {
            let text = format!("too many requests and callbacks are in work (limit {MAX_RUNNING})");
            return Err(HttpRejection::new(ErrorCode::Overloaded, text));
        }
        if !self.0.store.has_room() {
            return Err(HttpRejection::new(
                ErrorCode::Overloaded,
                "the memory for answers is exhausted (async.memory)",
            ));
        }
        let owner = if owner.is_empty() { 0 } else { FxBuildHasher.hash_one(owner).max(1) };
        Reservation::new(&self.0.window, owner, Instant::now())
    }

    /// Records a request that is to be answered later, as `id`.
    ///
    /// # Errors
    /// `unavailable` if the store does not take it.
    pub(crate) async fn submit(
        &self,
        id: ResultId,
        submission: Submission,
        reserved: Reservation,
    ) -> Result<(), Problem> {
        self.on_runtime(move |store| async move { store.submit(id, &submission).await }).await?;
        reserved.keep();
        self.0.metrics.accepted.inc();
        Ok(())
    }

    /// The result `id` as far as it is there; `None` if there is none, or if it is not `owner`'s.
    ///
    /// # Errors
    /// `unavailable` if the store does not answer.
    pub(crate) async fn find(&self, id: ResultId, owner: &str) -> Result<Option<StoredResult>, Problem> {
        let found = self.on_runtime(move |store| async move { store.find(id).await }).await?;
        Ok(found.filter(|(known, _)| known == owner).map(|(_, result)| result))
    }

    /// Runs `task`, which answers the request `id`, beside the connections.
    pub(crate) fn run(&self, id: ResultId, task: impl Future<Output = ()> + Send + 'static) {
        self.0.running.lock().insert(id);
        self.0.metrics.running.inc();
        let ended = Running { id, results: self.clone() };
        self.spawn(async move {
            task.await;
            drop(ended);
        });
    }

    /// Stores the answer of the request `id`, trying until it would be forgotten. The request stays in work if it
    /// `calls_back`.
    pub(crate) async fn complete(&self, id: ResultId, owner: &str, answer: &StoredAnswer, calls_back: bool) {
        let (began, mut logged) = (Instant::now(), false);
        while let Err(error) = self.0.store.complete(id, owner, answer, calls_back).await {
            if began.elapsed() > self.0.ttl {
                return;
            }
            if !std::mem::replace(&mut logged, true) {
                tracing::warn!(%error, "an answer cannot be stored, trying again");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Extends the leases of the requests in work.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        let running: Vec<_> = self.0.running.lock().iter().copied().collect();
        self.0.store.renew(&running).await
    }

    /// Takes over the requests of replicas that died.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn take_over(&self) -> Result<Vec<(ResultId, Unfinished)>, StoreError> {
        let own = self.0.running.lock().clone();
        let taken = self.0.store.take_over(&own).await?;
        self.0.metrics.taken_over.inc_by(taken.len() as u64);
        Ok(taken)
    }

    /// Whether another replica could take over this one's requests, so that leases are to be renewed.
    pub(crate) fn has_leases(&self) -> bool {
        matches!(self.0.store, AnswerStore::Redis(_))
    }

    /// How long answers are kept.
    pub(crate) fn ttl(&self) -> Duration {
        self.0.ttl
    }

    /// Starts `task` on the runtime of the store.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        (self.0.spawn)(Box::pin(task));
    }

    /// Returns when no request is in work here.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.0.idle.notified();
            if self.0.running.lock().is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// Leaves what is in work to other replicas, where there can be some; a process that stops calls this last.
    pub(crate) async fn release(&self) {
        let left: Vec<_> = self.0.running.lock().iter().copied().collect();
        if left.is_empty() {
            return;
        }
        if self.has_leases() {
            tracing::info!(requests = left.len(), "requests that are answered later are left to other replicas");
            if let Err(problem) = self.on_runtime(move |store| async move { store.release(&left).await }).await {
                tracing::warn!(error = problem.message, "they wait for the end of their leases");
            }
        } else {
            tracing::warn!(
                requests = left.len(),
                "requests that are answered later, or their callbacks, end unanswered"
            );
        }
    }

    /// A connection of the store belongs to one runtime, and handlers run on others.
    async fn on_runtime<T, F>(&self, work: impl FnOnce(AnswerStore) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work = work(self.0.store.clone());
        self.spawn(async move { _ = reply.send(work.await) });
        let unavailable = |why: String| Problem::new(ErrorCode::Unavailable, why);
        match answer.await {
            Ok(result) => result.map_err(|error| unavailable(format!("the store of results: {error}"))),
            Err(_) => Err(unavailable("this replica is shutting down".to_owned())),
        }
    }
}

impl std::fmt::Debug for AsyncResults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncResults").field("store", &self.0.store).finish_non_exhaustive()
    }
}

/// A request in work, until it is dropped.
struct Running {
    id: ResultId,
    results: AsyncResults,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Shared { running, idle, metrics, .. } = &*self.results.0;
        metrics.running.dec();
        let mut running = running.lock();
        running.remove(&self.id);
        if running.is_empty() {
            idle.notify_waiters();
        }
    }
}
