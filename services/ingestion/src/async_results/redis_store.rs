//! Requests and answers in Redis, where every replica of ingestion finds them.
//!
//! A result is a hash that expires. While its request is in work its id is in the set of pending requests and has a lease, a
//! key that its replica renews: when that replica dies the lease expires, and who sets it again first takes the request
//! over. Only the server's clock counts.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Pipeline, RedisError};
use rustc_hash::FxHashSet;

use super::submission::SubmissionHead;
use super::{ResultId, StoreError, StoredAnswer, StoredResult, Submission, Unfinished};

/// Longest time to connect, and for the server to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request stays with a replica that says nothing.
const LEASE_MS: u64 = 10_000;
/// About as many requests are looked at with one command.
const SCAN: usize = 1000;
/// A request that was taken over more often has ended its replicas.
const MAX_TAKE_OVERS: u64 = 3;

/// A Redis server. Its connection is opened by the first command, on the runtime of that command.
pub(crate) struct RedisStore {
    client: Client,
    prefix: String,
    ttl_ms: u64,
    connection: Mutex<Option<ConnectionManager>>,
}

/// The fields of a result.
const OWNER: &str = "owner";
const HEAD: &str = "head";
const BODY: &str = "body";
const ANSWER: &str = "answer";
const TAKE_OVERS: &str = "take_overs";

