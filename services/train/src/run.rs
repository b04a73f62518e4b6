//! One training from the arguments to the kept model.

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;

use burn::train::Interrupter;
use serde_json::{Value, json};

use crate::dataset::Dataset;
use crate::destination::Destination;
use crate::evaluation::{Evaluation, TrainingJob};
use crate::loss_log::EpochLoss;
use crate::mlflow::RunLog;
use crate::mlp::FitError;
use crate::model_folder::{BURN_VERSION, Finished, files, key};
use crate::progress::TrainingProgress;
use crate::scores::{FoldScores, mean_and_deviation};
use crate::summary;
use crate::target_values::TargetValues;
use crate::training_arguments::{ModelChoice, TrainingArguments};

/// The data set without `--data`: 442 rows, ten standardised columns, a number to predict.
const BUNDLED: &str = include_str!("../../../shared/model/sample/diabetes.csv");
/// Exit code of a process stopped by Ctrl-C.
const STOPPED: u8 = 130;

/// Why there is no model.
enum Failure {
    Unusable(String),
    Failed(String),
    Stopped,
}

impl From<FitError> for Failure {
    fn from(error: FitError) -> Self {
        match error {
            FitError::Stopped => Self::Stopped,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Runs a training and prints its result.
pub(crate) fn run(arguments: &TrainingArguments) -> ExitCode {
    let (text, code) = match train(arguments) {
        Ok(text) => {
            // a closed standard output is no failure of the training
            drop(std::io::stdout().write_all(text.as_bytes()));
            return ExitCode::SUCCESS;
        }
        Err(Failure::Unusable(text)) => (text, 2),
        Err(Failure::Failed(text)) => (text, 1),
        Err(Failure::Stopped) => ("stopped, nothing was kept".to_owned(), STOPPED),
    };
    drop(writeln!(std::io::stderr(), "{text}"));
    ExitCode::from(code)
}

fn train(arguments: &TrainingArguments) -> Result<String, Failure> {
    let (table, target) = read(arguments)?;
    let destination = Destination::open(&arguments.keeping, &arguments.server).map_err(Failure::Unusable)?;
    let stop = stop_on_interrupt();
    let Fit { evaluation, kept, finished, progress } = {
        let runs = u64::from(arguments.fitting.folds) + u64::from(arguments.save != ModelChoice::Ridge);
        let progress = TrainingProgress::new(runs * u64::from(arguments.fitting.epochs), arguments.quiet);
        let (rows, columns, name) = (table.rows(), table.features.len(), &table.target.name);
        progress.note(&format!("training on {rows} rows with {columns} columns, target {name:?}"));
        for column in table.constant_columns() {
            progress.warn(&format!("column {column:?} has one value in every row, it cannot help"));
        }
        let job = TrainingJob {
            table: &table,
            target: &target,
            fitting: &arguments.fitting,
            progress: &progress,
            stop: &stop,
        };
        let evaluation = Evaluation::run(job)?;
        let kept = match arguments.save {
            ModelChoice::Best if evaluation.net_wins() => ModelChoice::Mlp,
            ModelChoice::Best => ModelChoice::Ridge,
            choice => choice,
        };
        progress.stage("on all rows".to_owned());
        let all: Vec<usize> = (0..table.rows()).collect();
        let finished = match kept {
            ModelChoice::Ridge => (job.fit_ridge(&all)?, Vec::new()),
            _ => job.fit_mlp(&all, &[], arguments.fitting.seed)?,
        };
        Fit { evaluation, kept, finished, progress }
    };
    progress.done();
    if stop.should_stop() {
        return Err(Failure::Stopped);
    }
    let mut text = summary::table(&evaluation, &table, &target, arguments, kept);
    let (fitted, losses) = &finished;
    let training = training(arguments, &table, &target, kept);
    let scratch = tempfile::tempdir().map_err(|e| Failure::Failed(format!("temporary folder: {e}")))?;
    let finished =
        Finished { fitted, table: &table, target: &target, evaluation: &evaluation, losses, training: &training };
    let files = files(&finished, scratch.path()).map_err(Failure::Failed)?;
    let log = log(&training, &evaluation, losses);
    let place = destination.keep(&files, &log).map_err(Failure::Failed)?;
    text.push_str(&format!("\n{place}\n"));
    if let Some((name, bytes)) = files.iter().find(|(name, _)| *name == "model.bpk") {
        text.push_str(&format!("{name} blake3 {}\n", blake3::hash(bytes).to_hex()));
    }
    Ok(text)
}

struct Fit {
    evaluation: Evaluation,
    kept: ModelChoice,
    finished: (crate::network::Fitted, Vec<EpochLoss>),
    progress: TrainingProgress,
}

fn read(arguments: &TrainingArguments) -> Result<(Dataset, TargetValues), Failure> {
    let name = arguments.data.as_ref().map_or_else(|| "bundled data".to_owned(), |path| path.display().to_string());
    let unusable = |e: &dyn std::fmt::Display| Failure::Unusable(format!("{name}: {e}"));
    let target = arguments.target.as_deref();
    let table = match &arguments.data {
        None => Dataset::read(BUNDLED.as_bytes(), target),
        Some(path) => Dataset::read(File::open(path).map_err(|e| unusable(&e))?, target),
    };
    let table = table.map_err(|e| unusable(&e))?;
    let needed = 2 * arguments.fitting.folds as usize;
    if table.rows() < needed {
        let (rows, folds) = (table.rows(), arguments.fitting.folds);
        return Err(unusable(&format!("has {rows} rows, {folds} folds need at least {needed}")));
    }
    let target = TargetValues::read(&table.target, arguments.task).map_err(|e| unusable(&e))?;
    Ok((table, target))
}

/// Ctrl-C ends the training between two steps; a second one ends the process.
fn stop_on_interrupt() -> Interrupter {
    let stop = Interrupter::new();
    let handle = stop.clone();
    // without a handler Ctrl-C still ends the process, only less politely
    drop(ctrlc::set_handler(move || {
        if handle.should_stop() {
            std::process::exit(i32::from(STOPPED));
        }
        handle.stop(Some("interrupted"));
    }));
    stop
}

/// Everything needed to reproduce the model. It holds no time and no path, so that the same training writes the same
/// folder.
fn training(arguments: &TrainingArguments, table: &Dataset, target: &TargetValues, kept: ModelChoice) -> Value {
    let f = &arguments.fitting;
    let file = arguments.data.as_ref().map(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()));
    let mut values = blake3::Hasher::new();
    for value in &table.cells {
        values.update(&value.to_le_bytes());
    }
    for value in &table.target.values {
        values.update(value.as_bytes()).update(b"\n");
    }
    json!({
        "trainer": {"forebay_train": env!("CARGO_PKG_VERSION"), "burn": BURN_VERSION},
        "data": {
            "file": file.unwrap_or_else(|| Some("diabetes.csv (bundled)".to_owned())),
            "rows": table.rows(),
            "columns": table.features,
            "target": table.target.name,
            "missing_values": table.has_missing(),
            "blake3_of_values": values.finalize().to_hex().to_string(),
        },
        "task": if target.labels().is_empty() { "regression" } else { "classification" },
        "model": if kept == ModelChoice::Ridge { "ridge" } else { "mlp" },
        "parameters": {
            "folds": f.folds,
            "epochs": f.epochs,
            "hidden": f.hidden,
            "learning_rate": f.learning_rate,
            "weight_decay": f.weight_decay,
            "batch": f.batch,
            "seed": f.seed,
        },
    })
}

/// What an MLflow run records: parameters, the losses of every epoch, means over the folds.
fn log(training: &Value, evaluation: &Evaluation, losses: &[EpochLoss]) -> RunLog {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let mut params = vec![("task".to_owned(), text(&training["task"])), ("model".to_owned(), text(&training["model"]))];
    for (name, value) in training["parameters"].as_object().into_iter().flatten() {
        params.push((name.clone(), text(value)));
    }
    let mut metrics = Vec::new();
    for (fold, epochs) in evaluation.losses.iter().enumerate() {
        for (i, loss) in epochs.iter().enumerate() {
            metrics.push((format!("fold{}_train_loss", fold + 1), loss.train, i as u64 + 1));
            metrics.extend(loss.valid.map(|v| (format!("fold{}_valid_loss", fold + 1), v, i as u64 + 1)));
        }
    }
    metrics.extend(losses.iter().enumerate().map(|(i, l)| ("train_loss".to_owned(), l.train, i as u64 + 1)));
    for (who, scores) in [("mlp", &evaluation.mlp), ("ridge", &evaluation.ridge), ("mean", &evaluation.mean)] {
        for (i, name) in scores.first().map_or(&[][..], FoldScores::names).iter().enumerate() {
            let values: Vec<f64> = scores.iter().map(|s| s.values()[i]).collect();
            metrics.push((format!("{who}_{}", key(name)), mean_and_deviation(&values).0, 0));
        }
    }
    RunLog { params, metrics }
}
