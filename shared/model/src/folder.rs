//! One model folder: MLmodel, the model's file, its example and its preprocessing, read and compiled.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::expectation::{self, Expectation, Tolerance};
use crate::mlmodel::{Inputs, MlModel};
use crate::plan::Plan;
use crate::registry::Store;
use crate::signature::unnamed_features;
use crate::{Fault, LoadedVersion, Model, Preprocessing, Signature, VersionMeta, example, formats};

/// The largest model folder read, all files together.
const MAX_FOLDER: u64 = 1 << 30;

/// A folder read and compiled, not yet known by a registry's name and number.
#[derive(Debug)]
pub(crate) struct Opened {
    flavor: String,
    digest: [u8; 32],
    plan: Plan,
    preprocessing: Option<Arc<Preprocessing>>,
    signature: Signature,
    input_example: Option<Vec<Vec<f64>>>,
    expectation: Option<Arc<Expectation>>,
}

/// Loads a model folder that no registry lists, under the folder's own name as version 0.
///
/// # Errors
/// A [`Fault`] naming file and place.
pub fn load_folder(path: &Path) -> Result<LoadedVersion, Fault> {
    let name = path.file_name().map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned());
    let opened = open(&Store::Folder(path.to_owned()), "")?;
    Ok(opened.into_version(&name, 0, None).0)
}

/// Loads a model file by itself (`model.skops`, `model.pkl`, `model.onnx`, `model.bpk`), under the file's name as
/// version 0, with the names the file has for its features.
///
/// # Errors
/// A [`Fault`] naming file and place.
pub fn load_file(path: &Path) -> Result<LoadedVersion, Fault> {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let folder = Store::Folder(path.parent().unwrap_or(Path::new("")).to_owned());
    let bytes = folder.read(&name)?.ok_or_else(|| Fault::new(name.clone(), "no such file"))?;
    load_bytes(&name, &bytes)
}

/// As [`load_file`], for the content of a file called `name`; the name's extension may choose the reader.
///
/// # Errors
/// A [`Fault`] naming file and place.
pub fn load_bytes(name: &str, bytes: &[u8]) -> Result<LoadedVersion, Fault> {
    let plan = formats::read_model(name, bytes).map_err(|f| f.within(name))?;
    let signature = plan.signature().clone();
    let digest = *blake3::hash(bytes).as_bytes();
    let flavor = "unknown".to_owned();
    let opened =
        Opened { flavor, digest, plan, preprocessing: None, signature, input_example: None, expectation: None };
    Ok(opened.into_version(name, 0, None).0)
}

/// Every file of a model folder, read once, so that what is compiled and what is digested are the same bytes.
#[derive(Debug)]
struct Snapshot {
    files: BTreeMap<String, Cow<'static, [u8]>>,
}

impl Snapshot {
    fn read(store: &Store, path: &str) -> Result<Self, Fault> {
        let mut files = BTreeMap::new();
        let stamps = store.files(path)?;
        let size = stamps.iter().fold(0u64, |n, f| n.saturating_add(f.len));
        if size > MAX_FOLDER {
            return Err(Fault::new("", format!("folder is larger than {} MiB", MAX_FOLDER >> 20)));
        }
        for file in stamps {
            let full = if path.is_empty() { file.path.clone() } else { format!("{path}/{}", file.path) };
            let bytes = store.read(&full)?.ok_or_else(|| Fault::new(file.path.clone(), "vanished"))?;
            files.insert(file.path, bytes);
        }
        Ok(Self { files })
    }

    fn get(&self, file: &str) -> Result<&[u8], Fault> {
        self.files.get(file).map(|b| &**b).ok_or_else(|| Fault::new(file, "no such file"))
    }

