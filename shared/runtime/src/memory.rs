//! How much memory this process may use.

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// `memory.limit`, where it is set.
static LIMIT: OnceLock<u64> = OnceLock::new();

/// What a process without any limit takes at most.
const UNLIMITED: u64 = 2 << 30;

/// The memory that this process may use, in bytes: four fifths of the smallest limit of its control group and of those around
/// it. Without a limit, a quarter of the machine's memory, and at most 2 GiB. `memory.limit` overrides it once the process is
/// launched.
pub fn memory_budget() -> u64 {
    LIMIT.get().copied().unwrap_or_else(|| budget(Path::new("/")))
}

/// Makes `bytes` what [`memory_budget`] says from now on. The first call counts.
pub(crate) fn set_memory_limit(bytes: u64) {
    LIMIT.get_or_init(|| bytes);
}

/// The memory that this process uses now, in bytes; 0 where that cannot be read.
pub fn resident_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kibibytes(&text, "VmRSS:").unwrap_or(0)
}

/// What is left of the budget, in bytes.
pub fn memory_left() -> u64 {
    memory_budget().saturating_sub(resident_memory())
}

fn budget(root: &Path) -> u64 {
    if let Some(limit) = limit(root) {
        return limit / 5 * 4;
    }
    let machine = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    kibibytes(&machine, "MemTotal:").map_or(UNLIMITED, |total| (total / 4).min(UNLIMITED))
}

/// The smallest memory limit of the process's control groups, of either version.
fn limit(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mount = root.join("sys/fs/cgroup");
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        match controllers {
            "" => smallest(&[mount.clone(), mount.join("unified")], path, "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                smallest(&[mount.join("memory")], path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.min()
}

/// The smallest number in the files `name` of the group at `path` and of those above it, up to where they are mounted. A path
/// that is not there is that of the machine, seen from a container: then the mount's own file is the container's.
fn smallest(mounts: &[PathBuf], path: &str, name: &str) -> Option<u64> {
    let inside: PathBuf = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let groups = mounts.iter().flat_map(|mount| inside.ancestors().map(|group| mount.join(group).join(name)));
    let read = |file: PathBuf| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    // version 1 writes the largest number of pages for "no limit"
    groups.filter_map(read).filter(|limit| *limit < 1 << 60).min()
}

/// A line of the form `NAME   123 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim_end().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn machine(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        budget(root.path())
    }

    #[test]
    fn the_smallest_limit_up_the_tree_counts() {
        let nested = ("proc/self/cgroup", "0::/pod/container\n");
        let (pod, own) = ("sys/fs/cgroup/pod/memory.max", "sys/fs/cgroup/pod/container/memory.max");
        assert_eq!(machine(&[nested, (pod, "536870912\n"), (own, "1073741824\n")]), (512 << 20) / 5 * 4);
        assert_eq!(machine(&[nested, (pod, "max\n"), (own, "1073741824\n")]), GIB / 5 * 4);
        // a container sees its own group as the root
        let inside = ("proc/self/cgroup", "0::/\n");
        assert_eq!(machine(&[inside, ("sys/fs/cgroup/memory.max", "1073741824\n")]), GIB / 5 * 4);
        // version 1, with the path of the machine, and with the one of the container
        let old = ("proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n3:memory,hugetlb:/docker/abc\n");
        assert_eq!(machine(&[old, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n")]), GIB / 5 * 4);
        let below = "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes";
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[old, unlimited, (below, "536870912\n")]), (512 << 20) / 5 * 4);
    }

    #[test]
    fn without_a_limit_it_is_a_quarter_of_the_machine_and_at_most_two_gibibytes() {
        assert_eq!(machine(&[("proc/meminfo", "MemTotal:        4194304 kB\nMemFree: 1 kB\n")]), GIB);
        assert_eq!(machine(&[("proc/meminfo", "MemTotal:      100663296 kB\n")]), 2 * GIB);
        assert_eq!(machine(&[]), 2 * GIB);
        assert!(resident_memory() > 1 << 20 && memory_budget() > 0);
    }
}
