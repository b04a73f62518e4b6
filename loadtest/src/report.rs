//! What a run found: for people on the terminal, for scripts as one JSON line.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::error::LoadtestError;
use crate::latency::Percentiles;
use crate::usage::ProcessUsage;

/// A generator that is itself later than this at the 99th percentile measures itself.
const LATE_LIMIT_MS: f64 = 5.0;

/// Where the report goes.
#[derive(Debug, Clone, Default, Args)]
pub struct OutputArgs {
    /// Append the report as one JSON line to this file (`table` turns such a file into Markdown)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Name of the run in tables
    #[arg(long, default_value = "")]
    pub label: String,
    /// Exit with 0 although requests were answered with errors (losses and duplicates still exit with 1)
    #[arg(long)]
    pub allow_errors: bool,
}

/// One run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Name in tables.
    pub label: String,
    /// Which command measured.
    pub kind: String,
    /// Prefix of its request ids.
    pub run: String,
    /// Requested rate, in requests per second; 0 = as fast as possible.
    pub rate: f64,
    /// Rows in a request.
    pub rows: usize,
    /// Requests sent, warm-up included.
    pub sent: u64,
    /// Requests that were never accepted (no acknowledgement, no connection): not lost, but not done either.
    pub refused: u64,
    /// Requests with an answer.
    pub answered: u64,
    /// Accepted and not answered.
    pub lost: u64,
    /// Second and further answers to the same request.
    pub duplicates: u64,
    /// Answers to requests that were never sent, or to requests of another client.
    pub unknown: u64,
    /// Result records that are not JSON.
    pub unreadable: u64,
    /// Answers out of the cache.
    pub cached: u64,
    /// Failures by code.
    pub errors: BTreeMap<String, u64>,
    /// Numbers of some lost requests.
    pub lost_examples: Vec<u64>,
    /// Answers per second over the whole run.
    pub answered_per_s: f64,
    /// From the scheduled send to the answer; in a closed loop (rate 0) from the real send.
    pub latency_ms: Percentiles,
    /// From the scheduled send to the real one.
    pub late_ms: Percentiles,
    /// With a filled topic, answers per second between 50 % and 95 % of the answers; 0 otherwise.
    pub window_per_s: f64,
    /// With a filled topic, what `answered_per_s` counts from; empty otherwise.
    pub counted_from: String,
    /// Watched processes.
    pub usage: Vec<ProcessUsage>,
}

impl Report {
    /// Nothing lost, nothing twice, nothing unknown, and no errors unless they are allowed.
    #[must_use]
    pub fn clean(&self, allow_errors: bool) -> bool {
        let wrong = self.lost + self.duplicates + self.unknown + self.unreadable;
        wrong == 0 && (allow_errors || (self.errors.is_empty() && self.refused == 0))
    }

    /// Whether the generator kept its schedule well enough for the latencies to mean something.
    #[must_use]
    pub fn on_time(&self) -> bool {
        self.late_ms.p99 <= LATE_LIMIT_MS
    }

    /// Prints the report, appends it to the JSON file if there is one, and says whether the run was clean.
    pub fn publish(mut self, output: &OutputArgs) -> Result<bool, LoadtestError> {
        self.label.clone_from(&output.label);
        println!("{self}");
        if let Some(path) = &output.json {
            let open = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let mut file = open.map_err(LoadtestError::file(path))?;
            let line = serde_json::to_string(&self).map_err(|error| LoadtestError::Input(error.to_string()))?;
            writeln!(file, "{line}").map_err(LoadtestError::file(path))?;
        }
        Ok(self.clean(output.allow_errors))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = if self.label.is_empty() { &self.kind } else { &self.label };
        let rate = if self.rate > 0.0 { format!("{}/s", self.rate) } else { "as fast as possible".to_owned() };
        writeln!(f, "{title} ({}, run {}): {rate}, {} row(s) a request", self.kind, self.run, self.rows)?;
        let Self { sent, refused, answered, lost, duplicates, unknown, unreadable, cached, .. } = self;
        write!(f, "  sent {sent}  refused {refused}  answered {answered}  lost {lost}  duplicates {duplicates}")?;
        writeln!(f, "  unknown {unknown}  unreadable {unreadable}  cached {cached}")?;
        for (code, count) in &self.errors {
            writeln!(f, "  error {code}: {count}")?;
        }
        if !self.lost_examples.is_empty() {
            writeln!(f, "  lost, for example: {:?}", self.lost_examples)?;
        }
        if self.latency_ms.count > 0 {
            let since = if self.rate > 0.0 {
                "from the scheduled send"
            } else {
                "closed loop: from the real send, omits stalls"
            };
            writeln!(f, "  latency   {}  ({} requests, {since})", self.latency_ms, self.latency_ms.count)?;
        }
        if self.late_ms.count > 0 {
            let verdict = if self.on_time() { "" } else { "  ** late: the latencies measure the generator **" };
            writeln!(f, "  generator late {}{verdict}", self.late_ms)?;
        }
        write!(f, "  {:.0} answers/s", self.answered_per_s)?;
        if self.rows > 1 {
            write!(f, ", {:.0} rows/s", self.answered_per_s * self.rows as f64)?;
        }
        if self.window_per_s > 0.0 {
            write!(f, " from {}; {:.0}/s from 50 % to 95 % of the answers", self.counted_from, self.window_per_s)?;
        }
        for ProcessUsage { name, cpu_seconds, cpu_per_1000, rss_mib, .. } in &self.usage {
            write!(
                f,
                "\n  {name}: {cpu_seconds:.2} CPU s, {cpu_per_1000:.4} per 1,000 requests, {rss_mib:.1} MiB resident"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_clean_only_without_losses_duplicates_and_errors() {
        let clean = Report { sent: 10, answered: 10, ..Report::default() };
        assert!(clean.clean(false));
        assert!(!Report { lost: 1, ..clean.clone() }.clean(true));
        assert!(!Report { duplicates: 1, ..clean.clone() }.clean(true));
        assert!(!Report { unknown: 1, ..clean.clone() }.clean(true));
        let failed = Report { errors: BTreeMap::from([("internal".to_owned(), 1)]), ..clean };
        assert!(failed.clean(true) && !failed.clean(false));
    }

    #[test]
    fn a_closed_loop_does_not_claim_a_schedule() {
        let latency_ms = Percentiles { count: 1, ..Percentiles::default() };
        let paced = Report { rate: 10.0, latency_ms, ..Report::default() };
        assert!(paced.to_string().contains("from the scheduled send"));
        let closed = Report { rate: 0.0, latency_ms, ..Report::default() }.to_string();
        assert!(closed.contains("closed loop") && !closed.contains("scheduled"), "{closed}");
    }

    #[test]
    fn the_json_file_grows_by_one_line_a_run_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.jsonl");
        let output = OutputArgs { json: Some(path.clone()), label: "mesh 200/s".into(), allow_errors: false };
        assert!(Report { sent: 1, answered: 1, ..Report::default() }.publish(&output).unwrap());
        assert!(!Report { sent: 1, lost: 1, ..Report::default() }.publish(&output).unwrap());
        let text = std::fs::read_to_string(path).unwrap();
        let reports: Vec<Report> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((reports.len(), reports[1].lost), (2, 1));
        assert_eq!(reports[0].label, "mesh 200/s");
    }
}
