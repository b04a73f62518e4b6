//! The files of a model folder, as the registry and `forebay score` read them.

use std::path::{Path, PathBuf};

use forebay_model::{LoadedVersion, Rows, load_folder};
use serde_json::{Value, json};

use crate::dataset::Dataset;
use crate::evaluation::Evaluation;
use crate::loss_log::EpochLoss;
use crate::network::Fitted;
use crate::scores::{FoldScores, mean_and_deviation};
use crate::target_values::TargetValues;

/// Rows of the input example.
const EXAMPLE_ROWS: usize = 5;
/// Rows on which the finished file is compared with the fit.
const CHECKED_ROWS: usize = 1000;
/// Largest difference between the file's f32 and the fit's f64, in units of the target's deviation or of probability.
const CLOSE: f64 = 1e-3;

/// A model and what is known about it.
#[derive(Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) fitted: &'a Fitted,
    pub(crate) table: &'a Dataset,
    pub(crate) target: &'a TargetValues,
    pub(crate) evaluation: &'a Evaluation,
    /// Losses of the fit on all rows.
    pub(crate) losses: &'a [EpochLoss],
    /// Parameters of the training, `training.json`.
    pub(crate) training: &'a Value,
}

/// Files by name, in the order they are written.
pub(crate) type Files = Vec<(&'static str, Vec<u8>)>;

/// The files of a folder; what a client would get from them was compared with the fit.
///
/// # Errors
/// A text when the folder cannot be written to `scratch`, loaded, or answers otherwise than the fit.
pub(crate) fn files(finished: &Finished<'_>, scratch: &Path) -> Result<Files, String> {
    let Finished { fitted, table, target, .. } = finished;
    let net = fitted.net_file(&table.features, target.labels());
    let mut files: Files = vec![
        ("MLmodel", mlmodel(finished).into_bytes()),
        ("model.bpk", net.to_bytes().map_err(|e| e.to_string())?),
        ("metrics.json", pretty(&metrics(finished))),
        ("training.json", pretty(finished.training)),
    ];
    let rows: Vec<usize> = (0..table.rows().min(CHECKED_ROWS)).collect();
    files.push(("input_example.json", example(table, &rows[..rows.len().min(EXAMPLE_ROWS)])));
    let served = serve(&files, scratch)?;
    let chosen = compare(&served, finished, &rows)?;
    files.pop();
    files.push(("input_example.json", example(table, &chosen)));
    files.push(("example_output.json", example_output(&served, finished, &chosen)?));
    serve(&files, scratch)?;
    Ok(files)
}

/// Writes `files` into `folder`, which exists.
///
/// # Errors
/// A text naming the file.
pub(crate) fn write(files: &Files, folder: &Path) -> Result<(), String> {
    files.iter().try_for_each(|(name, bytes)| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))
    })
}

fn serve(files: &Files, scratch: &Path) -> Result<LoadedVersion, String> {
    write(files, scratch)?;
    load_folder(scratch).map_err(|e| format!("the finished model does not load: {e}"))
}

fn predict(served: &LoadedVersion, row: &[f64]) -> Result<forebay_model::RowScore, String> {
    let rows = Rows::new(row.len(), row).map_err(|e| e.to_string())?;
    Ok(served.predict_raw(rows).map_err(|e| e.to_string())?.score(0))
}

/// Compares fit and file; gives the rows of the example: the first ones on which f32 and f64 agree so well that the
/// prediction is the same within the parity tolerance on any processor.
fn compare(served: &LoadedVersion, finished: &Finished<'_>, rows: &[usize]) -> Result<Vec<usize>, String> {
    let unit = finished.fitted.scaling.target.map_or(1.0, |t| t.scale.abs());
    let mut chosen = Vec::new();
    for &row in rows {
        let raw = finished.table.row(row);
        let want = finished.fitted.predict(raw);
        let score = predict(served, raw)?;
        let got = if score.probabilities.is_empty() { vec![score.value] } else { score.probabilities };
        let off = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
        if got.len() != want.len() || off.is_nan() || off > CLOSE * unit {
            return Err(format!("the finished model answers {got:?} to row {}, the fit {want:?}", row + 1));
        }
        let steady = got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 2e-6 * w.abs() + 2e-6);
        if steady && chosen.len() < EXAMPLE_ROWS {
            chosen.push(row);
        }
    }
    Ok(if chosen.is_empty() { vec![0] } else { chosen })
}

