//! The name of the machine.

/// The name of this machine; in a container it is the container's, in Kubernetes the pod's.
pub fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
