//! Keeps the leases of the requests in work, and takes over those of replicas that died.

use std::sync::Arc;
use std::time::Duration;

use super::later::answer_again;
use crate::async_results::{AsyncResults, ResultId, Unfinished};
use crate::http::HttpState;

/// Time between two renewals: a fraction of a lease, so that a few may fail.
const RENEW: Duration = Duration::from_secs(2);

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
        while !state.lifecycle.is_draining() {
            match results.renew_and_take_over().await {
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

/// Does what is left to do for a request.
async fn take_over(state: Arc<HttpState>, results: AsyncResults, id: ResultId, unfinished: Unfinished) {
    match unfinished {
        Unfinished::Request(request) => answer_again(state, results, id, request).await,
        Unfinished::Callback(url, answer) => results.call_back(id, &url, &answer).await,
    }
}
