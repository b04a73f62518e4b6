//! What the stage takes of the memory of its process.

use forebay_runtime::{Layers, MemoryBudget, MemoryPart, UsesMemory};

use super::{MIN_CAPACITY, Settings};

const ANSWERS: &str = "idempotent_answers";
const LEAST_ANSWERS: u64 = 1 << 20;
const WINDOW: &str = "dedupe_window";
/// Bytes of an id in the dedupe window, with a quarter for the ids of earlier answers that are read back.
const ID_BYTES: u64 = 50;

impl UsesMemory for Settings {
    fn memory_parts(&self, layers: &Layers) -> Vec<MemoryPart> {
        let answers = (LEAST_ANSWERS, self.results.idempotent_memory as u64);
        let ids = (self.results.window_capacity as u64).saturating_mul(ID_BYTES);
        let window = (MIN_CAPACITY as u64 * ID_BYTES, ids);
        vec![
            MemoryPart::of_setting(layers, ANSWERS, "results.idempotent_memory", 2, answers),
            MemoryPart::of_setting(layers, WINDOW, "results.window_capacity", 8, window),
        ]
    }

    fn fit(&mut self, budget: &MemoryBudget) {
        let results = &mut self.results;
        if let Some(bytes) = budget.of(ANSWERS) {
            results.idempotent_memory = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        if let Some(bytes) = budget.of(WINDOW) {
            results.window_capacity = usize::try_from(bytes / ID_BYTES).unwrap_or(usize::MAX);
        }
    }
}
