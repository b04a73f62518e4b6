//! From the files of a version, or a model file alone, to a compiled model.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use forebay_artefact::{LoadBudget, MlModel, Store, VersionFiles};

use crate::example::{self, Example};
use crate::expectation::{self, Expectation, Tolerance};
use crate::mlmodel::Inputs;
use crate::mlmodel::unnamed_features;
use crate::plan::Plan;
use crate::{Column, ColumnKind, Fault, LoadedVersion, Model, Output, Signature, formats};

/// Compiles the files of a version.
///
/// # Errors
/// A [`Fault`] naming file and place.
pub fn open(files: &VersionFiles) -> Result<LoadedVersion, Fault> {
    let (mlmodel, file) = files.describe()?;
    let plan = formats::read_model(&file, files.get(&file)?, mlmodel.class.as_deref(), files.budget());
    let plan = plan.map_err(|f| f.within(&file))?;
    let preprocessing = files.preprocessing()?.map(Arc::new);
    if let Some(p) = &preprocessing
        && p.output_width() != plan.signature().width()
    {
        let (given, taken) = (p.output_width(), plan.signature().width());
        return Err(Fault::new("preprocessing", format!("gives {given} values, the model takes {taken}")));
    }
    if let Some(p) = &preprocessing
        && p.gives_sparse()
        && plan.tells_absent()
        && !p.absent_is_missing()
    {
        let reason = "gives sparse rows, whose absent values XGBoost takes for missing ones; log the model with MLflow's \
                      flavor of XGBoost, or both as one pipeline";
        return Err(Fault::new("preprocessing", reason));
    }
    let mut plan = plan;
    if preprocessing.is_none() {
        let in_signature = |reason: String| Fault::new("MLmodel: signature", reason);
        match_names(&mlmodel, &mut plan).map_err(in_signature)?;
    }
    let raw_width = preprocessing.as_ref().map_or(plan.signature().width(), |p| p.width());
    let signature = raw_signature(&mlmodel.inputs, &plan, raw_width)?;
    let missing = if preprocessing.is_none() { plan.missing_columns() } else { Vec::new() };
    let columns = raw_columns(&mlmodel.inputs, &plan, &signature, &missing);
    let example = read_example(files, mlmodel.input_example.as_deref(), &columns)?;
    let expectation = read_expectation(files, &example, Tolerance::of(&file, &plan), &columns)?.map(Arc::new);
    let (input_example, unread_example) = match example {
        Some(Example::Rows { rows, .. }) => (Some(rows), None),
        Some(Example::Unread(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    let accepts_missing = plan.accepts_missing();
    let accepts_missing = preprocessing.as_ref().map_or(accepts_missing, |p| p.admits_missing(accepts_missing));
    if preprocessing.is_none() {
        plan.rename_features(signature.features.clone());
        plan = plan.with_singles(singles(&mlmodel.singles, signature.width()));
    }
    Ok(LoadedVersion {
        name: files.name.clone(),
        version: files.version,
        digest: files.digest(),
        model: Arc::new(plan),
        preprocessing,
        input_example,
        unread_example,
        expectation,
        accepts_missing,
        columns,
        output: mlmodel.output,
        params: mlmodel.params,
        output_names: mlmodel.output_names.into(),
        signature,
    })
}

/// Loads a model folder that no registry lists, under the folder's own name as version 0.
///
/// # Errors
/// A [`Fault`] naming file and place.
pub fn load_folder(path: &Path) -> Result<LoadedVersion, Fault> {
    let name = path.file_name().map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned());
    open(&VersionFiles::read(&Store::Folder(path.to_owned()), "", &name, 0, LoadBudget::default())?)
}

/// Loads a single model file (`model.skops`, `model.pkl`, `model.onnx`, `model.bpk`), under the file's name as
/// version 0, with the names the file has for its features.
///
/// # Errors
/// A [`Fault`] naming file and place.
pub fn load_file(path: &Path) -> Result<LoadedVersion, Fault> {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::new(name.clone(), "no such file"),
        _ => Fault::new(name.clone(), error.to_string()),
    };
    let real = path.canonicalize().map_err(unreadable)?;
    let (folder, file) = (real.parent().unwrap_or(Path::new("")), real.file_name().unwrap_or_default());
    let store = Store::Folder(folder.to_owned());
    let budget = LoadBudget::default();
    let bytes = store.read(&file.to_string_lossy(), budget.left())?;
    let bytes = bytes.ok_or_else(|| Fault::new(name.clone(), "no such file"))?;
    budget.take(bytes.len() as u64).map_err(|error| Fault::new(name.clone(), error.to_string()))?;
    load_shared(&name, &forebay_artefact::shared(bytes), &budget)
}

/// As [`load_file`], for the content of a file called `name`; the name's extension may choose the reader.
///
/// # Errors
/// A [`Fault`] naming file and place.
pub fn load_bytes(name: &str, bytes: &[u8]) -> Result<LoadedVersion, Fault> {
    load_within(name, bytes, &LoadBudget::default())
}

/// As [`load_bytes`], where what a compressed file inflates to is taken from `budget`.
///
/// # Errors
/// As [`load_bytes`].
pub fn load_within(name: &str, bytes: &[u8], budget: &LoadBudget) -> Result<LoadedVersion, Fault> {
    load_shared(name, &Bytes::copy_from_slice(bytes), budget)
}

fn load_shared(name: &str, bytes: &Bytes, budget: &LoadBudget) -> Result<LoadedVersion, Fault> {
    let plan = formats::read_model(name, bytes, None, budget).map_err(|f| f.within(name))?;
    let signature = plan.signature().clone();
    Ok(LoadedVersion {
        name: name.to_owned(),
        version: 0,
        digest: *blake3::hash(bytes).as_bytes(),
        accepts_missing: plan.accepts_missing(),
        columns: raw_columns(&Inputs::Unknown, &plan, &signature, &plan.missing_columns()),
        model: Arc::new(plan),
        preprocessing: None,
        input_example: None,
        unread_example: None,
        expectation: None,
        output: Output::Predict,
        params: Vec::new(),
        output_names: [].into(),
        signature,
    })
}

/// Reads the input example, if the description names one.
fn read_example(files: &VersionFiles, file: Option<&str>, columns: &[Column]) -> Result<Option<Example>, Fault> {
    let Some(file) = file else { return Ok(None) };
    let example = example::parse(files.get(file)?, columns).map_err(|fault| fault.within(file))?;
    Ok(Some(match example {
        Example::Unread(reason) => Example::Unread(format!("{file} {reason}")),
        rows => rows,
    }))
}

/// Reads the predictions of the model's origin for the example, if the folder has them. Without the rows of an example
/// that is there, only what has rows of its own is used.
fn read_expectation(
    files: &VersionFiles,
    example: &Option<Example>,
    tolerance: Tolerance,
    columns: &[Column],
) -> Result<Option<Expectation>, Fault> {
    let Some(bytes) = files.find(expectation::FILE) else { return Ok(None) };
    let parsed = match example {
        Some(Example::Unread(_)) => return Ok(Expectation::parse(bytes, None, 0, tolerance, columns).ok()),
        Some(Example::Rows { rows, whole }) => {
            let kept = if *whole { example::MAX_ROWS } else { rows.len() };
            Expectation::parse(bytes, Some(rows.len()), kept, tolerance, columns)
        }
        None => Expectation::parse(bytes, None, example::MAX_ROWS, tolerance, columns),
    };
    parsed.map(Some).map_err(|fault| fault.within(expectation::FILE))
}

/// Finds the model's own columns among those of the signature, as MLflow and the model's library do: MLflow hands over
/// the signature's columns in their order, and then scikit-learn's ColumnTransformer takes those that it knows by their
/// names, and so does CatBoost. Other estimators and XGBoost refuse columns of other names or in another order than they
/// were fitted on, and LightGBM does not look at names.
fn match_names(mlmodel: &MlModel, plan: &mut Plan) -> Result<(), String> {
    let (Some(given), own) = (mlmodel.inputs.names(), &plan.signature().features) else { return Ok(()) };
    let unnamed = *own == unnamed_features(own.len());
    if given == *own || unnamed || plan.ignores_names() {
        return Ok(());
    }
    if plan.selects_by_name() || mlmodel.flavor == "catboost" {
        return plan.take_columns(given).map_err(|name| format!("lacks the column {name:?}, which the model reads"));
    }
    let known: HashSet<&String> = own.iter().collect();
    let unknown = given.iter().find(|name| !known.contains(name));
    if matches!(mlmodel.flavor.as_str(), "onnx" | "burn") {
        let same = unknown.is_none() && given.len() == own.len();
        return if same {
            plan.take_columns(given).map_err(|name| format!("lacks the column {name:?}"))
        } else {
            Ok(())
        };
    }
    Err(match (unknown, given.iter().zip(own).find(|(given, own)| given != own)) {
        (Some(name), _) => format!("has the column {name:?}, which the model was not fitted on"),
        (None, Some((given, own))) => {
            format!("has the column {given:?} where the model was fitted on {own:?}: its library refuses another order")
        }
        (None, None) => format!("names {} inputs, the model was fitted on {}", given.len(), own.len()),
    })
}

/// One flag a column, or none: a tensor has one for all. Flags of another number of columns say nothing.
fn singles(of_signature: &[bool], width: usize) -> Vec<bool> {
    match of_signature {
        [single] => vec![*single; width],
        flags if flags.len() == width => flags.to_vec(),
        _ => Vec::new(),
    }
}

/// Names come from MLmodel, else from the artefact, else they are generated; widths must agree.
fn raw_signature(inputs: &Inputs, plan: &Plan, width: usize) -> Result<Signature, Fault> {
    let own = plan.signature();
    let features = match inputs {
        Inputs::Columns(columns) if columns.len() == width => inputs.names().unwrap_or_default(),
        Inputs::Columns(columns) => {
            let reason = format!("names {} inputs, the artefact takes {width}", columns.len());
            return Err(Fault::new("MLmodel: signature", reason));
        }
        Inputs::Tensor { width: w, .. } if *w != width => {
            return Err(Fault::new("MLmodel: signature", format!("is {w} wide, the artefact takes {width}")));
        }
        Inputs::Tensor { .. } | Inputs::Unknown if own.width() == width => own.features.clone(),
        Inputs::Tensor { .. } | Inputs::Unknown => unnamed_features(width),
    };
    Ok(Signature { features, task: own.task, labels: own.labels.clone() })
}

/// The columns of a raw row: their kinds come from MLmodel, else from the model, else they are numbers. Which of them may
/// be missing is what the model says; `missing` says it of columns that are no other's input, and is empty else.
fn raw_columns(inputs: &Inputs, plan: &Plan, signature: &Signature, missing: &[bool]) -> Vec<Column> {
    let own = if plan.columns().len() == signature.width() { plan.columns() } else { &[] };
    let reads = Some(plan.reads()).filter(|reads| reads.len() == signature.width());
    let kinds = inputs.kinds().filter(|kinds| kinds.len() == signature.width());
    let mixed = missing.len() == signature.width() && missing.contains(&true) && missing.contains(&false);
    let column = |(index, name): (usize, &String)| {
        let own = own.get(index);
        let kind = kinds.as_ref().map(|kinds| kinds[index]).or_else(|| own.map(|own| own.kind));
        let kind = kind.unwrap_or(ColumnKind::Float);
        let unread = reads.as_ref().is_some_and(|reads| !reads[index]);
        // text that a model takes for a number is an error, whether or not that number may be missing
        let given = mixed && missing[index] && (kind != ColumnKind::Text || own.is_some());
        Column { name: name.clone(), kind, optional: unread || given || own.is_some_and(|own| own.optional) }
    };
    signature.features.iter().enumerate().map(column).collect()
}
