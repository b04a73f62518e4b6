//! The store of a registry's files: embedded in the binary, or a folder. The size of reads is limited, and no link is
//! followed out of the folder.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use std::sync::Arc;

use crate::Fault;
use crate::model_paths::ModelPath;

/// How deep files may lie below a folder.
const MAX_DEPTH: usize = 4;
/// Largest number of entries in one folder, and in all folders of one listing; a model registry has fewer.
const MAX_ENTRIES: usize = 10_000;

/// One file in a listing, with enough metadata to notice a change without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    /// Path relative to the listed folder, `/`-separated.
    pub path: String,
    pub len: u64,
    /// Milliseconds since the epoch; 0 for embedded files.
    pub modified: u64,
}

/// The content of a file.
pub(crate) enum Opened {
    Embedded(&'static [u8]),
    Owned(Vec<u8>),
    File(fs::File),
}

/// Read-only access to a tree of files by `/`-separated path.
#[derive(Debug, Clone)]
pub enum Store {
    Embedded(&'static [(&'static str, &'static [u8])]),
    Folder(PathBuf),
    /// Models that lie anywhere; each is the version 1 of its name.
    Paths(Arc<[ModelPath]>),
}

impl Store {
    /// Names of the folders directly below `path` ("" is the root), sorted.
    pub fn folders(&self, path: &str) -> Result<Vec<String>, Fault> {
        let mut names: Vec<String> = match self {
            Self::Embedded(files) => files
                .iter()
                .filter_map(|(p, _)| below(p, path)?.split_once('/').map(|(folder, _)| folder.to_owned()))
                .collect(),
            Self::Folder(root) => {
                let real = root.canonicalize().map_err(|e| Fault::new(path, e.to_string()))?;
                entries(&root.join(path), path)?
                    .into_iter()
                    .filter(|e| inside(&real, &e.path()).is_some_and(|e| e.is_dir()))
                    .filter_map(|e| e.file_name().into_string().ok())
                    .collect()
            }
            Self::Paths(models) => models.iter().filter_map(|model| model.folders_below(path)).collect(),
        };
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Every file below `path`, at any depth up to 4, sorted by path.
    pub fn files(&self, path: &str) -> Result<Vec<FileStamp>, Fault> {
        let mut stamps = Vec::new();
        match self {
            Self::Embedded(files) => stamps.extend(files.iter().filter_map(|(p, bytes)| {
                Some(FileStamp { path: below(p, path)?.to_owned(), len: bytes.len() as u64, modified: 0 })
            })),
            Self::Folder(root) => stamps = walk(root, path)?,
            Self::Paths(models) => {
                for model in models.iter() {
                    stamps.extend(model.files_below(path)?.into_iter().flatten());
                }
            }
        }
        stamps.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(stamps)
    }

    /// The file at `path`, of at most `most` bytes, or `None` when there is none.
    ///
    /// # Errors
    /// A [`Fault`] for a file that is larger, is no regular file, or lies outside of the store.
    pub fn read(&self, path: &str, most: u64) -> Result<Option<Cow<'static, [u8]>>, Fault> {
        let Some(mut file) = self.open(path)? else { return Ok(None) };
        let bytes = match &mut file {
            Opened::Embedded(bytes) => Cow::Borrowed(*bytes),
            Opened::Owned(bytes) => Cow::Owned(std::mem::take(bytes)),
            Opened::File(file) => {
                let most = most.saturating_add(1);
                // as long as the file is: a buffer that grows as it is read would take up to three times as much
                let length = file.metadata().map_or(0, |meta| meta.len().min(most));
                let mut bytes = Vec::new();
                let reserved = bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX));
                reserved.map_err(|e| Fault::new(path, e.to_string()))?;
                file.take(most).read_to_end(&mut bytes).map_err(|e| Fault::new(path, e.to_string()))?;
                Cow::Owned(bytes)
            }
        };
        if bytes.len() as u64 > most {
            return Err(Fault::new(path, format!("larger than {most} bytes")));
        }
        Ok(Some(bytes))
    }

    /// A file of the listing of `folder`, as long as it was listed.
    pub(crate) fn read_stamped(&self, folder: &str, file: &FileStamp) -> Result<Cow<'static, [u8]>, Fault> {
        let bytes = self.read(&joined(folder, &file.path), file.len)?;
        match bytes {
            Some(bytes) if bytes.len() as u64 == file.len => Ok(bytes),
            _ => Err(changed(file)),
        }
    }

    /// Adds the content of a file of the listing of `folder` to `hasher`, without keeping it in memory.
    pub(crate) fn hash_stamped(
        &self,
        folder: &str,
        file: &FileStamp,
        hasher: &mut blake3::Hasher,
    ) -> Result<(), Fault> {
        let mut left = file.len;
        match self.open(&joined(folder, &file.path))? {
            None => return Err(changed(file)),
            Some(Opened::Embedded(bytes)) => left = hashed(bytes, left, hasher),
            Some(Opened::Owned(bytes)) => left = hashed(&bytes, left, hasher),
            Some(Opened::File(mut content)) => {
                let mut block = vec![0; 64 << 10];
                loop {
                    let n = content.read(&mut block).map_err(|e| Fault::new(file.path.clone(), e.to_string()))?;
                    if n == 0 {
                        break;
                    }
                    left = left.checked_sub(n as u64).ok_or_else(|| changed(file))?;
                    hasher.update(&block[..n]);
                }
            }
        }
        if left == 0 { Ok(()) } else { Err(changed(file)) }
    }

    fn open(&self, path: &str) -> Result<Option<Opened>, Fault> {
        match self {
            Self::Embedded(files) => Ok(files.iter().find(|(p, _)| *p == path).map(|(_, b)| Opened::Embedded(b))),
            Self::Folder(root) => Ok(open_file(root, path)?.map(Opened::File)),
            Self::Paths(models) => {
                let opened = models.iter().map(|model| model.open(path));
                opened.filter_map(Result::transpose).next().transpose()
            }
        }
    }

    /// When the file at `path` was last written, in milliseconds since the epoch; 0 when there is none.
    pub fn modified(&self, path: &str) -> u64 {
        match self {
            Self::Embedded(_) | Self::Paths(_) => 0,
            Self::Folder(root) => fs::metadata(root.join(path)).as_ref().map_or(0, modified),
        }
    }

    /// When an entry was last added to or removed from the folder at `path`, in milliseconds since the epoch.
    pub fn folder_modified(&self, path: &str) -> u64 {
        self.modified(path)
    }
}

