//! `relay-chain`: five relay processes in a row, each a child of this one.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;

use super::process::PacingArgs;
use crate::error::LoadtestError;
use crate::kafka::{BrokerArgs, TopicSpec, create_topics};
use crate::run::RunId;

/// How long the five processes may take to get partitions.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Starts five relay processes (pack, three that forward, unpack) between a request and a result topic, prints READY
/// when all of them have partitions, and runs until it is ended. The children end with it.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  forebay-loadtest topics create relay-requests relay-results
  forebay-loadtest relay-chain --in relay-requests --out relay-results --pack-wait-ms 5 --pids relay.pids &
  forebay-loadtest kafka --in relay-requests --out relay-results --rate 1000 --watch-file relay.pids")]
pub struct RelayChainArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Request topic
    #[arg(long = "in", default_value = "inference-requests", value_name = "TOPIC")]
    input: String,
    /// Result topic
    #[arg(long = "out", default_value = "inference-results", value_name = "TOPIC")]
    output: String,
    /// Prefix of the four topics between the processes, which are created, and of the consumer groups; random if absent
    #[arg(long)]
    prefix: Option<String>,
    /// Partitions of the topics between the processes
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Write NAME=PID lines for --watch-file to this file
    #[arg(long, value_name = "FILE")]
    pids: Option<PathBuf>,
    #[command(flatten)]
    pacing: PacingArgs,
}

struct RelayProcess {
    name: String,
    child: Child,
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl RelayChainArgs {
    /// Runs until ended, or until one of the processes ends.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        let prefix = self.prefix.clone().unwrap_or_else(|| format!("relay-{}", RunId::random()));
        let hops: Vec<String> = (1..=4).map(|hop| format!("{prefix}.hop{hop}")).collect();
        create_topics(
            &self.broker,
            &hops,
            TopicSpec { partitions: self.partitions, replication: 1, compacted: false },
        )?;
        let mut processes = self.start(&prefix, &hops)?;
        wait_ready(&mut processes)?;
        if let Some(path) = &self.pids {
            let mut lines = String::new();
            for process in &processes {
                let _infallible = writeln!(lines, "{}={}", process.name, process.child.id());
            }
            std::fs::write(path, lines).map_err(LoadtestError::file(path))?;
        }
        println!("READY");
        loop {
            for process in &mut processes {
                if let Ok(Some(status)) = process.child.try_wait() {
                    return Err(LoadtestError::Input(format!("{} ended: {status}", process.name)));
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn start(&self, prefix: &str, hops: &[String]) -> Result<Vec<RelayProcess>, LoadtestError> {
        let topics: Vec<&String> = [&self.input].into_iter().chain(hops).chain([&self.output]).collect();
        let roles = ["pack", "fwd", "fwd", "fwd", "unpack"];
        let links = roles.iter().zip(topics.windows(2)).enumerate();
        links
            .map(|(index, (role, link))| self.spawn(&format!("{prefix}-{}", index + 1), role, link[0], link[1]))
            .collect()
    }

    fn spawn(&self, group: &str, role: &str, input: &str, output: &str) -> Result<RelayProcess, LoadtestError> {
        let program = std::env::current_exe().map_err(LoadtestError::system("find this program"))?;
        let pacing = &self.pacing;
        let mut command = Command::new(program);
        command.args(["relay", "--role", role, "--in", input, "--out", output, "--group", group, "--until-stdin-ends"]);
        command.args(["--brokers", &self.broker.brokers, "--pack", &pacing.pack.to_string()]);
        command.args(["--pack-wait-ms", &pacing.pack_wait_ms.to_string(), "--linger-ms", &pacing.linger_ms]);
        for option in &self.broker.options {
            command.args(["--kafka-option", option]);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let name = format!("relay-{}-{role}", group.rsplit('-').next().unwrap_or_default());
        Ok(RelayProcess { name, child: child.map_err(LoadtestError::system(format!("start relay {role}")))? })
    }
}

fn wait_ready(processes: &mut [RelayProcess]) -> Result<(), LoadtestError> {
    let (ready, readies) = mpsc::channel();
    for (index, process) in processes.iter_mut().enumerate() {
        let Some(output) = process.child.stdout.take() else { continue };
        let ready = ready.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line == "READY" {
                    let _gone = ready.send(index);
                }
            }
        });
    }
    drop(ready);
    let limit = Instant::now() + START_LIMIT;
    for done in 0..processes.len() {
        let left = limit.saturating_duration_since(Instant::now());
        readies.recv_timeout(left).map_err(|_| {
            let count = processes.len();
            LoadtestError::Input(format!("only {done} of {count} relay processes became ready within {START_LIMIT:?}"))
        })?;
    }
    Ok(())
}
