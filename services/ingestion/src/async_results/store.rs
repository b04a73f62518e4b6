//! Where requests that are answered later are recorded, and their answers kept.

use std::sync::Arc;

use forebay_contract::is_retryable;
use rustc_hash::FxHashSet;

use super::{MemoryStore, RedisStore, ResultId, StoredAnswer, Submission, Unfinished};

/// Memory, where one process serves all callers, or Redis. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum AnswerStore {
    Memory(Arc<MemoryStore>),
    Redis(Arc<RedisStore>),
}

/// How far a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredResult {
    Pending,
    Answered(StoredAnswer),
}

impl StoredResult {
    /// Whether it is an error that may be another answer the next time. Under an `Idempotency-Key` it is not kept.
    pub(crate) fn may_be_repeated(&self) -> bool {
        matches!(self, Self::Answered(answer) if is_retryable(answer.status))
    }
}

/// The store cannot be used now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StoreError(pub(super) String);

impl AnswerStore {
    /// Records a request.
    pub(super) async fn submit(&self, id: ResultId, request: &Submission) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.submit(id, &request.owner);
                Ok(())
            }
            Self::Redis(redis) => redis.submit(id, request).await,
        }
    }

    /// Keeps the answer of a request. The first answer counts. The request stays in work if the answer
    /// is to be posted as well.
    pub(super) async fn complete(
        &self,
        id: ResultId,
        owner: &str,
        answer: &StoredAnswer,
        calls_back: bool,
    ) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.complete(id, owner, answer);
                Ok(())
            }
            Self::Redis(redis) => redis.complete(id, owner, answer, calls_back).await,
        }
    }

    /// Whether this process has memory for one more request.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.has_room(),
            Self::Redis(_) => true,
        }
    }

    /// Ends the leases of requests, so that another replica takes them over at once.
    pub(super) async fn release(&self, ids: &[ResultId]) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.release(ids).await,
        }
    }

    /// Nothing is left to do for a request.
    pub(super) async fn finish(&self, id: ResultId) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.finish(id).await,
        }
    }

    /// The owner of a request and how far it is; `None` if there is none, or none any more.
    pub(super) async fn find(&self, id: ResultId) -> Result<Option<(String, StoredResult)>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.find(id)),
            Self::Redis(redis) => redis.find(id).await,
        }
    }

    /// Extends the leases of requests that this replica works on.
    pub(super) async fn renew(&self, ids: &[ResultId]) -> Result<(), StoreError> {
        match self {
            Self::Redis(redis) if !ids.is_empty() => redis.renew(ids).await,
            Self::Memory(_) | Self::Redis(_) => Ok(()),
        }
    }

    /// Takes over requests whose leases have expired. `own` are in work here.
    pub(super) async fn take_over(&self, own: &FxHashSet<ResultId>) -> Result<Vec<(ResultId, Unfinished)>, StoreError> {
        match self {
            Self::Memory(_) => Ok(Vec::new()),
            Self::Redis(redis) => redis.take_over(own).await,
        }
    }
}
