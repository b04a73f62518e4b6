//! The actors of this service; each is thin and the work is elsewhere.

mod preparer;

pub(crate) use preparer::{Incoming, Preparer};
