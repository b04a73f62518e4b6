//! `faults`: real services and two replicas of each stage under constant load over HTTP, Kafka and RabbitMQ, one fault
//! after the other, and a table of what became of the requests.
//!
//! A row of the table is one entry of `catalog`: what is done (`actions`), to a mesh with topics of its own
//! (`row_run`) under a seeded load (`load`), judged (`verdict`) against what the model's origin predicts (`origin`).

mod actions;
mod broker_cluster;
mod broker_proxy;
mod catalog;
mod command;
mod counts;
pub(crate) mod environment;
mod evidence;
pub(crate) mod load;
pub(crate) mod origin;
mod process_watch;
mod replica_slot;
mod replicas;
mod row_run;
mod small_disk;
mod table;
mod topic_admin;
pub(crate) mod verdict;

pub use command::FaultsArgs;
