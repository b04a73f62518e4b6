//! Keeps the leases of the requests in work, and takes over those of replicas that died.

use std::sync::Arc;
use std::time::Duration;

use super::later::{answer_again, give_up};
use crate::async_results::{AsyncResults, ResultId, StoreError, Unfinished};
use crate::http::HttpState;

/// Time between two renewals: a fraction of a lease, so that a few may fail.
const RENEW: Duration = Duration::from_secs(2);
/// Every so many renewals all requests in work anywhere are looked at: about as often as leases expire.
const TAKE_OVER: u64 = 4;

/// Starts doing so, where replicas share a store.
pub(in crate::http) fn renew_leases(state: &HttpState) {
    if let Some(results) = state.async_results.as_ref().filter(|results| results.has_leases()) {
        let (state, results) = (Arc::new(state.clone()), results.clone());
        results.clone().spawn(keep(state, results));
    }
}

async fn keep(state: Arc<HttpState>, results: AsyncResults) {
    let component = state.lifecycle.register("async results");
    component.ready();
    let beats = component.heartbeat().beat_from_task();
    let work = async {
        let mut failed = false;
        for turn in 0_u64.. {
            if state.lifecycle.is_draining() {
                break;
            }
            match renew_and_take_over(&results, turn.is_multiple_of(TAKE_OVER)).await {
                Ok(taken) => {
                    failed = false;
                    for (id, unfinished) in taken {
                        results.run(id, take_over(Arc::clone(&state), results.clone(), id, unfinished));
                    }
                }
                Err(error) if !failed => {
                    failed = true;
                    tracing::warn!(%error, "the store of results does not answer");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = state.lifecycle.draining() => {}
                () = tokio::time::sleep(RENEW) => {}
            }
        }
    };
    tokio::select! {
        () = beats => {}
        () = work => {}
    }
    component.finished();
}

async fn renew_and_take_over(
    results: &AsyncResults,
    take_over: bool,
) -> Result<Vec<(ResultId, Unfinished)>, StoreError> {
    results.renew().await?;
    if take_over { results.take_over().await } else { Ok(Vec::new()) }
}

/// Does what is left to do for a request.
async fn take_over(state: Arc<HttpState>, results: AsyncResults, id: ResultId, unfinished: Unfinished) {
    match unfinished {
        Unfinished::Request(request) => answer_again(state, results, id, request).await,
        Unfinished::Callback(url) => results.call_back(id, &url).await,
        Unfinished::Hopeless { owner, callback } => give_up(&results, id, &owner, callback.as_deref()).await,
    }
}
