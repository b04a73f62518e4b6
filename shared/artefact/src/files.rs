//! The files of one version of a model, read once, so that the digest covers the same bytes that are compiled.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::mlmodel::MlModel;
use crate::preprocessing::Preprocessing;
use crate::store::{FileStamp, Store};
use crate::{Fault, LoadBudget, python, sklearn};

/// The most bytes of the files of a version that are read for its digest.
const MAX_HASHED: u64 = 16 << 30;

/// All files of a version, by path in the version's folder.
#[derive(Debug, Clone)]
pub struct VersionFiles {
    /// Name of the registered model, or of the folder for a model that no registry lists.
    pub name: String,
    /// Number of the version; 0 for a model that no registry lists.
    pub version: u32,
    digest: [u8; 32],
    files: BTreeMap<String, Bytes>,
    budget: LoadBudget,
}

impl VersionFiles {
    /// Reads the folder at `path` of `store`. The digest is BLAKE3 over path, length and content of every file.
    ///
    /// # Errors
    /// A [`Fault`] naming the file that cannot be read, or the `budget` if the folder is larger, or if it has more than 16 GiB.
    pub fn read(store: &Store, path: &str, name: &str, version: u32, budget: LoadBudget) -> Result<Self, Fault> {
        Self::read_some(store, path, name, version, budget, |_| true)
    }

    /// As [`VersionFiles::read`], but keeps only what describes the version: `MLmodel` and the preprocessing artefact. All
    /// other files are part of the digest, and empty here.
    ///
    /// # Errors
    /// As [`VersionFiles::read`].
    pub fn read_description(
        store: &Store,
        path: &str,
        name: &str,
        version: u32,
        budget: LoadBudget,
    ) -> Result<Self, Fault> {
        Self::read_some(store, path, name, version, budget, describes)
    }

    fn read_some(
        store: &Store,
        path: &str,
        name: &str,
        version: u32,
        budget: LoadBudget,
        keep: impl Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        let mut files = BTreeMap::new();
        let stamps = store.files(path)?;
        if size(&stamps) > MAX_HASHED {
            return Err(Fault::new("", format!("the files of the version have more than {MAX_HASHED} bytes")));
        }
        let kept = size(stamps.iter().filter(|file| keep(&file.path)));
        budget.take(kept).map_err(|error| Fault::new("", error.to_string()))?;
        let mut hasher = blake3::Hasher::new();
        for file in stamps {
            hash_header(&mut hasher, &file.path, file.len);
            let bytes = if keep(&file.path) {
                let bytes = store.read_stamped(path, &file)?;
                hasher.update(&bytes);
                shared(bytes)
            } else {
                store.hash_stamped(path, &file, &mut hasher)?;
                Bytes::new()
            };
            files.insert(file.path, bytes);
        }
        Ok(Self { name: name.to_owned(), version, digest: *hasher.finalize().as_bytes(), files, budget })
    }

