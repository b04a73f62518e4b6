//! The command line of `forebay-train`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::{mlflow, run};

/// Train a model on a CSV file: a burn net beside a linear baseline, k-fold evaluation, a model folder or a new version
/// in a registry.
#[derive(Debug, Clone, Parser)]
#[command(name = "forebay-train", version, after_help = EXAMPLES)]
pub struct TrainingArguments {
    /// CSV with a header of column names; without it the bundled diabetes data set
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) data: Option<PathBuf>,
    /// Column to predict; without it the column named `target`, else the last one
    #[arg(long, value_name = "COLUMN")]
    pub(crate) target: Option<String>,
    /// Numbers or classes; without it classes for names, yes/no and 0/1
    #[arg(long, value_enum)]
    pub(crate) task: Option<TaskChoice>,
    #[command(flatten)]
    pub(crate) fitting: FittingArgs,
    /// Which model to keep; `best` takes the one with the better mean score
    #[arg(long, value_enum, default_value_t = ModelChoice::Mlp)]
    pub(crate) save: ModelChoice,
    #[command(flatten)]
    pub(crate) keeping: DestinationArgs,
    #[command(flatten)]
    pub(crate) server: mlflow::MlflowAccess,
    /// No progress, only the summary
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// How the models are fitted and evaluated.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FittingArgs {
    /// Parts of the cross-validation
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=50))]
    pub(crate) folds: u32,
    /// Passes over the data
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) epochs: u32,
    /// Sizes of the hidden layers
    #[arg(long, default_value = "64,64", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) hidden: Vec<u16>,
    /// Step size of Adam
    #[arg(long, default_value_t = 1e-3, value_parser = positive)]
    pub(crate) learning_rate: f64,
    /// Weight decay: how strongly weights are pulled towards zero
    #[arg(long, default_value_t = 0.01, value_parser = not_negative)]
    pub(crate) weight_decay: f64,
    /// Rows in each step
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch: u32,
    /// The same seed, data and settings give the same model file
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// Where the model goes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DestinationArgs {
    /// Model folder to write, or with --register the folder of a registry
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
    /// Registered model that gets a new version
    #[arg(long, value_name = "MODEL")]
    pub(crate) register: Option<String>,
    /// Where --register registers without --output: an MLflow server's address, or file:FOLDER
    #[arg(long, value_name = "URL", env = "MLFLOW_TRACKING_URI")]
    pub(crate) registry: Option<String>,
    /// Alias that then names the new version
    #[arg(long, requires = "register")]
    pub(crate) alias: Option<String>,
    /// Stage the new version takes over, for instance Production
    #[arg(long, requires = "register")]
    pub(crate) stage: Option<String>,
    /// Replace the model folder if there is one
    #[arg(long, conflicts_with = "register")]
    pub(crate) force: bool,
}

/// Values of `--task`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskChoice {
    Regression,
    Classification,
}

/// Values of `--save`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelChoice {
    Mlp,
    /// Ridge regression, or for classes logistic regression
    Ridge,
    Best,
}

const EXAMPLES: &str = "Examples:
  forebay-train                                        evaluate on the bundled data, keep nothing
  forebay-train --output model                         and write a model folder
  forebay-train --data houses.csv --target price --hidden 32 --epochs 50 --output houses
  forebay-train --data iris.csv --target species --output registry --register iris --alias champion
  forebay-train --registry http://localhost:5000 --register houses --data houses.csv --target price --alias champion

Score with it:   forebay score --model model --input rows.csv
Empty cells are missing values: the model fills them with the column's mean, when training and when answering.";

fn positive(text: &str) -> Result<f64, String> {
    not_negative(text).and_then(|v| if v > 0.0 { Ok(v) } else { Err("must be above zero".to_owned()) })
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v >= 0.0 => Ok(v),
        Ok(_) => Err("must be a finite number, zero or above".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

impl TrainingArguments {
    /// Runs the training. Exit code 1 when it failed, 2 for arguments that cannot be used, 130 when stopped.
    pub fn run(self) -> ExitCode {
        run::run(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        TrainingArguments::command().debug_assert();
        let a = TrainingArguments::parse_from(["forebay-train", "--hidden", "8,4", "--learning-rate", "0.5"]);
        assert_eq!((a.fitting.hidden, a.fitting.learning_rate, a.save), (vec![8, 4], 0.5, ModelChoice::Mlp));
        for wrong in [["--learning-rate", "0"], ["--weight-decay", "-1"], ["--folds", "1"], ["--hidden", "0"]] {
            assert!(TrainingArguments::try_parse_from(["forebay-train", wrong[0], wrong[1]]).is_err(), "{wrong:?}");
        }
        assert!(TrainingArguments::try_parse_from(["forebay-train", "--alias", "a"]).is_err());
    }
}
