//! The actors of this stage. They own state and timers; the work itself is in the plain modules.

mod batcher;
mod ingester;

pub(crate) use batcher::{AddItems, BatcherActor};
pub(crate) use ingester::{DeliverMessages, DeliverRecords, Ingester};
