//! What the headers of a call say: credentials, keys, the deadline and the trace.

use std::time::Duration;

use forebay_contract::{ErrorCode, Problem, SplitKey, machine_us};
use forebay_runtime::TraceContext;
use tonic::metadata::MetadataMap;

use crate::auth::AuthenticatedCaller;
use crate::http::{HttpState, credentials_of};
use crate::rejection::HttpRejection;

const MAX_KEY_BYTES: usize = 255;

/// The caller of one message of a stream. Errors bring the caller if it is known.
pub(super) async fn authenticate(
    state: &HttpState,
    metadata: &MetadataMap,
) -> Result<AuthenticatedCaller, (HttpRejection, AuthenticatedCaller)> {
    let all = |name| metadata.get_all(name).iter().map(|value| value.as_encoded_bytes());
    let credentials = credentials_of(all("x-api-key"), all("authorization"), None);
    state.authenticator.authenticate(credentials, machine_us() / 1_000_000).await
}

/// The caller of a call whose head is there. The messages of a stream count against the caller's rate one by one, so that
/// opening it counts as little as fetching an answer does.
pub(super) async fn open(
    state: &HttpState,
    headers: &http::HeaderMap,
    stream: bool,
) -> Result<AuthenticatedCaller, (HttpRejection, AuthenticatedCaller)> {
    let all = |name| headers.get_all(name).iter().map(|value| value.as_bytes());
    let credentials = credentials_of(all("x-api-key"), all("authorization"), None);
    let now_s = machine_us() / 1_000_000;
    match stream {
        true => state.authenticator.authenticate_fetch(credentials, now_s).await,
        false => state.authenticator.authenticate(credentials, now_s).await,
    }
}

/// The trace that the caller continues.
pub(super) fn trace(metadata: &MetadataMap) -> Option<TraceContext> {
    metadata.get("traceparent")?.to_str().ok().and_then(TraceContext::from_traceparent)
}

/// The key by which the caller stays with one version.
pub(super) fn split_key(metadata: &MetadataMap) -> Result<Option<SplitKey>, Problem> {
    Ok(key(metadata, "x-forebay-key")?.map(SplitKey::of_text))
}

/// The key under which a repeated request gets the same answer.
pub(super) fn idempotency_key(metadata: &MetadataMap) -> Result<Option<&str>, Problem> {
    key(metadata, "idempotency-key")
}

fn key<'m>(metadata: &'m MetadataMap, name: &'static str) -> Result<Option<&'m str>, Problem> {
    let Some(value) = metadata.get(name) else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    let message = || format!("{name}: expected 1 to {MAX_KEY_BYTES} visible ASCII characters");
    text.map(Some).ok_or_else(|| Problem::new(ErrorCode::InvalidRequest, message()))
}

/// The time that the client gives the call.
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    duration(metadata.get("grpc-timeout")?.to_str().ok()?)
}

/// Digits and a unit, as the gRPC protocol has a duration.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = Some(digits).filter(|digits| digits.len() <= 8)?.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_a_unit() {
        assert_eq!(duration("250m"), Some(Duration::from_millis(250)));
        assert_eq!((duration("2S"), duration("1H")), (Some(Duration::from_secs(2)), Some(Duration::from_secs(3600))));
        for wrong in ["", "5", "m", "-1m", "999999999m", "5x"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
