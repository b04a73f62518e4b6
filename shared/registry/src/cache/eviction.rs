//! Evicts versions that have not been used for a week, the least recently used ones above the size limit, and
//! unfinished folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::entry::{self, CachedVersionKey, INDEX, PART, USED};
use super::{Cache, entry::Index};

/// Versions unused for this long are removed.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Versions used within this time are kept, however large the cache is, because they may be in use.
const IN_USE: Duration = Duration::from_secs(2 * 3600);
/// An unfinished folder older than this was left by a process that ended.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A version in the cache.
#[derive(Debug)]
struct CachedVersion {
    folder: PathBuf,
    size: u64,
    unused: Duration,
}

impl Cache {
    /// Records that a version is still listed, if it is cached.
    pub(crate) fn touch(&self, key: &CachedVersionKey<'_>) {
        entry::touch(&key.folder(&self.root));
    }

    /// Removes what is unused or exceeds the size limit, for all servers.
    pub(crate) fn evict(&self, now: SystemTime) {
        let mut cached = Vec::new();
        let hashed = |path: &PathBuf| name_of(path).len() == 16 && name_of(path).bytes().all(|b| b.is_ascii_hexdigit());
        for server in folders(&self.dir).into_iter().filter(hashed) {
            for model in folders(&server) {
                if name_of(&model).starts_with(PART) {
                    if age(&model, now) > ABANDONED {
                        let _ = fs::remove_dir_all(&model);
                    }
                    continue;
                }
                cached.extend(folders(&model).into_iter().filter_map(|folder| CachedVersion::at(folder, now)));
            }
        }
        cached.sort_by_key(|version| version.unused);
        let mut total = 0u64;
        for version in cached {
            total = total.saturating_add(version.size);
            let too_much = total > self.size && version.unused > IN_USE;
            if version.unused > UNUSED || too_much {
                tracing::debug!(folder = %version.folder.display(), size = version.size, "cached model files evicted");
                self.discard(&version.folder);
                let _ = fs::remove_file(version.folder.with_extension("lock"));
                total = total.saturating_sub(version.size);
            }
        }
    }
}

impl CachedVersion {
    fn at(folder: PathBuf, now: SystemTime) -> Option<Self> {
        // a folder without a valid index is not part of the cache
        let index = Index::read(&folder).ok()??;
        let size = index.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        let used = folder.join(USED);
        let unused = if used.exists() { age(&used, now) } else { age(&folder.join(INDEX), now) };
        Some(Self { folder, size, unused })
    }
}

/// Time since the last modification; zero if it cannot be read or lies in the future.
fn age(path: &Path, now: SystemTime) -> Duration {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.ok().and_then(|modified| now.duration_since(modified).ok()).unwrap_or_default()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    // links are not followed, so that nothing outside is removed
    let real = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter_map(Result::ok).filter(real).map(|entry| entry.path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
