//! What the stage takes of the memory of its process.

use forebay_runtime::{Layers, MemoryBudget, MemoryPart, UsesMemory};

use super::Settings;

const CACHE: &str = "cache";
const LEAST: u64 = 1 << 20;
/// Bytes of a prediction that waits to be stored.
const STORE_BYTES: u64 = 512;

impl UsesMemory for Settings {
    fn memory_parts(&self, layers: &Layers) -> Vec<MemoryPart> {
        let stores = (self.cache.pending_stores as u64).saturating_mul(STORE_BYTES);
        vec![
            MemoryPart::of_setting(layers, CACHE, "cache.capacity", 3, (LEAST, self.cache.capacity)),
            MemoryPart::fixed("cache_stores", "cache.pending_stores", stores),
        ]
    }

    fn fit(&mut self, budget: &MemoryBudget) {
        self.cache.capacity = budget.of(CACHE).unwrap_or(self.cache.capacity);
    }
}
