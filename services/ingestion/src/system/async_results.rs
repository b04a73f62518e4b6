//! Where requests that are answered later wait for their callers.

use std::sync::Arc;

use actix_rt::ArbiterHandle;
use forebay_bus::kafka::DeadLetters;
use forebay_runtime::{Host, Process, StartError};

use crate::async_results::{AnswerStore, AsyncMetrics, AsyncResults, Callbacks, MemoryStore, RedisStore};
use crate::settings::{AsyncStore, Settings};

/// Opens the store that the settings name; `None` if every request is answered on its connection. `alone`: no other replica
/// can be asked for an answer. Calls that are given up become `letters`.
///
/// # Errors
/// If the store cannot be used; the error names the setting.
pub(super) fn open(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    alone: bool,
    letters: DeadLetters,
) -> Result<Option<AsyncResults>, StartError> {
    let metrics = AsyncMetrics::register(host.metrics());
    let (wanted, redis) = (&settings.async_results, &settings.redis);
    check_process(wanted.store, host.process())?;
    let store = match wanted.store {
        AsyncStore::Auto if !alone => {
            tracing::info!(
                setting = "async.store",
                "requests to be answered later are answered on their connections: other replicas could be asked for the answers, \
                 which redis would give to all of them"
            );
            return Ok(None);
        }
        AsyncStore::Off => return Ok(None),
        AsyncStore::Redis => {
            let client = redis.client().map_err(|invalid| StartError::setting(invalid.key, invalid.text))?;
            AnswerStore::Redis(Arc::new(RedisStore::new(client, &redis.prefix, wanted.ttl)))
        }
        AsyncStore::Auto | AsyncStore::Memory => {
            AnswerStore::Memory(Arc::new(MemoryStore::new(wanted.memory, wanted.ttl)))
        }
    };
    let callbacks = Callbacks::new(wanted, letters);
    let arbiter = arbiter.clone();
    let spawn = Arc::new(move |task| _ = arbiter.spawn(task));
    Ok(Some(AsyncResults::new(store, spawn, wanted.ttl, wanted.max_requests, metrics, callbacks)))
}

/// A process whose answers other replicas could be asked for must not keep them to itself.
fn check_process(store: AsyncStore, process: Process) -> Result<(), StartError> {
    if store != AsyncStore::Memory || process.all_in_one {
        return Ok(());
    }
    let why = "is \"memory\", but other replicas of this service could be asked for the answers: set it to \"redis\", or run \
               all stages in one process";
    Err(StartError::setting("async.store", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_refused_where_there_may_be_other_replicas() {
        let (alone, one) = (Process::all_in_one("forebay"), Process::service("ingestion"));
        let error = check_process(AsyncStore::Memory, one).unwrap_err().to_string();
        assert!(error.contains("async.store") && error.contains("redis"), "{error}");
        for (store, process) in [(AsyncStore::Memory, alone), (AsyncStore::Auto, one), (AsyncStore::Redis, one)] {
            assert!(check_process(store, process).is_ok());
        }
    }
}
