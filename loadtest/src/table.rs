//! Markdown tables from reports.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::LoadtestError;
use crate::report::Report;

/// Prints the reports of a JSON-lines file as Markdown: latency runs, throughput runs, and processes.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// The file that `--json` wrote
    pub file: PathBuf,
    /// Also compare, rate by rate, the runs whose labels begin with these two words: medians of the runs, and second
    /// over first
    #[arg(long, num_args = 2, value_names = ["BASE", "OTHER"])]
    pub compare: Vec<String>,
}

impl TableArgs {
    /// Reads the file and prints the tables.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        let reports = read(&self.file)?;
        print!("{}", render(&reports));
        if let [base, other] = self.compare.as_slice() {
            print!("{}", comparison(&reports, base, other));
        }
        Ok(true)
    }
}

fn read(path: &Path) -> Result<Vec<Report>, LoadtestError> {
    let text = std::fs::read_to_string(path).map_err(LoadtestError::file(path))?;
    let parse = |(index, line): (usize, &str)| {
        let place = format!("{}, line {}", path.display(), index + 1);
        serde_json::from_str(line).map_err(|error| LoadtestError::Input(format!("{place}: {error}")))
    };
    text.lines().enumerate().map(parse).collect()
}

fn render(reports: &[Report]) -> String {
    let mut text = String::new();
    let (paced, filled): (Vec<&Report>, Vec<&Report>) = reports.iter().partition(|report| report.rate > 0.0);
    latency_table(&mut text, &paced);
    throughput_table(&mut text, &filled);
    process_table(&mut text, reports);
    text
}

fn errors(report: &Report) -> u64 {
    report.errors.values().sum()
}

fn latency_table(text: &mut String, reports: &[&Report]) {
    if reports.is_empty() {
        return;
    }
    text.push_str("| run | rate | rows | p50 ms | p95 ms | p99 ms | max ms | sent | lost | duplicates | errors | cached | generator late p99 ms |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for report in reports {
        let (p, late) = (report.latency_ms, report.late_ms.p99);
        let Report { label, rate, rows, sent, lost, duplicates, cached, .. } = report;
        let flag = if report.on_time() { "" } else { " (late)" };
        let _infallible = writeln!(
            text,
            "| {label} | {rate} | {rows} | {:.2} | {:.2} | {:.2} | {:.1} | {sent} | {lost} | {duplicates} | {} | {cached} | {late:.2}{flag} |",
            p.p50,
            p.p95,
            p.p99,
            p.max,
            errors(report)
        );
    }
    text.push('\n');
}

fn throughput_table(text: &mut String, reports: &[&Report]) {
    if reports.is_empty() {
        return;
    }
    text.push_str("| run | requests | requests/s | rows/s | from | 50-95 % window /s | lost | duplicates | errors |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for report in reports {
        let Report { label, sent, answered_per_s, window_per_s, counted_from, lost, duplicates, .. } = report;
        let rows = answered_per_s * report.rows.max(1) as f64;
        let window = if *window_per_s > 0.0 { format!("{window_per_s:.0}") } else { "-".to_owned() };
        let _infallible = writeln!(
            text,
            "| {label} | {sent} | {answered_per_s:.0} | {rows:.0} | {counted_from} | {window} | {lost} | {duplicates} | {} |",
            errors(report)
        );
    }
    text.push('\n');
}

fn process_table(text: &mut String, reports: &[Report]) {
    if reports.iter().all(|report| report.usage.is_empty()) {
        return;
    }
    text.push_str("| run | process | CPU s | CPU s per 1,000 requests | resident MiB |\n|---|---|---|---|---|\n");
    for report in reports {
        for usage in &report.usage {
            let _infallible = writeln!(
                text,
                "| {} | {} | {:.2} | {:.4} | {:.1} |",
                report.label, usage.name, usage.cpu_seconds, usage.cpu_per_1000, usage.rss_mib
            );
        }
    }
    text.push('\n');
}

/// Medians of p50 and p99 over the runs of each of two systems, and their quotients, for every rate that both were run
/// at.
fn comparison(reports: &[Report], base: &str, other: &str) -> String {
    let mut text = format!("| rate | {base} p50 | {other} p50 | quotient | {base} p99 | {other} p99 | quotient |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    let of = |system: &str, rate: f64| {
        reports.iter().filter(move |report| belongs(report, system) && report.rate == rate).collect::<Vec<_>>()
    };
    let mut rates: Vec<f64> = reports.iter().map(|report| report.rate).filter(|rate| *rate > 0.0).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    for rate in rates {
        let (bases, others) = (of(base, rate), of(other, rate));
        if bases.is_empty() || others.is_empty() {
            continue;
        }
        let cell = |pick: fn(&Report) -> f64| {
            let (base, other) =
                (median(bases.iter().map(|report| pick(report))), median(others.iter().map(|report| pick(report))));
            format!("{base:.2} | {other:.2} | {:.2}", other / base)
        };
        let (p50, p99) = (cell(|report| report.latency_ms.p50), cell(|report| report.latency_ms.p99));
        let _infallible = writeln!(text, "| {rate} | {p50} | {p99} |");
    }
    if text.lines().count() == 2 { String::new() } else { text + "\n" }
}

fn belongs(report: &Report, system: &str) -> bool {
    report.label.split(' ').next() == Some(system)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_compared_by_the_medians_of_their_runs() {
        let run = |label: &str, rate, p50| {
            let latency_ms = crate::latency::Percentiles { p50, p99: p50 * 2.0, ..Default::default() };
            Report { label: label.into(), rate, latency_ms, ..Report::default() }
        };
        let reports = [
            run("relay 200/s 1", 200.0, 4.0),
            run("relay 200/s 2", 200.0, 6.0),
            run("mesh 200/s 1", 200.0, 7.5),
            run("mesh 9/s", 9.0, 1.0),
        ];
        let text = comparison(&reports, "relay", "mesh");
        assert!(text.contains("| 200 | 5.00 | 7.50 | 1.50 | 10.00 | 15.00 | 1.50 |"), "{text}");
        assert!(!text.contains("| 9 |"), "{text}");
        assert_eq!(comparison(&reports, "relay", "absent"), "");
    }

    #[test]
    fn paced_and_filled_runs_land_in_their_own_tables() {
        let paced = Report { label: "mesh".into(), rate: 200.0, sent: 600, ..Report::default() };
        let filled =
            Report { label: "drain".into(), sent: 1000, answered_per_s: 31_000.0, rows: 1, ..Report::default() };
        let text = render(&[paced, filled]);
        assert!(text.contains("| mesh | 200 |"), "{text}");
        assert!(text.contains("| drain | 1000 | 31000 | 31000 |"), "{text}");
    }
}
