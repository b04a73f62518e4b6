//! What is done to the mesh and to the services around it.

pub(super) mod brokers;
pub(super) mod inputs;
pub(super) mod processes;
pub(super) mod topics;
