//! A disk of little room, in memory, for a broker that shall run out of it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::error::LoadtestError;

const SIZE: &str = "size=256m";

/// A mounted tmpfs; dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts it; that takes rights that not everybody has.
    pub(crate) fn mount(place: PathBuf) -> Result<Self, LoadtestError> {
        std::fs::create_dir_all(&place).map_err(LoadtestError::file(&place))?;
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "forebay-faults"]).arg(&place).output();
        let output = mount.map_err(LoadtestError::system("run mount"))?;
        if output.status.success() {
            return Ok(Self { place });
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LoadtestError::Input(format!("a tmpfs cannot be mounted here: {why}")))
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) -> Result<(), LoadtestError> {
        let path = self.filler();
        let mut file = std::fs::File::create(&path).map_err(LoadtestError::file(&path))?;
        for size in [1 << 20, 4096] {
            let bytes = vec![0; size];
            while file.write_all(&bytes).is_ok() {}
        }
        Ok(())
    }

    /// Gives the room back.
    pub(crate) fn make_room(&self) {
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.place).status();
    }
}
