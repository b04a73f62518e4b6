//! Files and listings of MLflow servers on disk, so that they are there when the server is not.
//!
//! ```text
//! DIR/<server>/<model>/listing.json              the last listing of the model
//! DIR/<server>/<model>/<version>-<digest>/index.json, files/..., used
//! ```
//!
//! Any number of processes share a folder: everything is written beside its place and renamed into it, and what is
//! read is compared with the size and SHA-256 in the index. Names in the path are encoded.

mod entry;
mod upkeep;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) use entry::CacheKey;
use entry::Index;

use super::mlflow::{Files, Listed};
use crate::Fault;

/// The largest listing read back.
const MAX_LISTING: u64 = 16 << 20;

/// The part of a cache folder that belongs to one server.
#[derive(Debug)]
pub(super) struct Cache {
    /// All servers: what the size bound covers.
    dir: PathBuf,
    root: PathBuf,
    size: u64,
}

impl Cache {
    /// The cache of `server` in `dir`, which is made when it is first written to.
    pub(super) fn new(dir: &Path, server: &str, size: u64) -> Self {
        let server = blake3::hash(server.as_bytes()).to_hex();
        Self { dir: dir.to_owned(), root: dir.join(&server[..16]), size }
    }

    /// The files of a version, as they were kept. `None` when they were not.
    ///
    /// # Errors
    /// A [`Fault`] when they are not what was kept; they are then out of the way.
    pub(super) fn files(&self, key: &CacheKey<'_>) -> Result<Option<Files>, Fault> {
        let folder = key.folder(&self.root);
        let read = match Index::read(&folder) {
            Ok(Some(index)) => index.files(&folder),
            Ok(None) => return Ok(None),
            Err(fault) => Err(fault),
        };
        match read {
            Ok(files) => {
                entry::touch(&folder);
                Ok(Some(files))
            }
            Err(fault) => {
                self.discard(&folder);
                Err(fault)
            }
        }
    }

    /// Keeps the files of a version. When another process was quicker, its files stay.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn keep(&self, key: &CacheKey<'_>, files: &Files) -> io::Result<()> {
        let folder = key.folder(&self.root);
        let part = self.part()?;
        let written = Index::write(&part, files).and_then(|()| {
            if let Some(parent) = folder.parent() {
                private_folder(parent)?;
            }
            fs::rename(&part, &folder)
        });
        if written.is_err() {
            // a folder that is not empty is not replaced
            let _ = fs::remove_dir_all(&part);
        }
        match written {
            Err(_) if folder.join(entry::INDEX).is_file() => Ok(()),
            done => done,
        }
    }

    /// Waits until no other process fetches this version, so that it is fetched once; at most `patience`, as the other one may
    /// hang. The turn ends when the file is dropped.
    pub(super) fn turn(&self, key: &CacheKey<'_>, patience: Duration) -> Option<fs::File> {
        let folder = key.folder(&self.root);
        private_folder(folder.parent()?).ok()?;
        let file = fs::File::create(folder.with_extension("lock")).ok()?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Some(file),
                Err(fs::TryLockError::WouldBlock) if started.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(_) => return None,
            }
        }
    }

    /// The last listing of a model that was kept.
    pub(super) fn listing(&self, model: &str) -> Option<Listed> {
        read_listing(&self.root.join(entry::encoded(model)))
    }

    /// The last listings of all models that were kept.
    pub(super) fn listings(&self) -> Vec<Listed> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries.filter_map(|entry| read_listing(&entry.ok()?.path())).collect()
    }

    /// Keeps a listing in place of the one before.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn keep_listing(&self, listing: &Listed) -> io::Result<()> {
        let folder = self.root.join(entry::encoded(&listing.name));
        private_folder(&folder)?;
        let part = self.part()?;
        let text = serde_json::to_vec(listing).map_err(io::Error::other)?;
        let written = write(&part.join("listing.json"), &text)
            .and_then(|()| fs::rename(part.join("listing.json"), folder.join("listing.json")));
        let _ = fs::remove_dir_all(&part);
        written
    }

    /// Forgets the listing of a model that the server does not have any more.
    pub(super) fn forget(&self, model: &str) {
        let _ = fs::remove_file(self.root.join(entry::encoded(model)).join("listing.json"));
    }

    /// A new folder to write to, beside what it will replace.
    fn part(&self) -> io::Result<PathBuf> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let part =
            self.root.join(format!("{}{}-{number}-{:08x}", entry::PART, std::process::id(), rand::random::<u32>()));
        private_folder(&part)?;
        Ok(part)
    }

    /// Moves a folder out of the way, then removes it: nobody sees half of it.
    fn discard(&self, folder: &Path) {
        let Ok(part) = self.part() else { return };
        let _ = fs::rename(folder, part.join("gone"));
        let _ = fs::remove_dir_all(&part);
    }
}

fn read_listing(folder: &Path) -> Option<Listed> {
    let bytes = entry::read_bounded(&folder.join("listing.json"), MAX_LISTING).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Models may be secret: readable by this user alone.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
