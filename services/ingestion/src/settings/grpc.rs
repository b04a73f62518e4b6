//! The section `[grpc]`: the gRPC server. Its other limits and its TLS are those of the HTTP server.

use std::net::SocketAddr;
use std::time::Duration;

use forebay_runtime::{Problems, address, duration};
use serde::Deserialize;

/// `[grpc]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcSettings {
    /// Whether the gRPC server is started.
    pub enabled: bool,
    /// Address to listen on.
    #[serde(with = "address")]
    pub listen: SocketAddr,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum number of open streams (`ModelStreamInfer`).
    pub max_streams: usize,
    /// How long a stream may wait for its next message.
    #[serde(with = "duration")]
    pub stream_idle: Duration,
    /// How long a connection may have no call.
    #[serde(with = "duration")]
    pub connection_idle: Duration,
}

impl GrpcSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        for (key, value) in [("grpc.max_connections", self.max_connections), ("grpc.max_streams", self.max_streams)] {
            if value == 0 {
                problems.add(key, "is 0, expected at least 1");
            }
        }
        for (key, value) in [("grpc.stream_idle", self.stream_idle), ("grpc.connection_idle", self.connection_idle)] {
            if value.is_zero() {
                problems.add(key, "is 0, expected a duration");
            }
        }
    }
}
