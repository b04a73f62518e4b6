//! One version in the cache: its files, and the index with their sizes and hashes.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use forebay_artefact::Fault;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{private_folder, write};
use crate::mlflow::ArtifactFiles;

/// The index is written last, so a folder that has one is complete.
pub(super) const INDEX: &str = "index.json";
/// A file whose modification time is the time when the version was last read or listed.
pub(super) const USED: &str = "used";
/// Prefix of the names of folders that are being written or removed.
pub(super) const PART: &str = ".part-";
/// Largest index that is read, in bytes.
const MAX_INDEX: u64 = 1 << 20;

/// Identifies one version in the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CachedVersionKey<'k> {
    pub model: &'k str,
    pub version: u32,
    pub digest: &'k [u8; 32],
}

impl CachedVersionKey<'_> {
    pub(super) fn folder(&self, root: &Path) -> PathBuf {
        let digest = forebay_artefact::hex(self.digest);
        root.join(encoded(self.model)).join(format!("{}-{}", self.version, &digest[..16]))
    }
}

/// The expected files of a version.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    pub files: Vec<IndexedFile>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IndexedFile {
    /// Path relative to the version's folder, `/`-separated.
    pub path: String,
    pub size: u64,
    /// SHA-256 of the content, in lower-case hexadecimal.
    pub sha256: String,
}

impl Index {
    /// The index of a cached version; `None` when it is not cached.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Fault> {
        let path = folder.join(INDEX);
        let fault = |reason: String| Fault::new(path.display().to_string(), reason);
        match read_bounded(&path, MAX_INDEX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| fault(e.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault(error.to_string())),
        }
    }

    /// Bytes of all files together.
    pub(super) fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// Reads every file and compares it with the index.
    pub(super) fn files(&self, folder: &Path) -> Result<ArtifactFiles, Fault> {
        let mut files = ArtifactFiles::new();
        for file in &self.files {
            let path = folder.join("files").join(inside(&file.path)?);
            let fault = |reason: String| Fault::new(path.display().to_string(), reason);
            let bytes = read_bounded(&path, file.size).map_err(|e| fault(e.to_string()))?;
            if bytes.len() as u64 != file.size || sha256(&bytes) != file.sha256 {
                return Err(fault("differs from what was cached".to_owned()));
            }
            files.insert(file.path.clone(), bytes);
        }
        Ok(files)
    }

    /// Writes the files and then the index to the new folder `part`.
    pub(super) fn write(part: &Path, files: &ArtifactFiles) -> io::Result<()> {
        let mut indexed = Vec::with_capacity(files.len());
        for (path, bytes) in files {
            let target = part.join("files").join(inside(path).map_err(|fault| io::Error::other(fault.to_string()))?);
            if let Some(folder) = target.parent() {
                private_folder(folder)?;
            }
            write(&target, bytes)?;
            indexed.push(IndexedFile { path: path.clone(), size: bytes.len() as u64, sha256: sha256(bytes) });
        }
        write(&part.join(USED), b"")?;
        let index = serde_json::to_vec(&Self { files: indexed }).map_err(io::Error::other)?;
        write(&part.join(INDEX), &index)
    }
}

/// Records that a version was used just now.
pub(super) fn touch(folder: &Path) {
    // the folder may belong to another user: its version is then evicted too early, and fetched again
    let file = fs::File::options().write(true).open(folder.join(USED));
    let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
}

/// Refuses a path that leads out of the version's folder.
fn inside(path: &str) -> Result<&Path, Fault> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    if path.split('/').all(plain) {
        return Ok(Path::new(path));
    }
    Err(Fault::new(path.chars().take(200).collect::<String>(), "is not inside the version's folder"))
}

/// Encodes a model's name as the name of a folder: letters, digits, `-` and `_` are kept, other bytes become `%XX`.
pub(super) fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    if text.is_empty() {
        text.push('%');
    }
    // file systems allow 255 bytes
    if text.len() > 200 {
        text.truncate(150);
        text.push_str(&blake3::hash(name.as_bytes()).to_hex()[..32]);
    }
    text
}

/// Reads a file of at most `limit` bytes; of a longer file it reads `limit + 1` bytes, so that the length differs.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
