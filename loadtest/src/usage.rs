//! Processor time and memory of watched processes, from `/proc`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::error::LoadtestError;

/// Ticks per second of `/proc/PID/stat`: fixed at 100 in the kernel's user interface.
const TICKS: f64 = 100.0;

/// Which processes to watch.
#[derive(Debug, Clone, Default, Args)]
pub struct WatchArgs {
    /// Watch a process: report its CPU seconds per 1,000 requests and its resident memory. May be given several times
    #[arg(long, value_name = "NAME=PID")]
    pub watch: Vec<String>,
    /// The same from a file, one NAME=PID a line; may appear or grow during the run
    #[arg(long, value_name = "FILE")]
    pub watch_file: Option<PathBuf>,
}

/// What one process used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Its name in the report.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// User and system time within the measured window.
    pub cpu_seconds: f64,
    /// The same per 1,000 requests.
    pub cpu_per_1000: f64,
    /// Resident memory at the end.
    pub rss_mib: f64,
}

/// Processor time of the watched processes at one moment.
#[derive(Debug, Default)]
pub struct CpuSample(Vec<(String, u32, f64)>);

impl WatchArgs {
    /// Reads the processor time now. A process that is gone is left out; a malformed entry is an error.
    pub fn sample(&self) -> Result<CpuSample, LoadtestError> {
        let mut sample = Vec::new();
        for (name, pid) in self.processes()? {
            if let Some(cpu) = cpu_seconds(pid) {
                sample.push((name, pid, cpu));
            }
        }
        Ok(CpuSample(sample))
    }

    /// What was used since `before`, over `requests` requests. A process that was not there before counts from its
    /// start.
    pub fn since(&self, before: &CpuSample, requests: u64) -> Result<Vec<ProcessUsage>, LoadtestError> {
        Ok(self.sample()?.since(before, requests))
    }

    fn processes(&self) -> Result<Vec<(String, u32)>, LoadtestError> {
        let mut lines = self.watch.clone();
        if let Some(path) = self.watch_file.as_deref().filter(|path| path.exists()) {
            let text = std::fs::read_to_string(path).map_err(LoadtestError::file(path))?;
            lines.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
        }
        if !lines.is_empty() {
            // What the generator takes from the shared processors belongs in the report.
            lines.push(format!("generator={}", std::process::id()));
        }
        lines.iter().map(|line| named_pid(line)).collect()
    }
}

impl CpuSample {
    /// What was used between `before` and this sample, over `requests` requests.
    #[must_use]
    pub fn since(&self, before: &CpuSample, requests: u64) -> Vec<ProcessUsage> {
        let used = |pid: u32, now: f64| now - before.0.iter().find(|old| old.1 == pid).map_or(0.0, |old| old.2);
        let usage = |(name, pid, now): &(String, u32, f64)| {
            let cpu_seconds = used(*pid, *now);
            let cpu_per_1000 = if requests == 0 { 0.0 } else { cpu_seconds * 1e3 / requests as f64 };
            ProcessUsage {
                name: name.clone(),
                pid: *pid,
                cpu_seconds,
                cpu_per_1000,
                rss_mib: rss_mib(*pid).unwrap_or(0.0),
            }
        };
        self.0.iter().map(usage).collect()
    }
}

fn named_pid(line: &str) -> Result<(String, u32), LoadtestError> {
    let pair = line.split_once('=').and_then(|(name, pid)| Some((name.trim().to_owned(), pid.trim().parse().ok()?)));
    pair.ok_or_else(|| LoadtestError::Input(format!("watched process {line:?}: expected NAME=PID")))
}

fn cpu_seconds(pid: u32) -> Option<f64> {
    parse_stat(&std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
}

/// User plus system time: fields 14 and 15. The name in field 2 may hold blanks and parentheses, so counting starts
/// behind it.
fn parse_stat(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

fn rss_mib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_hostile_process_name() {
        let stat =
            "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 100 1000 200 18446744073709551615";
        assert_eq!(parse_stat(stat), Some(3.0));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn the_test_itself_can_be_watched() {
        let watch = WatchArgs { watch: vec![format!("me={}", std::process::id())], watch_file: None };
        let before = watch.sample().unwrap();
        let usage = watch.since(&before, 1000).unwrap();
        assert_eq!(usage[0].name, "me");
        assert!(usage[0].rss_mib > 0.5, "{usage:?}");
        let wrong = WatchArgs { watch: vec!["me".into()], watch_file: None };
        assert!(wrong.sample().unwrap_err().to_string().contains("NAME=PID"));
    }
}
