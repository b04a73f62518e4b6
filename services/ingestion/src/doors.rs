//! The HTTP door.
//!
//! # Layout
//! - `predict`: `POST /v1/predict`
//! - `answer`: the JSON of answers and errors
//! - `body`: reading bodies within limits; `credentials`: what a request shows of itself; `cors`: pages that may call
//! - `models`: `GET /v1/models`
//! - `catalog`: what it lists, from the model directory
//! - `openapi`: `/openapi.json`, generated from the types that are served
//! - `refusals`: what is told of requests that do not get past the door
//! - `seats`: room for the rows that wait
//! - `routes`: paths, and answers to those that do not exist
//! - `span`: the server span of a request

mod answer;
mod body;
mod catalog;
mod cors;
mod credentials;
mod models;
mod openapi;
mod predict;
mod refusals;
mod routes;
mod seats;
mod span;

pub(crate) use body::Intake;
pub use catalog::Catalog;
pub(crate) use cors::cors;
pub use openapi::document;
pub use predict::PredictDoor;
pub(crate) use refusals::Refusals;
pub use routes::routes;
pub(crate) use seats::WaitingRoom;
