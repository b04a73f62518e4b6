//! The command line of `forebay`: subcommands and their arguments.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use forebay_bus::Stages;
use forebay_runtime::{ConfigCommand, SettingsArgs};

use crate::commands;

/// Real-time inference over Kafka: five actor services, or all of them in this one process.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, after_help = EXAMPLES)]
pub struct CommandLine {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  forebay up                                  the whole mesh here, over HTTP; nothing else needed
  forebay up --model churn.pkl                the same with a model of yours; --model models:/churn@champion of MLflow
  forebay up --kafka --set kafka.brokers=localhost:9092
                                              the same, and requests over Kafka topics as well
  forebay up --stages preprocessing,caching,prediction
                                              some of the stages here, Kafka between them and the rest
  forebay predict 0.038 0.05 0.061 0.021 -0.044 -0.034 -0.043 -0.002 0.019 -0.017
  forebay score --model models:/diabetes-rf-model/1 --input rows.csv
  forebay models check path/to/model
  forebay topics create --set kafka.partitions=12
  forebay keys new reports --expires 90d
  forebay dead-letters list --since 2h        what could not be processed, and why; show, replay, purge
  forebay train --data houses.csv --target price --output houses
  forebay config show                         every setting, its value and where it came from

Settings come from the built-in defaults, --config FILE, FOREBAY__SECTION__KEY variables and --set, in this order.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the mesh in this process
    Up {
        /// Take requests over Kafka as well (implied when brokers are set)
        #[arg(long)]
        kafka: bool,
        /// Run only these stages, with Kafka at their outer edges: ingestion, preprocessing, caching, prediction,
        /// publishing
        #[arg(long, value_name = "A,B,C")]
        stages: Option<Stages>,
        /// Serve this model: a model folder, a file (pickle, joblib, skops, ONNX, XGBoost, LightGBM, CatBoost), or
        /// models:/NAME, models:/NAME@ALIAS or models:/NAME/VERSION of the registry, or of an MLflow server runs:/RUN/MODEL
        /// or models:/m-ID, which need not be registered. May be repeated; the first one answers requests that name none
        #[arg(long, value_name = "PATH|URI")]
        model: Vec<String>,
        /// Name of the model, once for each --model (default: the name of the file or folder, the ID models:/m-ID, or the
        /// last part of runs:/RUN/MODEL)
        #[arg(long, requires = "model")]
        name: Vec<String>,
    },
    /// Ask a running mesh for one prediction
    Predict(commands::predict::Predict),
    /// The Kafka topics of the mesh
    Topics {
        #[command(subcommand)]
        action: commands::topics::Topics,
    },
    Score(commands::score::Score),
    /// What a folder or a registry holds, and whether it works
    Models(commands::models::Models),
    /// Train a model on a CSV file; `forebay train --help` lists everything
    #[command(disable_help_flag = true)]
    Train(commands::train::Train),
    /// API keys for the HTTP API
    Keys {
        #[command(subcommand)]
        action: commands::keys::Keys,
    },
    /// Records that could not be processed
    DeadLetters {
        #[command(subcommand)]
        action: commands::dead_letters::DeadLetters,
    },
    /// Look at the settings without starting
    Config {
        #[command(subcommand)]
        action: ConfigCommand,
    },
    /// Ask a running mesh whether it is ready; exit code 0 if so, else 1
    Health,
}

impl CommandLine {
    /// Parses the arguments of this process; ends it for wrong ones, and for `--help`.
    pub fn of_process() -> Self {
        Self::parse_from(std::env::args_os().map(plain_number))
    }

    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let settings = self.settings;
        match self.command {
            Command::Up { kafka, stages, model, name } => commands::up::run(settings, kafka, stages, &model, &name),
            Command::Predict(predict) => commands::predict::run(&predict),
            Command::Topics { action } => commands::topics::run(&settings, &action),
            Command::Train(train) => commands::train::run(&train),
            Command::Score(score) => commands::score::run(&settings, &score),
            Command::Models(models) => commands::models::run(&settings, &models),
            Command::Keys { action } => commands::keys::run(&settings, &action),
            Command::DeadLetters { action } => commands::dead_letters::run(&settings, &action),
            Command::Config { action } => commands::config::run(&settings, &action),
            Command::Health => commands::config::health(&settings),
        }
    }
}

/// A negative number as digits alone: forms such as `-2.5e-2` and `-.5`, which Python prints, would be taken for flags.
fn plain_number(argument: OsString) -> OsString {
    // clap takes other forms as they are
    let unusual = |text: &&str| text.starts_with("-.") || (text.starts_with('-') && text.contains(['e', 'E']));
    let number = argument.to_str().filter(unusual).and_then(|text| text.parse::<f64>().ok());
    match number.filter(|number| number.is_finite()) {
        Some(number) => format!("{number}").into(),
        None => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn negative_numbers_are_no_flags() {
        let given = ["forebay", "predict", "-2.5e-2", "-.5", "-1E3", "-9007199254740993", "--url", "http://x"];
        let parsed = CommandLine::parse_from(given.into_iter().map(|text| plain_number(text.into())));
        let Command::Predict(predict) = parsed.command else { panic!("predict") };
        assert_eq!(
            (&predict.row[..], predict.url.as_str()),
            (&["-0.025", "-0.5", "-1000", "-9007199254740993"].map(str::to_owned)[..], "http://x")
        );
        assert_eq!(plain_number("-inf".into()), "-inf");
    }

    #[test]
    fn the_arguments_are_consistent() {
        CommandLine::command().debug_assert();
    }
}
