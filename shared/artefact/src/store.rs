//! The store of a registry's files: embedded in the binary, or a folder. The size of reads is limited.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use std::sync::Arc;

use crate::Fault;
use crate::model_paths::ModelPath;

/// Largest file that is read into memory, in bytes. A 1000-tree forest of unlimited depth stays below 100 MiB.
const MAX_FILE: u64 = 512 << 20;
/// How deep files may lie below a folder.
pub(crate) const MAX_DEPTH: usize = 4;
/// Largest number of entries in one folder; a model registry has fewer.
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
            Self::Folder(root) => entries(&root.join(path), path)?
                .into_iter()
                .filter(|e| e.path().is_dir())
                .filter_map(|e| e.file_name().into_string().ok())
                .collect(),
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
            Self::Folder(root) => walk(&root.join(path), "", MAX_DEPTH, &mut stamps)?,
            Self::Paths(models) => {
                for model in models.iter() {
                    stamps.extend(model.files_below(path)?.into_iter().flatten());
                }
            }
        }
        stamps.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(stamps)
    }

    /// The file at `path`, or `None` when there is none.
    pub fn read(&self, path: &str) -> Result<Option<Cow<'static, [u8]>>, Fault> {
        match self {
            Self::Embedded(files) => Ok(files.iter().find(|(p, _)| *p == path).map(|(_, b)| Cow::Borrowed(*b))),
            Self::Folder(root) => Ok(read_file(&root.join(path), path)?.map(Cow::Owned)),
            Self::Paths(models) => {
                let read = models.iter().map(|model| model.read(path));
                read.filter_map(Result::transpose).next().transpose()
            }
        }
    }

    /// When an entry was last added to or removed from the folder at `path`, in milliseconds since the epoch.
    pub fn folder_modified(&self, path: &str) -> u64 {
        match self {
            Self::Embedded(_) | Self::Paths(_) => 0,
            Self::Folder(root) => fs::metadata(root.join(path)).as_ref().map_or(0, modified),
        }
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

pub(crate) fn walk(folder: &Path, prefix: &str, depth: usize, out: &mut Vec<FileStamp>) -> Result<(), Fault> {
    for entry in entries(folder, prefix)? {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let meta = fs::metadata(entry.path()).map_err(|e| Fault::new(path.clone(), e.to_string()))?;
        if meta.is_dir() {
            if depth > 0 {
                walk(&entry.path(), &path, depth - 1, out)?;
            }
        } else if meta.is_file() {
            // reading a pipe or a device would block
            out.push(FileStamp { path, len: meta.len(), modified: modified(&meta) });
        }
    }
    Ok(())
}

/// Reads a file of at most [`MAX_FILE`] bytes; the limit holds even if the file grows while it is read.
pub(crate) fn read_file(path: &Path, shown: &str) -> Result<Option<Vec<u8>>, Fault> {
    let fault = |e: std::io::Error| Fault::new(shown, e.to_string());
    let file = match fs::metadata(path).map(|m| m.is_file()) {
        Ok(true) => fs::File::open(path).map_err(fault)?,
        Ok(false) => return Err(Fault::new(shown, "is not a regular file")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fault(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Fault::new(shown, format!("larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(Some(bytes))
}
