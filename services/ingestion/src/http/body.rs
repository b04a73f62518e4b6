//! Reading the body of a request, within the limits of size, time and memory.

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::web::{Bytes, BytesMut, Payload};
use forebay_contract::{ErrorCode, Problem};
use futures_util::StreamExt as _;

use super::content_coding;
use super::limits::BodyPermits;
use super::state::HttpState;
use crate::auth::Caller;
use crate::rejection::HttpRejection;

/// Reads the body of a request of `caller`, decompressed, and acquires permits for its bytes that must be held as long as the
/// body is.
///
/// # Errors
/// `payload_too_large`, `overloaded`, `unsupported_media_type` for an unknown coding, or `invalid_request` for a body that
/// does not arrive in time or cannot be decompressed.
pub(super) async fn read(
    request: &HttpRequest,
    payload: Payload,
    state: &HttpState,
    caller: Option<&Caller>,
) -> Result<(Bytes, BodyPermits), HttpRejection> {
    let http = &state.http;
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > http.max_body as u64) {
        return Err(too_large(http.max_body).into());
    }
    let coding = request.headers().get(CONTENT_ENCODING).map(content_coding::of_request).transpose()?.flatten();
    let read = tokio::time::timeout(http.body_timeout, collect(payload, state, caller)).await;
    let late = |_| invalid(format!("the body did not arrive within {} ms", http.body_timeout.as_millis()));
    let (body, mut permits) = read.map_err(late)??;
    let Some(coding) = coding else { return Ok((body, permits)) };
    // as much as the body may become, since that is what it takes while it is decompressed
    permits.merge(state.limits.acquire_body(http.max_body, caller)?);
    let body = content_coding::decompress(coding, &body, http.max_body)?;
    Ok((body.into(), permits))
}

/// A body that arrives in a single chunk, as most do, is not copied.
async fn collect(
    mut payload: Payload,
    state: &HttpState,
    caller: Option<&Caller>,
) -> Result<(Bytes, BodyPermits), HttpRejection> {
    let max_body = state.http.max_body;
    let mut permits = state.limits.acquire_body(0, caller)?;
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| invalid(format!("the body cannot be read: {error}")))?;
        if first.len() + whole.len() + chunk.len() > max_body {
            return Err(too_large(max_body).into());
        }
        permits.merge(state.limits.acquire_body(chunk.len(), caller)?);
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&chunk);
        }
    }
    Ok((if whole.is_empty() { first } else { whole.freeze() }, permits))
}

fn too_large(max_body: usize) -> Problem {
    let message = format!("the body is larger than {max_body} bytes, the limit for one request (http.max_body)");
    Problem::new(ErrorCode::PayloadTooLarge, message)
}

fn invalid(message: String) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, message)
}
