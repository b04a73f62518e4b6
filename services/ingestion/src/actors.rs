//! The stage's actors, thin: they own state and timers, the work is in the plain modules.

mod gatherer;
mod ingester;

pub(crate) use gatherer::{Gatherer, Offered};
pub(crate) use ingester::{Ingester, MessagesTaken, RecordsTaken};
