//! `throughput`: fill and drain in one command.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use clap::Args;

use super::clients::{BrokerArgs, FetchMode, StartOffset};
use super::delivery_recorder::DeliveryRecorder;
use super::drain::{ClockArgs, GroupClock, filled_report};
use super::fill::FillArgs;
use super::open_loop::counts;
use super::reader::{Goal, read_answers};
use crate::answer_tally::AnswerTally;
use crate::error::LoadtestError;
use crate::report::{OutputArgs, Report};
use crate::usage::WatchArgs;
use crate::workload::WorkloadArgs;

/// Fills the request topic, then counts the answers to it. The services may run already (then filling and answering
/// overlap) or be started once the line `filled ...` is printed: give --group, and they will begin with the first
/// filled request.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  forebay-loadtest throughput --count 1000000 --group inference-service --watch-file pids.txt")]
pub struct ThroughputArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// How many requests
    #[arg(long)]
    pub(crate) count: u64,
    /// Request topic
    #[arg(long = "in", default_value = "inference-requests", value_name = "TOPIC")]
    pub(crate) input: String,
    /// Result topic
    #[arg(long = "out", default_value = "inference-results", value_name = "TOPIC")]
    pub(crate) output_topic: String,
    /// Consumer group of the first stage. Before filling, its position is set to the end of the topic if it has no
    /// members; its first commit starts the clock
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    /// Give up when no answer has come for this many seconds
    #[arg(long, default_value_t = 60.0)]
    pub(crate) idle: f64,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl ThroughputArgs {
    /// Fills and drains; `true` when the run was clean.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        self.measure()?.publish(&self.output)
    }

    /// Fills and drains, and returns what it found.
    pub fn measure(&self) -> Result<Report, LoadtestError> {
        let requests = self.workload.generator(0)?;
        let recorder = DeliveryRecorder::new(Arc::clone(&requests), self.workload.oracle()?);
        let consumer = self.broker.assigned(&self.output_topic, StartOffset::End, FetchMode::InBulk)?;
        let (fill, clock) = (self.filling(), self.clock());
        if let Some(group) = &self.group
            && let Err(error) = super::fill::commit_end(&self.broker, group, &self.input)
        {
            eprintln!("{error}; continuing, since a group with members keeps its own position");
        }
        let (clock, timeouts) = (GroupClock::new(&self.broker, &clock)?, clock.timeouts()?);
        let (origin, before) = (Instant::now(), self.watch.sample()?);
        let tally = AnswerTally::new(requests.run().clone(), 1, self.count, origin);
        let all_sent = OnceLock::new();
        let goal = || all_sent.get().map(|sent| Goal { accepted: recorder.accepted(), sent: *sent });
        let (tally, first) = clock.beside(|| {
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| read_answers(&consumer, tally, goal, timeouts, true));
                let filled = fill.fill(&requests, &recorder);
                println!("filled {} requests of run {}", recorder.accepted(), requests.run());
                let _first = all_sent.set(Instant::now());
                let tally = reader
                    .join()
                    .unwrap_or_else(|_| Err(LoadtestError::Input("the reading thread panicked".to_owned())));
                filled.and(tally)
            })
        })?;
        let rates = filled_report(&tally, first, origin);
        let usage = self.watch.since(&before, tally.answered)?;
        let Report { kind, answered_per_s, counted_from, window_per_s, .. } = rates;
        Ok(Report { kind, answered_per_s, counted_from, window_per_s, usage, ..counts(&tally, self.count, &recorder) })
    }

    fn filling(&self) -> FillArgs {
        let (broker, input) = (self.broker.clone(), self.input.clone());
        FillArgs { broker, count: self.count, input, workload: self.workload.clone(), commit_group: None }
    }

    fn clock(&self) -> ClockArgs {
        ClockArgs { group: self.group.clone(), group_topic: self.input.clone(), idle: self.idle, settle: 2.0 }
    }
}
