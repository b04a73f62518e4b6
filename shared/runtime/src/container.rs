//! Whether an address that this process listens on can be reached from the network.

use std::net::SocketAddr;
use std::path::Path;

/// Whether other machines can reach an address, as far as it says: a container's network may still keep them out.
pub fn is_exposed(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// Whether this process is in a container, whose network decides who reaches its open addresses.
pub fn in_container() -> bool {
    // Docker, Podman and Kubernetes leave these
    let files = ["/.dockerenv", "/run/.containerenv"];
    let variables = ["KUBERNETES_SERVICE_HOST", "container"];
    files.iter().any(|file| Path::new(file).exists()) || variables.iter().any(|name| std::env::var_os(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_not_the_network() {
        for (address, open) in [
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("10.0.0.1:1", true),
        ] {
            assert_eq!(is_exposed(address.parse().unwrap()), open, "{address}");
        }
    }
}