/// `path` without the leading `folder/`.
fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    if folder.is_empty() {
        return Some(path);
    }
    path.strip_prefix(folder)?.strip_prefix('/')
}

fn modified(meta: &fs::Metadata) -> u64 {
    let since = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    since.and_then(|d| u64::try_from(d.as_millis()).ok()).unwrap_or(0)
}

fn entries(folder: &Path, shown: &str) -> Result<Vec<fs::DirEntry>, Fault> {
    let fault = |e: std::io::Error| Fault::new(shown, e.to_string());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault)? {
        if found.len() == MAX_ENTRIES {
            return Err(Fault::new(shown, format!("more than {MAX_ENTRIES} entries in one folder")));
        }
        found.push(entry.map_err(fault)?);
    }
    Ok(found)
}

/// A file's metadata, under the path `shown`.
pub(crate) fn file_stamp(path: &Path, shown: String) -> Result<FileStamp, Fault> {
    let meta = fs::metadata(path).map_err(|e| Fault::new(shown.clone(), e.to_string()))?;
    Ok(FileStamp { path: shown, len: meta.len(), modified: modified(&meta) })
}

/// Every file below the folder `path` of `root`.
pub(crate) fn walk(root: &Path, path: &str) -> Result<Vec<FileStamp>, Fault> {
    let root = root.canonicalize().map_err(|e| Fault::new(path, e.to_string()))?;
    let folder = inside(&root, &root.join(path)).ok_or_else(|| Fault::new(path, "is not in the store"))?;
    let mut walk = Walk { root, found: Vec::new(), left: MAX_ENTRIES };
    walk.folder(&folder, "", MAX_DEPTH)?;
    Ok(walk.found)
}

/// Lists the files below `folder`. Links are followed inside of the store only, which ends where its root does.
struct Walk {
    /// The root without links.
    root: PathBuf,
    found: Vec<FileStamp>,
    /// Entries that may still be looked at: links can lead in circles.
    left: usize,
}

impl Walk {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), Fault> {
        for entry in entries(folder, prefix)? {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = joined(prefix, &name);
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                Fault::new(prefix, format!("more than {MAX_ENTRIES} entries in all folders of one version"))
            })?;
            let Some(inside) = inside(&self.root, &entry.path()) else { continue };
            let meta = fs::metadata(&inside).map_err(|e| Fault::new(path.clone(), e.to_string()))?;
            if meta.is_dir() {
                if depth > 0 {
                    self.folder(&inside, &path, depth - 1)?;
                }
            } else if meta.is_file() {
                // reading a pipe or a device would block
                self.found.push(FileStamp { path, len: meta.len(), modified: modified(&meta) });
            }
        }
        Ok(())
    }
}

/// `path` without links; `None` when it is outside of `root`, or leads nowhere.
fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|real| real.starts_with(root))
}

/// Adds `bytes` to `hasher`; what is left of `left` bytes then.
fn hashed(bytes: &[u8], left: u64, hasher: &mut blake3::Hasher) -> u64 {
    hasher.update(bytes);
    left.saturating_sub(bytes.len() as u64)
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn changed(file: &FileStamp) -> Fault {
    Fault::new(file.path.clone(), "changed while it was read")
}

/// Opens a regular file below `root`; `None` when there is none.
pub(crate) fn open_file(root: &Path, shown: &str) -> Result<Option<fs::File>, Fault> {
    let fault = |e: std::io::Error| Fault::new(shown, e.to_string());
    let path = root.join(shown);
    match fs::symlink_metadata(&path) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fault(e)),
    }
    let root = root.canonicalize().map_err(fault)?;
    let path = inside(&root, &path).ok_or_else(|| Fault::new(shown, "is a link that leads out of the folder"))?;
    open_regular(&path, shown).map(Some)
}

/// Opens a regular file; reading anything else would block.
pub(crate) fn open_regular(path: &Path, shown: &str) -> Result<fs::File, Fault> {
    let fault = |e: std::io::Error| Fault::new(shown, e.to_string());
    if !fs::metadata(path).map_err(fault)?.is_file() {
        return Err(Fault::new(shown, "is not a regular file"));
    }
    fs::File::open(path).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_as_much_memory_as_it_is_long() {
        let folder = std::env::temp_dir().join(format!("forebay-store-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("model"), vec![7; 3 << 20]).unwrap();
        let read = Store::Folder(folder.clone()).read("model", 1 << 30);
        let small = Store::Folder(folder.clone()).read("model", 1 << 20);
        fs::remove_dir_all(&folder).unwrap();
        let Ok(Some(Cow::Owned(bytes))) = read else { panic!("{read:?}") };
        assert_eq!((bytes.len(), bytes.capacity()), (3 << 20, 3 << 20));
        assert!(small.unwrap_err().to_string().contains("larger than 1048576 bytes"));
    }
}
