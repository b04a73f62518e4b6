//! The table in use. Readers take it without a lock; the refresher replaces it.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use crate::table::Table;

/// Shared between the stage and the refresher. Empty until the registry was read for the first time.
#[derive(Debug, Clone, Default)]
pub struct Catalog(Arc<ArcSwapOption<Table>>);

impl Catalog {
    /// The table in use, once there is one.
    pub fn table(&self) -> Guard<Option<Arc<Table>>> {
        self.0.load()
    }

    /// Replaces the table. Batches that are being prepared keep the one they have.
    pub fn replace(&self, table: Table) {
        self.0.store(Some(Arc::new(table)));
    }
}
