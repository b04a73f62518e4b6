//! `judge`: reads everything in the topics and compares it with the oracle.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rdkafka::Message;
use rdkafka::consumer::Consumer;

use super::clients::{BrokerArgs, FetchMode, StartOffset, watermarks};
use crate::error::LoadtestError;
use crate::judge::{Judge, JudgeRules};

/// How long a full read may make no progress.
const STALL: Duration = Duration::from_secs(30);

/// Checks conservation: every request that the oracle knows as accepted has exactly one answer in the result topic, no
/// other request has one, and equal features got the same prediction from the same version, to the bit. Prints examples
/// and exits with 1 when something is violated.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  forebay-loadtest kafka --rate 500 --seconds 30 --repeat-ratio 0.5 --oracle run.oracle
  forebay-loadtest judge --oracle run.oracle --dead-letters forebay.dead-letters --ignore-other-runs")]
pub struct JudgeArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// File that `--oracle` wrote. May be given several times
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) oracle: Vec<PathBuf>,
    /// Result topic
    #[arg(long = "out", default_value = "inference-results", value_name = "TOPIC")]
    pub(crate) output_topic: String,
    /// Judge the answers in this file, one JSON result a line, and not a topic (`http --answers` writes one)
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: Option<PathBuf>,
    /// Topic with dead letters; not read if absent
    #[arg(long, value_name = "TOPIC")]
    pub(crate) dead_letters: Option<String>,
    /// Ignore answers to runs that no oracle knows: they belong to other clients
    #[arg(long)]
    pub(crate) ignore_other_runs: bool,
    /// A request that is a dead letter and was not answered counts as accounted for
    #[arg(long)]
    pub(crate) allow_dead_letters: bool,
    /// More error answers than this are a violation
    #[arg(long)]
    pub(crate) max_errors: Option<u64>,
}

impl JudgeArgs {
    /// Reads everything and prints the findings; `true` when nothing was violated.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        let Self { ignore_other_runs, allow_dead_letters, max_errors, .. } = *self;
        let mut judge =
            Judge::new(JudgeRules { ignore_other_runs, allow_dead_letters, max_errors, ..JudgeRules::default() });
        for path in &self.oracle {
            crate::oracle::read(path, |event| judge.event(event))?;
        }
        if let Some(path) = &self.answers {
            let text = std::fs::read(path).map_err(LoadtestError::file(path))?;
            text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| judge.answer(line));
        } else {
            read_topic(&self.broker, &self.output_topic, |payload| judge.answer(payload))?;
        }
        if let Some(topic) = &self.dead_letters {
            read_topic(&self.broker, topic, |payload| judge.dead_letter(payload))?;
        }
        let findings = judge.findings();
        println!("{findings}");
        Ok(findings.clean())
    }
}

/// Calls `record` with every payload that `topic` holds now, and returns how many that were.
pub fn read_topic(broker: &BrokerArgs, topic: &str, mut record: impl FnMut(&[u8])) -> Result<u64, LoadtestError> {
    let consumer = broker.assigned(topic, StartOffset::Beginning, FetchMode::InBulk)?;
    let marks = watermarks(&consumer, topic)?.into_iter().filter(|(_, low, high)| low < high);
    let mut open: HashMap<i32, i64> = marks.map(|(partition, _, high)| (partition, high)).collect();
    let (mut count, mut progress) = (0, Instant::now());
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                progress = Instant::now();
                let Some(high) = open.get(&message.partition()) else { continue };
                if message.offset() < *high {
                    record(message.payload().unwrap_or_default());
                    count += 1;
                }
                if message.offset() + 1 >= *high {
                    open.remove(&message.partition());
                }
            }
            Some(Err(error)) => return Err(LoadtestError::kafka(format!("read {topic}"))(error)),
            // Positions move past transaction markers and compacted records, which are never handed out.
            None => {
                let positions = consumer.position().map_err(LoadtestError::kafka(format!("position in {topic}")))?;
                for element in positions.elements() {
                    let high = open.get(&element.partition()).copied();
                    if high.is_some_and(|high| element.offset().to_raw().is_some_and(|offset| offset >= high)) {
                        open.remove(&element.partition());
                    }
                }
            }
        }
        if progress.elapsed() > STALL {
            return Err(LoadtestError::Input(format!(
                "reading {topic} makes no progress, partitions {:?} not at their end",
                open.keys()
            )));
        }
    }
    Ok(count)
}
