//! The registry of an MLflow server, against a small server that answers as a real one does.
#![cfg(test)]

mod access;
mod bench;
mod catalog;
mod catalog_server;
mod hostile;
mod layouts;
mod listing;
mod outage;
mod server;
