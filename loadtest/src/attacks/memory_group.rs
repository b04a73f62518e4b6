//! A control group with a memory limit for one process, where the machine permits one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::LoadtestError;

/// Where groups are, of either version, and the file that holds the limit.
const MOUNTS: [(&str, &str); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];

/// A group; removed when it is dropped, which its processes must have left by then.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    folder: PathBuf,
}

impl MemoryGroup {
    /// A new group with this limit in bytes; `None` where the machine permits none.
    pub(crate) fn create(name: &str, limit: u64) -> Option<Self> {
        MOUNTS.iter().find_map(|(mount, file)| {
            let folder = Path::new(mount).join(name);
            std::fs::create_dir(&folder).ok()?;
            let group = Self { folder };
            // writing would make a file where the group has no such controller
            let limited = group.folder.join(file);
            (limited.exists() && std::fs::write(&limited, limit.to_string()).is_ok()).then_some(group)
        })
    }

    /// Writes a script into `folder` that joins the group and becomes the binary of this name.
    pub(crate) fn write_launcher(&self, binary: &Path, folder: &Path) -> Result<(), LoadtestError> {
        let name = binary.file_name().unwrap_or_default();
        let (path, procs) = (folder.join(name), self.folder.join("cgroup.procs"));
        let (procs, program) = (procs.display(), binary.display());
        let script = format!("#!/bin/sh\necho $$ > '{procs}' || exit 97\nexec '{program}' \"$@\"\n");
        std::fs::write(&path, script).map_err(LoadtestError::file(&path))?;
        let runnable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, runnable).map_err(LoadtestError::file(&path))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // an ended process leaves its group a moment later
        for _ in 0..50 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
