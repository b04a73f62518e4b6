//! `faults`: the command line, and the order of things.

use std::path::PathBuf;

use clap::Args;

use super::catalog::{FaultRow, ROWS, RowAction};
use super::environment::FaultEnvironment;
use super::row_run::{RowEvidence, RunOptions, run_row};
use super::table::{HEAD, RowFacts, RowOutcome, machine};
use crate::error::LoadtestError;

/// Breaks things under load, and counts what became of the requests: real Kafka, Redis and RabbitMQ, two replicas of each
/// stage, constant load over HTTP, Kafka and RabbitMQ, one fault after the other.
#[derive(Debug, Args)]
#[command(after_help = "\
Starts the services with compose/native.sh and the stages from FOREBAY_BIN_DIR, or from the folder of this program. A supervisor starts
ended processes again after 0.5 s. Clients are careful ones: over HTTP they repeat what was not answered under its Idempotency-Key, over
RabbitMQ they publish until it is confirmed. Predictions are compared with scikit-learn's own. All topics are read once more at the end
of the whole run.

  lost      accepted, and neither answered nor in the dead letters
  doubled   answered more than once; a reply over RabbitMQ that comes again with the same message id and bytes is a repeated one
  wrong     not what scikit-learn predicts, an answer to no request, or answers that contradict each other
  late      answered after the deadline, or with the error that says so
  recovery  from the end of the fault to the last answer that took longer than a second

Exit code 1 if a row fails that is not known to. The same seed gives the same schedule and the same choices.")]
pub struct FaultsArgs {
    /// Only these rows, by number (5) or form (5a); may be given several times, or with commas
    #[arg(long, value_name = "N", value_delimiter = ',')]
    only: Vec<String>,
    /// What the rows are and whether they can be run, and nothing more
    #[arg(long)]
    list: bool,
    /// Seed of the schedule and of all choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long each row's load lasts, at least
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Sessions of 6 s and shorter faults
    #[arg(long)]
    quick: bool,
    /// Seconds for which the mesh remembers the ids of answered requests; the default is the mesh's own
    #[arg(long, default_value_t = 120)]
    window: u32,
    /// Only the rows that hold reliably, as CI runs them
    #[arg(long)]
    ci: bool,
    /// The script that starts the services
    #[arg(long, env = "REAL_NATIVE", default_value = "compose/native.sh", value_name = "FILE")]
    native: PathBuf,
    /// Folder of the mesh's binaries; the one of this program if absent
    #[arg(long, env = "FOREBAY_BIN_DIR", value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Keep all logs in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

impl FaultsArgs {
    /// Runs the rows; `true` when none failed that is not known to.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        let rows = self.rows()?;
        if self.list {
            rows.iter().for_each(|row| println!("{}", listed(row)));
            return Ok(true);
        }
        let binaries = match &self.binaries {
            Some(folder) => std::path::absolute(folder).map_err(LoadtestError::file(folder))?,
            None => {
                let program = std::env::current_exe().map_err(LoadtestError::system("find this program"))?;
                program.parent().map(PathBuf::from).unwrap_or_default()
            }
        };
        let environment = FaultEnvironment::start(&self.native, binaries, self.keep.as_deref())?;
        let options = RunOptions { seed: self.seed, seconds: self.seconds, quick: self.quick, window: self.window };
        let mut evidence = Vec::new();
        for row in &rows {
            evidence.push((*row, one(row, &environment, options)));
            if let Some((row, Ok(evidence))) = evidence.last() {
                let outcome = outcome(*row, evidence, &environment.brokers);
                eprintln!("{}", outcome.line());
            }
        }
        // once more, for what came after its row was over
        let outcomes = evidence.into_iter().map(|(row, evidence)| match evidence {
            Ok(evidence) => outcome(row, &evidence, &environment.brokers),
            Err(why) => RowOutcome { row, result: Err(why) },
        });
        let outcomes: Vec<RowOutcome> = outcomes.collect();
        println!("{}\n\n{HEAD}", machine());
        outcomes.iter().for_each(|outcome| println!("{}", outcome.line()));
        println!();
        outcomes.iter().for_each(|outcome| print!("{}", outcome.details()));
        let ran = |outcome: &&RowOutcome| matches!(outcome.row.action, RowAction::Apply(_));
        Ok(outcomes.iter().filter(ran).all(RowOutcome::acceptable))
    }

    fn rows(&self) -> Result<Vec<FaultRow>, LoadtestError> {
        let chosen = |row: &FaultRow, word: &str| row.id == word || row.number.to_string() == word;
        for word in &self.only {
            if !ROWS.iter().any(|row| chosen(row, word)) {
                return Err(LoadtestError::Input(format!("there is no row {word}; see --list")));
            }
        }
        let wanted = |row: &&FaultRow| {
            let named = self.only.is_empty() || self.only.iter().any(|word| chosen(row, word));
            named && (row.in_ci || !self.ci)
        };
        Ok(ROWS.iter().filter(wanted).copied().collect())
    }
}

fn listed(row: &FaultRow) -> String {
    let FaultRow { id, name, action, known, in_ci, .. } = row;
    let state = match (action, known) {
        (RowAction::Missing(why), _) => format!("not yet: {why}"),
        (RowAction::Apply(_), Some(known)) => format!("known to fail: {known}"),
        (RowAction::Apply(_), None) => if *in_ci { "holds, in CI" } else { "holds" }.to_owned(),
    };
    format!("{id:4} {name}  [{state}]")
}

/// Runs a row, and says why if it cannot be run.
fn one(row: &FaultRow, environment: &FaultEnvironment, options: RunOptions) -> Result<RowEvidence, String> {
    let action = match row.action {
        RowAction::Apply(action) => action,
        RowAction::Missing(why) => return Err(format!("not yet: {why}")),
    };
    eprintln!("--- {} {}", row.id, row.name);
    let evidence = environment.heal().and_then(|()| run_row(row, action, environment, options));
    let evidence = evidence.map_err(|error| format!("could not be run: {error}"))?;
    if let Err(error) = evidence.forget_inner_topics(&environment.brokers) {
        eprintln!("{error}");
    }
    Ok(evidence)
}

fn outcome(row: FaultRow, evidence: &RowEvidence, brokers: &str) -> RowOutcome {
    let verdict = evidence.judge(brokers).map_err(|error| format!("could not be judged: {error}"));
    RowOutcome { row, result: verdict.map(|verdict| (verdict, RowFacts::of(evidence))) }
}
