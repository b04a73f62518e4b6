//! The section `[grpc]`: the gRPC server. Its limits and its TLS are those of the HTTP server.

use std::net::SocketAddr;

use serde::Deserialize;

/// `[grpc]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcSettings {
    /// Whether the gRPC server is started.
    pub enabled: bool,
    /// Address to listen on.
    pub listen: SocketAddr,
}
