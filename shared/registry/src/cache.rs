//! Files and listings of MLflow servers on disk, for when the server is down.
//!
//! ```text
//! DIR/<server>/<model>/listing.json              the last listing of the model
//! DIR/<server>/<model>/<version>-<digest>/index.json, files/..., used
//! ```
//!
//! Any number of processes can share a folder: everything is written to a temporary folder, which is then renamed, and
//! every file that is read is compared with the size and SHA-256 in the index. Names in the path are encoded.

mod entry;
mod eviction;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay_artefact::Fault;

pub(super) use entry::CachedVersionKey;
use entry::Index;

use super::mlflow::{ArtifactFiles, ListedModel};

/// Largest listing that is read, in bytes.
const MAX_LISTING: u64 = 16 << 20;

/// The part of a cache folder that belongs to one server.
#[derive(Debug)]
pub(super) struct Cache {
    /// The folder of all servers, whose total size is bounded.
    dir: PathBuf,
    root: PathBuf,
    size: u64,
}

impl Cache {
    /// The cache of `server` in `dir`, which is created when it is first written to.
    pub(super) fn new(dir: &Path, server: &str, size: u64) -> Self {
        let server = blake3::hash(server.as_bytes()).to_hex();
        Self { dir: dir.to_owned(), root: dir.join(&server[..16]), size }
    }

    /// The cached files of a version, of at most `most` bytes; `None` when they are not cached.
    ///
    /// # Errors
    /// A [`Fault`] when they are larger, or differ from the index; the latter are removed.
    pub(super) fn files(&self, key: &CachedVersionKey<'_>, most: u64) -> Result<Option<ArtifactFiles>, Fault> {
        let folder = key.folder(&self.root);
        let read = match Index::read(&folder) {
            Ok(Some(index)) if index.size() > most => {
                let reason = format!("cached files of {} bytes, at most {most} may be loaded now", index.size());
                return Err(Fault::new(key.model, reason));
            }
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

    /// Stores the files of a version. If another process stored them first, its files stay.
    ///
    /// # Errors
    /// An error of the file system.
    pub(super) fn store(&self, key: &CachedVersionKey<'_>, files: &ArtifactFiles) -> io::Result<()> {
        let folder = key.folder(&self.root);
        let part = self.temporary()?;
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

    /// Locks this version, so that only one process fetches it. Waits at most `timeout`, because the process that holds
    /// the lock may hang. Dropping the file releases the lock.
    pub(super) fn lock(&self, key: &CachedVersionKey<'_>, timeout: Duration) -> Option<fs::File> {
        let folder = key.folder(&self.root);
        private_folder(folder.parent()?).ok()?;
        let file = fs::File::create(folder.with_extension("lock")).ok()?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Some(file),
                Err(fs::TryLockError::WouldBlock) if started.elapsed() < timeout => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(_) => return None,
            }
        }
    }

    /// The last cached listing of a model.
    pub(super) fn listing(&self, model: &str) -> Option<ListedModel> {
        read_listing(&self.root.join(entry::encoded(model)))
    }

    /// The last cached listings of all models.
    pub(super) fn listings(&self) -> Vec<ListedModel> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries.filter_map(|entry| read_listing(&entry.ok()?.path())).collect()
    }

    /// Stores a listing and replaces the previous one.
    ///
    /// # Errors
    /// An error of the file system.
    pub(super) fn store_listing(&self, listing: &ListedModel) -> io::Result<()> {
        let folder = self.root.join(entry::encoded(&listing.name));
        private_folder(&folder)?;
        let part = self.temporary()?;
        let text = serde_json::to_vec(listing).map_err(io::Error::other)?;
        let written = write(&part.join("listing.json"), &text)
            .and_then(|()| fs::rename(part.join("listing.json"), folder.join("listing.json")));
        let _ = fs::remove_dir_all(&part);
        written
    }

    /// Removes the listing of a model that the server no longer has.
    pub(super) fn remove_listing(&self, model: &str) {
        let _ = fs::remove_file(self.root.join(entry::encoded(model)).join("listing.json"));
    }

    /// Creates a folder to write to, on the same file system as the folder that it will replace.
    fn temporary(&self) -> io::Result<PathBuf> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let part =
            self.root.join(format!("{}{}-{number}-{:08x}", entry::PART, std::process::id(), rand::random::<u32>()));
        private_folder(&part)?;
        Ok(part)
    }

    /// Renames a folder before removing it, so that no reader sees a part of it.
    fn discard(&self, folder: &Path) {
        let Ok(part) = self.temporary() else { return };
        let _ = fs::rename(folder, part.join("gone"));
        let _ = fs::remove_dir_all(&part);
    }
}

fn read_listing(folder: &Path) -> Option<ListedModel> {
    let bytes = entry::read_bounded(&folder.join("listing.json"), MAX_LISTING).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Creates a folder that only this user can read: models may be confidential.
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
