//! What the stage takes of the memory of its process.

use forebay_runtime::{Layers, MemoryBudget, MemoryPart, UsesMemory};

use super::Settings;

const CONNECTIONS: &str = "http_connections";
/// Bytes that a connection may hold after a request with the largest head.
const CONNECTION_BYTES: u64 = 85 << 10;
/// Connections of a worker that there are in any case.
const LEAST_CONNECTIONS: u64 = 16;
const REQUESTS: &str = "http_requests";
/// Room for a few bodies of the largest size.
const LEAST_BODIES: u64 = 4;

impl UsesMemory for Settings {
    fn memory_parts(&self, layers: &Layers) -> Vec<MemoryPart> {
        let http = &self.http;
        let connections = |each: u64| each.saturating_mul(http.workers as u64).saturating_mul(CONNECTION_BYTES);
        let of_connections = (connections(LEAST_CONNECTIONS), connections(http.max_connections as u64));
        let of_requests = ((http.max_body as u64).saturating_mul(LEAST_BODIES), http.body_memory as u64);
        vec![
            MemoryPart::of_setting(layers, CONNECTIONS, "http.max_connections", 2, of_connections),
            MemoryPart::of_setting(layers, REQUESTS, "http.body_memory", 4, of_requests),
        ]
    }

    fn fit(&mut self, budget: &MemoryBudget) {
        let http = &mut self.http;
        if let Some(bytes) = budget.of(CONNECTIONS) {
            let each = bytes / CONNECTION_BYTES / (http.workers as u64).max(1);
            http.max_connections = usize::try_from(each).unwrap_or(usize::MAX).clamp(1, http.max_connections.max(1));
        }
        if let Some(bytes) = budget.of(REQUESTS) {
            http.body_memory = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
    }
}