    /// The digest of the folder at `path` of `store`, without keeping its files in memory. Folders that are too large to be
    /// loaded anywhere, such as those with a sparse file, have one of what a listing says of them: reading them could take
    /// an hour.
    ///
    /// # Errors
    /// A [`Fault`] naming the file that cannot be read.
    pub fn digest_of(store: &Store, path: &str) -> Result<[u8; 32], Fault> {
        let mut hasher = blake3::Hasher::new();
        let stamps = store.files(path)?;
        let is_read = size(&stamps) <= MAX_HASHED;
        for file in stamps {
            hash_header(&mut hasher, &file.path, file.len);
            match is_read {
                true => store.hash_stamped(path, &file, &mut hasher)?,
                false => drop(hasher.update(&file.modified.to_le_bytes())),
            }
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Files that have been fetched within `budget`, with a digest that identifies the version and is not computed from them.
    pub fn fetched(
        name: &str,
        version: u32,
        digest: [u8; 32],
        files: BTreeMap<String, Vec<u8>>,
        budget: LoadBudget,
    ) -> Self {
        let files = files.into_iter().map(|(path, bytes)| (path, bytes.into())).collect();
        Self { name: name.to_owned(), version, digest, files, budget }
    }

    /// What is left of the budget that the files were read with: for readers that inflate them.
    pub fn budget(&self) -> &LoadBudget {
        &self.budget
    }

    /// Identifies the content of the version.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The content of a file; `None` when the version has no such file.
    pub fn find(&self, file: &str) -> Option<&Bytes> {
        self.files.get(file)
    }

    /// The content of a file.
    ///
    /// # Errors
    /// A [`Fault`] when there is no such file.
    pub fn get(&self, file: &str) -> Result<&Bytes, Fault> {
        self.find(file).ok_or_else(|| Fault::new(file, "no such file"))
    }

    /// The description of the version, and the path of its model file.
    ///
    /// # Errors
    /// A [`Fault`] when there is none, or when it names no model file.
    pub fn describe(&self) -> Result<(MlModel, String), Fault> {
        let mlmodel = MlModel::parse(self.get("MLmodel")?)?;
        if let Some(refused) = mlmodel.refused {
            return Err(refused);
        }
        let file = mlmodel.file.clone().ok_or_else(|| Fault::new("MLmodel", "names no model file"))?;
        Ok((mlmodel, file))
    }

    /// The separate preprocessing artefact in the folder `preprocessing`, if the version has one.
    ///
    /// # Errors
    /// A [`Fault`] naming what cannot be read in it.
    pub fn preprocessing(&self) -> Result<Option<Preprocessing>, Fault> {
        const FOLDER: &str = "preprocessing/";
        let Some(mlmodel) = self.find("preprocessing/MLmodel") else { return Ok(None) };
        let within = |f: Fault| f.within("preprocessing");
        let mlmodel = MlModel::parse(mlmodel).map_err(within)?;
        let file = mlmodel.file.ok_or_else(|| Fault::new("preprocessing: MLmodel", "names no model file"))?;
        let bytes = self.get(&format!("{FOLDER}{file}"))?;
        let steps = python::read(bytes, &self.budget).and_then(|graph| sklearn::read_steps(&graph.view()));
        let steps = steps.map_err(|f| within(f.within(&file)))?;
        let read = Preprocessing::new(&digest(&self.files, FOLDER), steps);
        // the flavor is all that replicas without the model know of it
        let model = self.find("MLmodel").map(|bytes| MlModel::parse(bytes)).transpose()?;
        if model.is_some_and(|model| model.flavor == "xgboost") {
            return read.before_xgboost().map(Some).map_err(|reason| Fault::new("preprocessing", reason));
        }
        Ok(Some(read))
    }
}

/// BLAKE3 over path, length and content of every file below `prefix`.
fn digest(files: &BTreeMap<String, Bytes>, prefix: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (path, bytes) in files {
        let Some(path) = path.strip_prefix(prefix) else { continue };
        hash_header(&mut hasher, path, bytes.len() as u64);
        hasher.update(bytes);
    }
    *hasher.finalize().as_bytes()
}

/// The content of a file, which readers share parts of instead of copying them.
pub fn shared(bytes: Cow<'static, [u8]>) -> Bytes {
    match bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

/// Bytes of all of these files.
fn size<'a>(files: impl IntoIterator<Item = &'a FileStamp>) -> u64 {
    files.into_iter().fold(0, |sum, file| sum.saturating_add(file.len))
}

fn hash_header(hasher: &mut blake3::Hasher, path: &str, len: u64) {
    hasher.update(&(path.len() as u64).to_le_bytes());
    hasher.update(path.as_bytes());
    hasher.update(&len.to_le_bytes());
}

/// Whether a file describes the version, or belongs to its preprocessing artefact.
fn describes(path: &str) -> bool {
    path == "MLmodel" || path.starts_with("preprocessing/")
}
