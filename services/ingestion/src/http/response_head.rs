//! Status and headers of an answer.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder};

use super::content_coding;
use super::span::RequestSpan;
use super::state::HttpState;
use crate::rejection::HttpRejection;

/// The head of an answer that says whether and when to try again, which credentials and codings are accepted, and which
/// trace the request belongs to.
pub(super) fn response_head(
    state: &HttpState,
    request: &HeaderMap,
    span: &RequestSpan,
    status: u16,
    rejection: Option<&HttpRejection>,
) -> HttpResponseBuilder {
    let mut response = rejected_head(status, rejection);
    for header in span.headers(request) {
        response.insert_header(header);
    }
    if state.lifecycle.is_draining() {
        response.force_close();
    }
    response
}

/// As [`response_head`], for a request without a trace.
pub(super) fn rejected_head(status: u16, rejection: Option<&HttpRejection>) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    response.content_type("application/json");
    if matches!(status, 429 | 503) {
        response.insert_header((RETRY_AFTER, rejection.map_or(1, HttpRejection::retry_seconds)));
    }
    if status == 415 {
        response.insert_header((ACCEPT_ENCODING, content_coding::ACCEPTED));
    }
    if let Some(challenge) = rejection.and_then(|rejection| rejection.challenge) {
        response.insert_header((WWW_AUTHENTICATE, challenge));
    }
    response
}
