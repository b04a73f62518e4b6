//! What is done to the mesh and to the services around it.

pub(super) mod brokers;
pub(super) mod builds;
pub(super) mod clocks;
pub(super) mod cluster;
pub(super) mod disks;
pub(super) mod inputs;
pub(super) mod mixture;
pub(super) mod network;
pub(super) mod overload;
pub(super) mod processes;
pub(super) mod registry;
pub(super) mod topics;