    /// BLAKE3 over path, length and content of every file below `prefix`.
    fn digest(&self, prefix: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (path, bytes) in &self.files {
            let Some(path) = path.strip_prefix(prefix) else { continue };
            hasher.update(&(path.len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        *hasher.finalize().as_bytes()
    }
}

/// Reads and compiles the model folder at `path`.
pub(crate) fn open(store: &Store, path: &str) -> Result<Opened, Fault> {
    compile(&Snapshot::read(store, path)?)
}

/// Compiles the files of a model folder, by path, under a digest that is not theirs.
pub(crate) fn open_files(files: BTreeMap<String, Vec<u8>>, digest: [u8; 32]) -> Result<Opened, Fault> {
    let files = files.into_iter().map(|(path, bytes)| (path, Cow::Owned(bytes))).collect();
    Ok(Opened { digest, ..compile(&Snapshot { files })? })
}

fn compile(snapshot: &Snapshot) -> Result<Opened, Fault> {
    let mlmodel = MlModel::parse(snapshot.get("MLmodel")?)?;
    let file = mlmodel.file.as_deref().ok_or_else(|| Fault::new("MLmodel", "names no model file"))?;
    let plan = formats::read_model(file, snapshot.get(file)?).map_err(|f| f.within(file))?;
    let preprocessing = read_preprocessing(snapshot)?.map(Arc::new);
    if let Some(p) = &preprocessing
        && p.output_width() != plan.signature().width()
    {
        let (given, taken) = (p.output_width(), plan.signature().width());
        return Err(Fault::new("preprocessing", format!("gives {given} values, the model takes {taken}")));
    }
    let raw_width = preprocessing.as_ref().map_or(plan.signature().width(), |p| p.width());
    let signature = raw_signature(&mlmodel.inputs, &plan, raw_width)?;
    let input_example = match &mlmodel.input_example {
        Some(file) => Some(example::parse(snapshot.get(file)?, &signature).map_err(|f| f.within(file))?),
        None => None,
    };
    let expectation = read_expectation(snapshot, input_example.as_deref(), Tolerance::of(file, &plan))?.map(Arc::new);
    let (flavor, digest) = (mlmodel.flavor, snapshot.digest(""));
    Ok(Opened { flavor, digest, plan, preprocessing, signature, input_example, expectation })
}

/// What the model's origin answered to the example, when somebody wrote it down.
fn read_expectation(
    snapshot: &Snapshot,
    example: Option<&[Vec<f64>]>,
    tolerance: Tolerance,
) -> Result<Option<Expectation>, Fault> {
    let Some(bytes) = snapshot.files.get(expectation::FILE) else { return Ok(None) };
    let parsed = match example {
        Some(rows) => Expectation::parse(bytes, rows.len(), example::MAX_ROWS, tolerance),
        None => Err(Fault::new("", "MLmodel names no input example that this answers")),
    };
    parsed.map(Some).map_err(|fault| fault.within(expectation::FILE))
}

/// BLAKE3 over every file of the folder: path, length, content.
pub(crate) fn digest(store: &Store, path: &str) -> Result<[u8; 32], Fault> {
    Snapshot::read(store, path).map(|s| s.digest(""))
}

fn read_preprocessing(snapshot: &Snapshot) -> Result<Option<Preprocessing>, Fault> {
    const FOLDER: &str = "preprocessing/";
    let Ok(mlmodel) = snapshot.get("preprocessing/MLmodel") else { return Ok(None) };
    let within = |f: Fault| f.within("preprocessing");
    let mlmodel = MlModel::parse(mlmodel).map_err(within)?;
    let file = mlmodel.file.ok_or_else(|| Fault::new("preprocessing: MLmodel", "names no model file"))?;
    let bytes = snapshot.get(&format!("{FOLDER}{file}"))?;
    let steps = formats::read_steps(bytes).map_err(|f| within(f.within(&file)))?;
    Ok(Some(Preprocessing::new(&snapshot.digest(FOLDER), steps.width, steps.output_width, steps.steps)))
}

/// Names come from MLmodel, else from the artefact, else they are generated; widths must agree.
fn raw_signature(inputs: &Inputs, plan: &Plan, width: usize) -> Result<Signature, Fault> {
    let own = plan.signature();
    let features = match inputs {
        Inputs::Names(names) if names.len() == width => names.clone(),
        Inputs::Names(names) => {
            let reason = format!("names {} inputs, the artefact takes {width}", names.len());
            return Err(Fault::new("MLmodel: signature", reason));
        }
        Inputs::Width(w) if *w != width => {
            return Err(Fault::new("MLmodel: signature", format!("is {w} wide, the artefact takes {width}")));
        }
        Inputs::Width(_) | Inputs::Unknown if own.width() == width => own.features.clone(),
        Inputs::Width(_) | Inputs::Unknown => unnamed_features(width),
    };
    Ok(Signature { features, task: own.task, labels: own.labels.clone() })
}

impl Opened {
    /// Gives the folder its place in a registry.
    pub(crate) fn into_version(self, name: &str, version: u32, stage: Option<String>) -> (LoadedVersion, VersionMeta) {
        let mut ops = self.preprocessing.as_ref().map(|p| p.ops()).unwrap_or_default();
        ops.extend(self.plan.ops());
        let model_accepts = self.plan.accepts_missing();
        let accepts_missing = self.preprocessing.as_ref().map_or(model_accepts, |p| p.admits_missing(model_accepts));
        let mut plan = self.plan;
        if self.preprocessing.is_none() {
            plan.rename_features(self.signature.features.clone());
        }
        let meta = VersionMeta {
            name: name.to_owned(),
            version,
            stage,
            flavor: self.flavor,
            digest: self.digest,
            signature: self.signature.clone(),
            preprocessing: self.preprocessing.clone(),
            accepts_missing,
            ops,
            input_example: self.input_example.clone(),
        };
        let loaded = LoadedVersion {
            name: name.to_owned(),
            version,
            digest: self.digest,
            model: Arc::new(plan),
            preprocessing: self.preprocessing,
            input_example: self.input_example,
            expectation: self.expectation,
            accepts_missing,
            signature: self.signature,
        };
        (loaded, meta)
    }
}
