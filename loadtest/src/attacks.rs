//! `attacks`: hostile files, callers, records, messages and issuers against a running mesh under the memory limits of its
//! manifests, with normal traffic beside, and a table of what became of both.
//!
//! A line of the table is one entry of `catalog`: what is sent (`actions`), to which form of the mesh (`attacked_mesh`).
//! Normal traffic (`normal_http`, `normal_load`) must lose nothing, no process may end, and none may pass its limit.

mod actions;
mod attack_answers;
mod attack_run;
mod attacked_mesh;
mod attacked_process;
mod catalog;
mod command;
mod local_server;
mod memory_group;
mod normal_http;
mod normal_load;
mod outcome;

pub use command::AttacksArgs;
