//! Keeps the leases of the requests in work, and takes over those of replicas that died.

use std::sync::Arc;
use std::time::Duration;

use super::later::{answer_again, give_up};
use crate::async_results::{AsyncResults, ResultId, StoreError, Unfinished};
use crate::http::HttpState;

/// Time between two renewals: a fraction of a lease, so that a few may fail.
const RENEW: Duration = Duration::from_secs(2);
/// Time between two looks at all requests in work anywhere: about as often as leases expire.
const TAKE_OVER: Duration = Duration::from_secs(8);

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
    // each on its own: taking over hundreds of requests takes longer than a lease
    let work =
        async { tokio::join!(renew_until_drained(&state, &results), take_over_until_draining(&state, &results)) };
    tokio::select! {
        () = beats => {}
        _ = work => {}
    }
    component.finished();
}

/// Renews the leases as long as requests are in work here.
async fn renew_until_drained(state: &HttpState, results: &AsyncResults) {
    let mut failed = false;
    let renew = async {
        loop {
            note(results.renew().await, &mut failed);
            tokio::time::sleep(RENEW).await;
        }
    };
    let drained = async {
        state.lifecycle.draining().await;
        results.idle().await;
    };
    tokio::select! {
        () = renew => {}
        () = drained => {}
    }
}

async fn take_over_until_draining(state: &Arc<HttpState>, results: &AsyncResults) {
    let mut failed = false;
    while !state.lifecycle.is_draining() {
        for (id, unfinished) in note(results.take_over().await, &mut failed).unwrap_or_default() {
            results.run(id, take_over(Arc::clone(state), results.clone(), id, unfinished));
        }
        tokio::select! {
            () = state.lifecycle.draining() => {}
            () = tokio::time::sleep(TAKE_OVER) => {}
        }
    }
}

/// The value; an error is logged unless the call before had `failed` as well.
fn note<T>(result: Result<T, StoreError>, failed: &mut bool) -> Option<T> {
    match result {
        Ok(value) => {
            *failed = false;
            Some(value)
        }
        Err(error) => {
            if !std::mem::replace(failed, true) {
                tracing::warn!(%error, "the store of results does not answer");
            }
            None
        }
    }
}

/// Does what is left to do for a request.
async fn take_over(state: Arc<HttpState>, results: AsyncResults, id: ResultId, unfinished: Unfinished) {
    match unfinished {
        Unfinished::Request(request) => answer_again(state, results, id, request).await,
        Unfinished::Callback(url) => results.call_back(id, &url).await,
        Unfinished::Hopeless { owner, callback } => give_up(&results, id, &owner, callback.as_deref()).await,
    }
}
