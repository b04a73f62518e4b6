//! The registry of an MLflow server, against a small server that answers as a real one does.

#![expect(clippy::unwrap_used, reason = "test code")]

mod access;
mod bench;
mod hostile;
mod layouts;
mod listing;
mod outage;
mod server;
