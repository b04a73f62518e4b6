//! The attacks' actions, by who attacks.

pub(super) mod bodies;
pub(super) mod connections;
pub(super) mod files;
mod hostile_files;
pub(super) mod issuers;
pub(super) mod messages;
pub(super) mod records;
pub(super) mod requests;
