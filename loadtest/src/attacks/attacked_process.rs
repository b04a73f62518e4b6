//! One process of the mesh with the limit that its manifest gives it.

use std::path::Path;
use std::time::Duration;

use super::memory_group::MemoryGroup;
use crate::error::LoadtestError;
use crate::mesh_under_test::{MeshProcess, MeshUnderTest};

/// What a process is started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitedLaunch<'a> {
    pub(crate) binary: &'a str,
    pub(crate) arguments: &'a [&'a str],
    /// Bytes.
    pub(crate) limit: u64,
}

/// A running process. Its memory is limited where the machine permits that, and measured everywhere.
#[derive(Debug)]
pub(crate) struct AttackedProcess {
    process: MeshProcess,
    /// Bytes.
    pub(crate) limit: u64,
    /// Removed after the process has ended: fields are dropped in this order.
    group: Option<MemoryGroup>,
}

impl AttackedProcess {
    /// Starts a binary of the mesh in a group of its own; `folder` is for the script that does so.
    pub(crate) fn start(mesh: &MeshUnderTest, launch: LimitedLaunch<'_>, folder: &Path) -> Result<Self, LoadtestError> {
        let LimitedLaunch { binary, arguments, limit } = launch;
        let group = MemoryGroup::create(&mesh.topic(binary), limit);
        // four fifths, as in a group
        let known = format!("{}MiB", (limit >> 20) * 4 / 5);
        let sized = [("FOREBAY__MEMORY__LIMIT", known.as_str())];
        let settings: &[_] = if group.is_some() { &[] } else { &sized };
        let binaries = match &group {
            Some(group) => {
                std::fs::create_dir_all(folder).map_err(LoadtestError::file(folder))?;
                group.write_launcher(&mesh.binaries().join(binary), folder)?;
                folder
            }
            None => mesh.binaries(),
        };
        let process = mesh.launch_from(binaries, binary, arguments, settings)?;
        Ok(Self { process, limit, group })
    }

    /// Whether the kernel holds it to its limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.group.is_some()
    }

    pub(crate) fn process(&mut self) -> &mut MeshProcess {
        &mut self.process
    }

    pub(crate) fn name(&self) -> &str {
        self.process.name.trim_start_matches("forebay-")
    }

    /// The largest resident memory since the last call of [`AttackedProcess::forget_peak`], in bytes; `None` if it has
    /// ended.
    pub(crate) fn peak(&self) -> Option<u64> {
        self.process.peak_kib().map(|kib| kib << 10)
    }

    /// From now on only what comes later counts as a peak.
    pub(crate) fn forget_peak(&self) {
        // where this is not permitted, the peak since its start counts
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.process.pid()), "5");
    }

    /// How it ended, if it has: it must not.
    pub(crate) fn end(&mut self) -> Option<String> {
        let status = self.process.exit_status()?;
        Some(format!("{} ended: {status}\n{}", self.process.name, self.process.tail(5)))
    }

    pub(crate) fn wait_ready(&mut self, within: Duration) -> Result<(), LoadtestError> {
        self.process.wait_ready(within).map(|_| ())
    }
}
