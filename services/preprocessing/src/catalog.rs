//! The catalog of models: the snapshot that requests are resolved with. The stage reads it without a lock; the
//! refresher replaces it as a whole.

mod model_versions;
#[cfg(test)]
pub(crate) mod samples;
mod snapshot;

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

pub use model_versions::ResolvedVersion;
pub use snapshot::{CatalogPolicy, CatalogSnapshot, ListedModel};

/// Shared between the stage and the refresher. Empty until the registry was read for the first time.
#[derive(Debug, Clone, Default)]
pub struct ModelCatalog(Arc<ArcSwapOption<CatalogSnapshot>>);

impl ModelCatalog {
    /// The snapshot in use, once there is one.
    pub fn snapshot(&self) -> Guard<Option<Arc<CatalogSnapshot>>> {
        self.0.load()
    }

    /// Replaces the snapshot. Batches that are being prepared keep the one they have.
    pub fn replace(&self, snapshot: CatalogSnapshot) {
        self.0.store(Some(Arc::new(snapshot)));
    }
}
