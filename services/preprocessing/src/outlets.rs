//! The edges that the stage sends to.

use forebay_bus::Outlet;
use forebay_contract::{Features, Outcome};

/// Where the stage sends.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// Rows that a model can answer.
    pub features: Outlet<Features>,
    /// Outcomes of everything else.
    pub results: Outlet<Outcome>,
}
