//! What the stage takes of the memory of its process.

use forebay_runtime::{Layers, MemoryBudget, MemoryPart, UsesMemory};

use super::{AsyncStore, Settings};

const CONNECTIONS: &str = "http_connections";
/// Bytes that a connection may hold after a request with the largest head.
const CONNECTION_BYTES: u64 = 85 << 10;
/// Connections of a worker, and of the gRPC server, that there are in any case.
const LEAST_CONNECTIONS: u64 = 16;
const GRPC_CONNECTIONS: &str = "grpc_connections";
/// Bytes that a connection may hold: its window, and the heads and frames of its calls.
const GRPC_CONNECTION_BYTES: u64 = 192 << 10;
const ANSWERS: &str = "async_answers";
/// Room for the answers of a few thousand requests.
const LEAST_ANSWERS: u64 = 1 << 20;
const REQUESTS: &str = "http_requests";
/// Room for a few bodies of the largest size.
const LEAST_BODIES: u64 = 4;

impl UsesMemory for Settings {
    fn memory_parts(&self, layers: &Layers) -> Vec<MemoryPart> {
        let http = &self.http;
        let connections = |each: u64| each.saturating_mul(http.workers as u64).saturating_mul(CONNECTION_BYTES);
        let of_connections = (connections(LEAST_CONNECTIONS), connections(http.max_connections as u64));
        let of_requests = ((http.max_body as u64).saturating_mul(LEAST_BODIES), http.body_memory as u64);
        let of_answers = (LEAST_ANSWERS, self.async_results.memory as u64);
        let mut parts = vec![
            MemoryPart::of_setting(layers, CONNECTIONS, "http.max_connections", 2, of_connections),
            MemoryPart::of_setting(layers, REQUESTS, "http.body_memory", 4, of_requests),
        ];
        if self.grpc.enabled {
            let connections = |count: u64| count.saturating_mul(GRPC_CONNECTION_BYTES);
            let bytes = (connections(LEAST_CONNECTIONS), connections(self.grpc.max_connections as u64));
            parts.push(MemoryPart::of_setting(layers, GRPC_CONNECTIONS, "grpc.max_connections", 1, bytes));
        }
        if self.may_keep_answers() {
            parts.push(MemoryPart::of_setting(layers, ANSWERS, "async.memory", 1, of_answers));
        }
        parts
    }

    fn fit(&mut self, budget: &MemoryBudget) {
        if let Some(bytes) = budget.of(ANSWERS) {
            self.async_results.memory = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        if let Some(bytes) = budget.of(GRPC_CONNECTIONS) {
            let count = usize::try_from(bytes / GRPC_CONNECTION_BYTES).unwrap_or(usize::MAX);
            self.grpc.max_connections = count.clamp(1, self.grpc.max_connections.max(1));
        }
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

impl Settings {
    /// Whether the answers of requests that are answered later would be kept in this process.
    fn may_keep_answers(&self) -> bool {
        matches!(self.async_results.store, AsyncStore::Auto | AsyncStore::Memory)
    }
}
