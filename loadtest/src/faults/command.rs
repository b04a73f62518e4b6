//! `faults`: the command line, and the order of things.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::catalog::{FaultRow, ROWS};
use super::environment::{BrokerKind, FaultEnvironment, binaries_folder};
use super::evidence::RowEvidence;
use super::row_run::{RunOptions, run_row};
use super::table::{HEAD, NotJudged, RowFacts, RowOutcome, machine};
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
  repeated  replies over RabbitMQ that came again; right only where publishing or RabbitMQ is killed
  late      answered after the deadline, or with the error that says so
  recovery  from the end of the fault to the last answer that took longer than a second; more than 10 s, or a session if that is
            longer, fails the row, but not in CI
  MiB       the largest memory of any process at any time of the row, and how fast the fastest grew after its first minute

Exit code 1 if a row fails in anything but the counts that it is known to fail in. The same seed gives the same schedule and the same choices.")]
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
    /// Folder of the previous release's binaries, for the row that needs them
    #[arg(long, value_name = "FOLDER")]
    previous: Option<PathBuf>,
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
        let previous = self.previous.as_deref().map(std::path::absolute).transpose();
        let previous = previous.map_err(LoadtestError::system("find the previous release"))?;
        let (seed, seconds, quick, window) = (self.seed, self.seconds, self.quick, self.window);
        let options = RunOptions { seed, seconds, quick, window, previous };
        // other work shares the machine in CI, where times say nothing
        let session = (!self.ci).then(|| Duration::from_secs_f64(options.session()));
        let mut environments = Environments::new();
        let mut evidence = Vec::new();
        for row in &rows {
            let environment = match environments.entry(row.broker) {
                Entry::Occupied(known) => &*known.into_mut(),
                Entry::Vacant(vacant) => match self.environment(row.broker) {
                    Ok(started) => vacant.insert(started),
                    // it takes rights that not everybody has
                    Err(error) if row.broker == BrokerKind::SmallDisk => {
                        evidence.push((*row, Err(NotJudged::NotRun(format!("not run: {error}")))));
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let found = one(row, environment, &options);
            if let Ok(found) = &found {
                let outcome = outcome(*row, found, session);
                eprintln!("{}", outcome.line());
                // those of a row that fails are there for whoever looks into it
                if outcome.failures().is_empty()
                    && let Err(error) = found.forget_inner_topics()
                {
                    eprintln!("{error}");
                }
            }
            evidence.push((*row, found));
        }
        // once more, for what came after its row was over
        let outcomes = evidence.into_iter().map(|(row, evidence)| match evidence {
            Ok(evidence) => outcome(row, &evidence, session),
            Err(why) => RowOutcome { row, result: Err(why) },
        });
        let outcomes: Vec<RowOutcome> = outcomes.collect();
        println!("{}\n\n{HEAD}", machine());
        outcomes.iter().for_each(|outcome| println!("{}", outcome.line()));
        println!();
        outcomes.iter().for_each(|outcome| print!("{}", outcome.details()));
        Ok(outcomes.iter().all(RowOutcome::acceptable))
    }

    fn environment(&self, broker: BrokerKind) -> Result<FaultEnvironment, LoadtestError> {
        let binaries = binaries_folder(self.binaries.as_deref())?;
        FaultEnvironment::start(&self.native, binaries, self.keep.as_deref(), broker)
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

/// The services of a run. They outlive its last row, as everything is read again then.
type Environments = HashMap<BrokerKind, FaultEnvironment>;

/// Runs a row, and says why if it cannot be run.
fn one(row: &FaultRow, environment: &FaultEnvironment, options: &RunOptions) -> Result<RowEvidence, NotJudged> {
    if row.previous && options.previous.is_none() {
        return Err(NotJudged::NotRun("not run: --previous names no folder of binaries".into()));
    }
    eprintln!("--- {} {}", row.id, row.name);
    let evidence = environment.heal().and_then(|()| run_row(row, environment, options));
    evidence.map_err(|error| NotJudged::Failed(format!("could not be run: {error}")))
}

fn listed(row: &FaultRow) -> String {
    let FaultRow { id, name, known, in_ci, .. } = row;
    let state = match known {
        [first, ..] => format!("known to fail: {}: {}", first.count.name(), first.why),
        [] => if *in_ci { "holds, in CI" } else { "holds" }.to_owned(),
    };
    format!("{id:4} {name}  [{state}]")
}

fn outcome(row: FaultRow, evidence: &RowEvidence, session: Option<Duration>) -> RowOutcome {
    let verdict = evidence.judge().map_err(|error| NotJudged::Failed(format!("could not be judged: {error}")));
    RowOutcome { row, result: verdict.map(|verdict| (verdict, RowFacts::of(evidence, session))) }
}
