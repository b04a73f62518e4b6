//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::error::LoadtestError;
use crate::http::HttpArgs;
use crate::kafka::{DrainArgs, FillArgs, JudgeArgs, KafkaArgs, ThroughputArgs, TopicsArgs};
use crate::relay::{RelayArgs, RelayChainArgs};
use crate::table::TableArgs;
use crate::usage::WatchArgs;

/// Load tests for Forebay: at a fixed rate (open loop, latency from the scheduled send), from a filled topic, against a
/// bare relay, and a judge for losses and duplicates.
#[derive(Debug, Parser)]
#[command(
    name = "forebay-loadtest",
    version,
    after_help = "\
WHICH COMMAND
  How long does a request take at 1,000/s?      kafka, http
  How much can it do?                           throughput (Kafka), http --closed 8
  What would a chain of bare processes take?    relay-chain, then kafka against its topics
  Was anything lost or answered twice?          kafka --oracle FILE, then judge --oracle FILE
  Everything, as a report                       loadtest/suites/bench.sh

Request topics hold {\"request_id\", \"features\"}; result topics {\"request_id\", \"prediction\", ...} or {\"request_id\", \"error\": {\"code\"}}."
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Http(HttpArgs),
    Kafka(KafkaArgs),
    Fill(FillArgs),
    Drain(DrainArgs),
    Throughput(ThroughputArgs),
    Judge(JudgeArgs),
    Relay(RelayArgs),
    RelayChain(RelayChainArgs),
    Topics(TopicsArgs),
    ProcessUsage(UsageArgs),
    Table(TableArgs),
}

/// Prints the processor time and memory of processes over some seconds in which they get no other work.
#[derive(Debug, Args)]
struct UsageArgs {
    #[command(flatten)]
    watch: WatchArgs,
    /// How long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl UsageArgs {
    fn run(&self) -> Result<bool, LoadtestError> {
        let before = self.watch.sample()?;
        std::thread::sleep(Duration::from_secs(self.seconds));
        println!("| process | CPU % of a core | resident MiB |\n|---|---|---|");
        for usage in self.watch.since(&before, 0)? {
            let percent = usage.cpu_seconds * 100.0 / self.seconds.max(1) as f64;
            println!("| {} | {percent:.1} | {:.1} |", usage.name, usage.rss_mib);
        }
        Ok(true)
    }
}

impl Cli {
    /// Runs the command; `true` when the run was clean.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        match &self.command {
            Command::Http(args) => args.run(),
            Command::Kafka(args) => args.run(),
            Command::Fill(args) => args.run(),
            Command::Drain(args) => args.run(),
            Command::Throughput(args) => args.run(),
            Command::Judge(args) => args.run(),
            Command::Relay(args) => args.run(),
            Command::RelayChain(args) => args.run(),
            Command::Topics(args) => args.run(),
            Command::ProcessUsage(args) => args.run(),
            Command::Table(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
