//! Listeners that other machines can reach, and what is missing to make that safe.

use std::net::SocketAddr;

use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use forebay_runtime::{Metrics, is_exposed};

/// Reports listeners as they open. Clones share the metric.
#[derive(Clone, Debug)]
pub(crate) struct Exposure {
    /// `forebay_http_anonymous`
    anonymous: Gauge,
}

impl Exposure {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let anonymous = Gauge::<i64>::default();
        let help = "1 if the HTTP or the gRPC listener can be reached from the network and requires no credentials";
        metrics.register("forebay_http_anonymous", help, anonymous.clone());
        Self { anonymous }
    }

    /// Warns where callers or their credentials are not protected from the network. In containers too: whether the
    /// network around one lets strangers in cannot be seen from inside.
    pub(crate) fn report(&self, listener: &str, address: SocketAddr, secure: bool, credentials: bool) {
        if !is_exposed(address) {
            return;
        }
        if !credentials {
            self.anonymous.set(1);
            tracing::warn!(listener, %address, "listener is exposed to the network without authentication: see [auth]");
        } else if !secure {
            tracing::warn!(listener, %address, "credentials cross the network unencrypted: see [http.tls]");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_listener_alone_counts() {
        for (address, credentials, anonymous) in
            [("0.0.0.0:1", false, 1), ("10.0.0.1:1", true, 0), ("127.0.0.1:1", false, 0)]
        {
            let exposure = Exposure { anonymous: Gauge::default() };
            exposure.report("grpc", address.parse().unwrap(), false, credentials);
            exposure.report("http", "127.0.0.1:1".parse().unwrap(), false, credentials);
            assert_eq!(exposure.anonymous.get(), anonymous, "{address}");
        }
    }
}
