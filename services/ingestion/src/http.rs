//! The HTTP server.
//!
//! # Layout
//! - `server`: the listener, opened and closed; `tls`: its certificates
//! - `connection`: which protocol a client speaks; `http2`: HTTP/2, with bounds
//! - `state`: what the handlers share
//! - `routes`: paths, and answers to unknown ones
//! - `predict`: `POST /v1/predict`; `response`: the JSON of its answers
//! - `async_results`: `Prefer: respond-async` and `GET /v1/results/{id}`
//! - `exchange`: requests in other protocols; `open_inference`: the Open Inference Protocol; `scoring`: protocols of
//!   tables; `json_tokens`: tokens that are not JSON
//! - `submission`: the way of rows into the mesh and back, for all protocols; `response_head`: status and headers
//! - `models`: `GET /v1/models`; `model_list`: the list, from the model directory
//! - `openapi`: `/openapi.json`; `schema`: bodies that other modules parse or write, described for it
//! - `body`: reading bodies; `content_coding`: compressed ones; `limits`: how many requests, bytes and rows are admitted at once; `wait_estimates`: which
//!   would wait for too long
//! - `credentials`: the credentials of a request; `cors`: origins that may call from a browser
//! - `rejections`: logs and traces of rejected requests; `span`: the server span of a request

mod async_results;
mod body;
mod connection;
mod content_coding;
mod cors;
mod credentials;
mod exchange;
mod http2;
mod json_object;
mod json_tokens;
mod limits;
mod model_list;
mod models;
mod open_inference;
mod openapi;
mod predict;
mod rejections;
mod response;
mod response_head;
mod routes;
mod schema;
mod scoring;
mod server;
mod span;
mod state;
mod submission;
pub(crate) mod tls;
mod wait_estimates;

pub(crate) use credentials::credentials_of;
pub(crate) use limits::{AdmissionLimits, BodyPermits};
pub use model_list::ModelListing;
pub(crate) use model_list::ServedModel;
pub(crate) use open_inference::extensions;
#[cfg(fuzzing)]
pub(crate) use open_inference::read_infer;
pub use openapi::document;
pub(crate) use rejections::RejectionReporter;
pub use routes::routes;
pub(crate) use scoring::MAX_ITEMS;
#[cfg(fuzzing)]
pub(crate) use scoring::{csv_rows, json_rows};
pub use server::HttpListener;
pub(crate) use server::serve;
pub use state::HttpState;
pub(crate) use submission::{Arrival, submit};
