//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::attacks::AttacksArgs;
use crate::conformance::ConformanceArgs;
use crate::error::LoadtestError;
use crate::faults::FaultsArgs;
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
  What survives a crash, a hang, a rebalance?   faults
  What can hostile files and callers do?        attacks
  Do clients of Triton and KServe fit?          conformance
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
    Faults(FaultsArgs),
    Attacks(AttacksArgs),
    Conformance(ConformanceArgs),
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
            Command::Faults(args) => args.run(),
            Command::Attacks(args) => args.run(),
            Command::Conformance(args) => args.run(),
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

    /// `bench.sh` takes minutes and CI does not run it: a renamed command or option would break it unseen.
    #[test]
    fn the_report_script_uses_commands_and_options_that_exist() {
        let script = include_str!("../suites/bench.sh").replace("\\\n", " ");
        let calls: Vec<&str> =
            script.lines().filter_map(|line| line.split_once("\"$load\" ")).map(|(_, call)| call).collect();
        let cli = Cli::command();
        let mut commands = 0;
        for call in calls {
            let call = call.split([';', '|', '>', '&']).next().unwrap_or_default();
            let mut words = call.split_whitespace();
            let name = words.next().unwrap_or_default();
            if name.starts_with('"') {
                continue; // a function's own arguments
            }
            let mut command = cli.find_subcommand(name).unwrap_or_else(|| panic!("no command {name:?}"));
            commands += 1;
            for word in words {
                command = command.find_subcommand(word).unwrap_or(command);
                let known = |option: &str| command.get_arguments().any(|argument| argument.get_long() == Some(option));
                if let Some(option) = word.strip_prefix("--") {
                    assert!(known(option), "{name} has no option {word:?}");
                }
            }
        }
        assert!(commands >= 7, "only {commands} calls found");
    }
}
