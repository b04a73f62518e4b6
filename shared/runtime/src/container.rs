//! Whether an address that this process listens on can be reached from the network.

use std::net::SocketAddr;
use std::path::Path;

/// Whether an address can be reached from the network. False in a container: there the address has to be open, and the
/// container's network decides who reaches it.
pub fn is_exposed(address: SocketAddr) -> bool {
    exposed(address, in_container())
}

fn exposed(address: SocketAddr, contained: bool) -> bool {
    !address.ip().to_canonical().is_loopback() && !contained
}

/// Docker, Podman and Kubernetes leave these files and variables.
fn in_container() -> bool {
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
            let address = address.parse().unwrap();
            assert_eq!((exposed(address, false), exposed(address, true)), (open, false), "{address}");
        }
    }
}
