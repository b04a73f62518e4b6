//! What the stage takes of the memory of its process. What a version may take is decided when it is read.

use forebay_runtime::{Layers, MemoryPart, UsesMemory};

use super::Settings;

/// Descriptions of versions, with their preprocessing.
const LEAST: u64 = 16 << 20;

impl UsesMemory for Settings {
    fn memory_parts(&self, _: &Layers) -> Vec<MemoryPart> {
        vec![MemoryPart::share("models", "", 4, (LEAST, u64::MAX))]
    }
}