fn example(table: &Dataset, rows: &[usize]) -> Vec<u8> {
    // a missing value is NaN, which JSON writes as null
    let data: Vec<&[f64]> = rows.iter().map(|r| table.row(*r)).collect();
    line(&json!({"columns": table.features, "data": data}))
}

fn example_output(served: &LoadedVersion, finished: &Finished<'_>, rows: &[usize]) -> Result<Vec<u8>, String> {
    let scores: Vec<_> =
        rows.iter().map(|r| predict(served, finished.table.row(*r))).collect::<Result<Vec<_>, String>>()?;
    Ok(line(&if finished.target.labels().is_empty() {
        json!(scores.iter().map(|s| s.value).collect::<Vec<_>>())
    } else {
        json!({
            "predictions": scores.iter().map(|s| s.label.clone()).collect::<Vec<_>>(),
            "probabilities": scores.iter().map(|s| s.probabilities.clone()).collect::<Vec<_>>(),
        })
    }))
}

fn mlmodel(finished: &Finished<'_>) -> String {
    let required = finished.fitted.scaling.prepare.fill.is_none();
    let column = |name: &String| json!({"type": "double", "name": name, "required": required});
    let inputs: Vec<Value> = finished.table.features.iter().map(column).collect();
    let dtype = if finished.target.labels().is_empty() { "float64" } else { "str" };
    let outputs = json!([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1]}}]);
    // a JSON string is a YAML string
    let quoted = |v: &Value| Value::String(v.to_string()).to_string();
    format!(
        "flavors:\n  burn:\n    burn_version: {BURN_VERSION}\n    data: model.bpk\nsaved_input_example_info:\n  \
         artifact_path: input_example.json\n  pandas_orient: split\n  type: dataframe\nsignature:\n  inputs: {}\n  \
         outputs: {}\n  params: null\n",
        quoted(&json!(inputs)),
        quoted(&outputs)
    )
}

/// The burn this was built with; `Cargo.toml` pins it.
pub(crate) const BURN_VERSION: &str = "0.22.1";

fn metrics(finished: &Finished<'_>) -> Value {
    let Evaluation { mlp, ridge, mean, .. } = finished.evaluation;
    let contender = |scores: &[FoldScores]| {
        let names = scores.first().map_or(&[][..], FoldScores::names);
        let of = |i: usize| {
            let values: Vec<f64> = scores.iter().map(|s| s.values()[i]).collect();
            let (mean, deviation) = mean_and_deviation(&values);
            (key(names[i]), json!({"mean": mean, "deviation": deviation, "folds": values}))
        };
        (0..names.len()).map(of).collect::<serde_json::Map<_, _>>()
    };
    json!({
        "evaluation": {"mlp": contender(mlp), "ridge": contender(ridge), "mean": contender(mean)},
        "epochs": finished.losses,
    })
}

/// A score's name as a key: `log loss` becomes `log_loss`.
pub(crate) fn key(name: &str) -> String {
    name.to_lowercase().replace(' ', "_")
}

fn line(v: &Value) -> Vec<u8> {
    format!("{v}\n").into_bytes()
}

fn pretty(v: &Value) -> Vec<u8> {
    format!("{v:#}\n").into_bytes()
}

/// A folder under another name until it is complete; removed when it never is.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) path: PathBuf,
    kept: bool,
}

impl Staged {
    /// An empty folder beside `path`, on the same file system.
    ///
    /// # Errors
    /// A text naming the folder.
    pub(crate) fn beside(path: &Path) -> Result<Self, String> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| format!("{} names no folder", path.display()))?;
        let staged = parent.join(format!(".{name}.{}", std::process::id()));
        std::fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
        std::fs::create_dir(&staged).map_err(|e| format!("{}: {e}", staged.display()))?;
        Ok(Self { path: staged, kept: false })
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// A text when something is there already.
    pub(crate) fn rename(mut self, path: &Path) -> Result<(), String> {
        std::fs::rename(&self.path, path).map_err(|e| format!("{}: {e}", path.display()))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
