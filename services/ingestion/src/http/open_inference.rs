//! The Open Inference Protocol (version 2) over HTTP, with the extensions that clients of Triton rely on: binary tensors,
//! classification, model configuration, statistics and the repository's index.
//!
//! # Layout
//! - `routes`: paths, and answers to unknown ones
//! - `infer`: requests for inference; `request`: their JSON; `answer`: the bodies of answers
//! - `metadata`: health, metadata and configuration; `statistics`; `repository`

mod answer;
pub(super) mod infer;
pub(super) mod metadata;
pub(super) mod repository;
mod request;
mod routes;
pub(super) mod statistics;

#[cfg(fuzzing)]
pub(crate) use request::read as read_infer;
pub(super) use routes::routes;

use actix_web::HttpResponse;
use forebay_contract::Problem;
use serde::Serialize;

use super::exchange;
use crate::rejection::HttpRejection;

/// The body of an error.
#[derive(Debug, Serialize)]
struct ErrorJson<'p> {
    error: &'p str,
}

pub(super) fn error_json(problem: &Problem) -> Vec<u8> {
    // a text cannot fail to serialise
    serde_json::to_vec(&ErrorJson { error: &problem.message }).unwrap_or_default()
}

/// What this server has beside the six calls of the standard.
pub(crate) fn extensions() -> &'static [&'static str] {
    &metadata::EXTENSIONS
}

fn rejected(rejection: impl Into<HttpRejection>) -> HttpResponse {
    let rejection = rejection.into();
    let json = error_json(&rejection.problem);
    exchange::rejected(&rejection, json)
}
