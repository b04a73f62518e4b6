//! The edges that the stage sends to.

use forebay_bus::Outlet;
use forebay_contract::{Features, Outcome};

/// Where the stage sends.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// Rows that have to be predicted.
    pub predict: Outlet<Features>,
    /// Answers and errors.
    pub results: Outlet<Outcome>,
}
