//! Removes what nobody used for a week, what is too much, and what was left half written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::entry::{self, CacheKey, INDEX, PART, USED};
use super::{Cache, entry::Index};

/// Versions unused for so long go.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Versions used within this time stay, however large the cache is: somebody is reading them.
const IN_USE: Duration = Duration::from_secs(2 * 3600);
/// A folder being written that is older was left by a process that ended.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A kept version.
#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    size: u64,
    unused: Duration,
}

impl Cache {
    /// Notes that a version is still listed, if it is kept.
    pub(in crate::registry) fn touch(&self, key: &CacheKey<'_>) {
        entry::touch(&key.folder(&self.root));
    }

    /// Makes room. Looks at the versions of all servers.
    pub(in crate::registry) fn tidy(&self, now: SystemTime) {
        let mut kept = Vec::new();
        let hashed = |path: &PathBuf| name_of(path).len() == 16 && name_of(path).bytes().all(|b| b.is_ascii_hexdigit());
        for server in folders(&self.dir).into_iter().filter(hashed) {
            for model in folders(&server) {
                if name_of(&model).starts_with(PART) {
                    if age(&model, now) > ABANDONED {
                        let _ = fs::remove_dir_all(&model);
                    }
                    continue;
                }
                kept.extend(folders(&model).into_iter().filter_map(|folder| Kept::at(folder, now)));
            }
        }
        kept.sort_by_key(|version| version.unused);
        let mut total = 0u64;
        for version in kept {
            total = total.saturating_add(version.size);
            let too_much = total > self.size && version.unused > IN_USE;
            if version.unused > UNUSED || too_much {
                tracing::debug!(folder = %version.folder.display(), size = version.size, "kept model files removed");
                self.discard(&version.folder);
                let _ = fs::remove_file(version.folder.with_extension("lock"));
                total = total.saturating_sub(version.size);
            }
        }
    }
}

impl Kept {
    fn at(folder: PathBuf, now: SystemTime) -> Option<Self> {
        // what has no index of ours is not ours
        let index = Index::read(&folder).ok()??;
        let size = index.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        let used = folder.join(USED);
        let unused = if used.exists() { age(&used, now) } else { age(&folder.join(INDEX), now) };
        Some(Self { folder, size, unused })
    }
}

/// Zero for what cannot be read or is of the future.
fn age(path: &Path, now: SystemTime) -> Duration {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.ok().and_then(|modified| now.duration_since(modified).ok()).unwrap_or_default()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    // links are not followed: nothing outside is removed
    let real = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter_map(Result::ok).filter(real).map(|entry| entry.path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