impl RedisStore {
    /// Keeps requests and answers for `ttl`, under keys that begin with `prefix`.
    pub(crate) fn new(client: Client, prefix: &str, ttl: Duration) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self { client, prefix: format!("{prefix}results:"), ttl_ms, connection: Mutex::default() }
    }

    fn connection(&self) -> Result<ConnectionManager, StoreError> {
        let mut connection = self.connection.lock();
        if let Some(open) = &*connection {
            return Ok(open.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_number_of_retries(1);
        let new = ConnectionManager::new_lazy_with_config(self.client.clone(), config).map_err(failed)?;
        Ok(connection.insert(new).clone())
    }

    fn result(&self, id: ResultId) -> String {
        format!("{}{id}", self.prefix)
    }

    fn lease(&self, id: ResultId) -> String {
        format!("{}lease:{id}", self.prefix)
    }

    fn pending(&self) -> String {
        format!("{}pending", self.prefix)
    }

    pub(super) async fn submit(&self, id: ResultId, request: &Submission) -> Result<(), StoreError> {
        let head = serde_json::to_vec(&request.head).map_err(|error| StoreError(error.to_string()))?;
        let key = self.result(id);
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        let hash = pipeline.cmd("HSET").arg(&key).arg(OWNER).arg(&request.owner).arg(HEAD).arg(head);
        hash.arg(BODY).arg(&*request.body).ignore();
        // an earlier attempt under the same key may have left them
        pipeline.cmd("HDEL").arg(&key).arg(ANSWER).arg(TAKE_OVERS).ignore();
        pipeline.cmd("PEXPIRE").arg(&key).arg(self.ttl_ms).ignore();
        pipeline.cmd("SET").arg(self.lease(id)).arg("").arg("PX").arg(LEASE_MS).ignore();
        pipeline.cmd("SADD").arg(self.pending()).arg(id.to_string()).ignore();
        pipeline.query_async(&mut self.connection()?).await.map_err(failed)
    }

    pub(super) async fn complete(
        &self,
        id: ResultId,
        owner: &str,
        answer: &StoredAnswer,
        calls_back: bool,
    ) -> Result<(), StoreError> {
        let key = self.result(id);
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline.cmd("HSETNX").arg(&key).arg(ANSWER).arg(answer.encode()).ignore();
        // once more: the request itself may have expired
        pipeline.cmd("HSET").arg(&key).arg(OWNER).arg(owner).ignore();
        pipeline.cmd("HDEL").arg(&key).arg(BODY).ignore();
        pipeline.cmd("PEXPIRE").arg(&key).arg(self.ttl_ms).ignore();
        if !calls_back {
            self.finish_in(&mut pipeline, id);
        }
        pipeline.query_async(&mut self.connection()?).await.map_err(failed)
    }

    /// Nothing is left to do for a request.
    pub(super) async fn finish(&self, id: ResultId) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        self.finish_in(&mut pipeline, id);
        pipeline.query_async(&mut self.connection()?).await.map_err(failed)
    }

    fn finish_in(&self, pipeline: &mut Pipeline, id: ResultId) {
        pipeline.cmd("HDEL").arg(self.result(id)).arg(HEAD).ignore();
        pipeline.cmd("SREM").arg(self.pending()).arg(id.to_string()).ignore();
        pipeline.cmd("DEL").arg(self.lease(id)).ignore();
    }

    pub(super) async fn find(&self, id: ResultId) -> Result<Option<(String, StoredResult)>, StoreError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.result(id)).arg(OWNER).arg(ANSWER);
        let fields: (Option<String>, Option<Vec<u8>>) =
            command.query_async(&mut self.connection()?).await.map_err(failed)?;
        let (Some(owner), answer) = fields else { return Ok(None) };
        let Some(answer) = answer else { return Ok(Some((owner, StoredResult::Pending))) };
        Ok(StoredAnswer::decode(&answer).map(|answer| (owner, StoredResult::Answered(answer))))
    }

    pub(super) async fn renew(&self, ids: &[ResultId]) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.cmd("PEXPIRE").arg(self.lease(*id)).arg(LEASE_MS).ignore();
        }
        pipeline.query_async(&mut self.connection()?).await.map_err(failed)
    }

    pub(super) async fn release(&self, ids: &[ResultId]) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.cmd("DEL").arg(self.lease(*id)).ignore();
        }
        pipeline.query_async(&mut self.connection()?).await.map_err(failed)
    }

    pub(super) async fn take_over(&self, own: &FxHashSet<ResultId>) -> Result<Vec<(ResultId, Unfinished)>, StoreError> {
        let mut connection = self.connection()?;
        let (mut cursor, mut taken) = (0_u64, Vec::new());
        loop {
            let mut command = redis::cmd("SSCAN");
            let command = command.arg(self.pending()).arg(cursor).arg("COUNT").arg(SCAN);
            let (next, ids): (u64, Vec<String>) = command.query_async(&mut connection).await.map_err(failed)?;
            let ids: Vec<_> = ids.iter().filter_map(|id| ResultId::parse(id)).filter(|id| !own.contains(id)).collect();
            let read = self.take(ids, &mut connection, &mut taken).await;
            cursor = next;
            match read {
                // those have leases of this replica, and one more attempt
                Err(_) if !taken.is_empty() => return Ok(taken),
                Err(error) => return Err(error),
                Ok(()) if cursor == 0 || taken.len() >= SCAN => return Ok(taken),
                Ok(()) => {}
            }
        }
    }

    /// Adds those of `ids` whose leases have expired to `taken`.
    async fn take(
        &self,
        ids: Vec<ResultId>,
        connection: &mut ConnectionManager,
        taken: &mut Vec<(ResultId, Unfinished)>,
    ) -> Result<(), StoreError> {
        for id in self.expired(ids, connection).await? {
            taken.extend(self.unfinished(id, connection).await?.map(|unfinished| (id, unfinished)));
        }
        Ok(())
    }

    /// Those of `ids` that had no lease. They have one of this replica now.
    async fn expired(
        &self,
        ids: Vec<ResultId>,
        connection: &mut ConnectionManager,
    ) -> Result<Vec<ResultId>, StoreError> {
        if ids.is_empty() {
            return Ok(ids);
        }
        let mut pipeline = redis::pipe();
        for id in &ids {
            pipeline.cmd("SET").arg(self.lease(*id)).arg("").arg("NX").arg("PX").arg(LEASE_MS);
        }
        let leases: Vec<Option<String>> = pipeline.query_async(connection).await.map_err(failed)?;
        Ok(ids.into_iter().zip(leases).filter_map(|(id, lease)| lease.map(|_| id)).collect())
    }

    /// What is left to do for a request; `None` if it has expired.
    async fn unfinished(
        &self,
        id: ResultId,
        connection: &mut ConnectionManager,
    ) -> Result<Option<Unfinished>, StoreError> {
        type Field = Option<Vec<u8>>;
        let mut command = redis::cmd("HMGET");
        let command = command.arg(self.result(id)).arg(OWNER).arg(HEAD).arg(BODY).arg(ANSWER);
        let fields: (Option<String>, Field, Field, Field) = command.query_async(connection).await.map_err(failed)?;
        let (owner, head, body, answer) = fields;
        let head = head.and_then(|head| serde_json::from_slice::<SubmissionHead>(&head).ok());
        match (owner, head, body, answer.is_some()) {
            (_, Some(SubmissionHead { callback: Some(url), .. }), _, true) => {
                return Ok(Some(Unfinished::Callback(url)));
            }
            (Some(owner), Some(head), Some(body), false) => {
                let mut command = redis::cmd("HINCRBY");
                let command = command.arg(self.result(id)).arg(TAKE_OVERS).arg(1);
                let times: u64 = command.query_async(connection).await.map_err(failed)?;
                return Ok(Some(match times {
                    ..=MAX_TAKE_OVERS => Unfinished::Request(Submission { owner, head, body: body.into() }),
                    _ => Unfinished::Hopeless { owner, callback: head.callback },
                }));
            }
            _ => {}
        }
        let mut pipeline = redis::pipe();
        self.finish_in(&mut pipeline, id);
        pipeline.query_async::<()>(connection).await.map_err(failed)?;
        Ok(None)
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn failed(error: RedisError) -> StoreError {
    StoreError(format!("redis: {error}"))
}
