//! The table: one line a row, and below it what was wrong.

use std::fmt::Write as _;

use super::catalog::FaultRow;
use super::row_run::RowEvidence;
use super::verdict::RowVerdict;

/// A row that was run, or not.
#[derive(Debug)]
pub(crate) struct RowOutcome {
    pub(crate) row: FaultRow,
    pub(crate) result: Result<(RowVerdict, RowFacts), String>,
}

/// What is known of a row beside its verdict.
#[derive(Debug, Default)]
pub(crate) struct RowFacts {
    pub(crate) complaints: Vec<String>,
    pub(crate) restarts: u64,
    pub(crate) largest_mib: f64,
    pub(crate) panics: usize,
    pub(crate) wanted_dead_letters: u64,
}

/// Above this a process's memory counts as unbounded: the limit that the manifests give to most services.
const MEMORY_MIB: f64 = 384.0;

impl RowFacts {
    pub(crate) fn of(evidence: &RowEvidence) -> Self {
        Self {
            complaints: evidence.complaints.clone(),
            restarts: evidence.restarts,
            largest_mib: evidence.largest_mib,
            panics: evidence.panics,
            wanted_dead_letters: evidence.wanted_dead_letters(),
        }
    }
}

impl RowOutcome {
    /// What is wrong with the row; nothing, if it holds. Times are printed and never wrong.
    pub(crate) fn faults(&self) -> Vec<String> {
        let (verdict, facts) = match &self.result {
            Ok(result) => result,
            Err(why) => return vec![why.clone()],
        };
        let counts = [
            ("lost", verdict.lost),
            ("doubled", verdict.doubled),
            ("wrong", verdict.wrong),
            ("phantom", verdict.phantom),
            ("contradictory", verdict.contradictory),
            ("answered with an error", verdict.other_errors()),
            ("late", if self.row.may_be_late { 0 } else { verdict.all_late() }),
            ("dead letters too many or too few", verdict.dead_letters.abs_diff(facts.wanted_dead_letters)),
            ("panics", facts.panics as u64),
        ];
        let mut wrong: Vec<String> =
            counts.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect();
        if facts.largest_mib > MEMORY_MIB {
            wrong.push(format!("a process of {:.0} MiB", facts.largest_mib));
        }
        wrong.extend(facts.complaints.iter().map(|text| text.lines().next().unwrap_or_default().to_owned()));
        wrong
    }

    /// Whether the row is as it should be: holds, or is known to fail.
    pub(crate) fn acceptable(&self) -> bool {
        self.row.known.is_some() || self.faults().is_empty()
    }

    /// The row's line of the table.
    pub(crate) fn line(&self) -> String {
        let FaultRow { id, name, known, .. } = self.row;
        let Ok((verdict, facts)) = &self.result else {
            let why = self.faults().join("; ");
            return format!("| {id} | {name} | - | - | - | - | - | - | - | - | - | - | - | {why} |");
        };
        let faults = self.faults();
        let word = match (faults.is_empty(), known) {
            (true, None) => "holds".to_owned(),
            (true, Some(known)) => format!("holds, though known to fail: {known}"),
            (false, None) => "**fails**".to_owned(),
            (false, Some(known)) => format!("fails, known: {known}"),
        };
        let RowVerdict { requests, lost, dead_letters, doubled, wrong, repeated_replies, .. } = verdict;
        format!(
            "| {id} | {name} | {requests} | {lost} | {dead_letters} | {doubled} | {} | {} | {:.1} s | {:.1} s | {} | {} | {:.0} | {word} |",
            wrong + verdict.phantom + verdict.contradictory,
            verdict.all_late(),
            verdict.longest_gap.as_secs_f64(),
            verdict.recovery.as_secs_f64(),
            repeated_replies,
            facts.restarts,
            facts.largest_mib,
        )
    }

    /// What was seen beside the counts, for whoever looks into a row.
    pub(crate) fn details(&self) -> String {
        let mut text = String::new();
        let faults = self.faults();
        if !faults.is_empty() {
            let _infallible = writeln!(text, "  {}: {}", self.row.id, faults.join("; "));
        }
        if let Ok((verdict, facts)) = &self.result {
            for line in verdict.examples.iter().chain(&facts.complaints) {
                let _infallible = writeln!(text, "    {line}");
            }
            if !verdict.errors.is_empty() {
                let _infallible = writeln!(text, "    error answers {:?}", verdict.errors);
            }
            if verdict.refused > 0 {
                let _infallible = writeln!(text, "    attempts that clients repeated: {}", verdict.refused);
            }
        }
        text
    }
}

/// The two lines above the rows.
pub(crate) const HEAD: &str = "\
| # | fault | requests | lost | dead letters | doubled | wrong | late | longest gap | recovery | repeated replies | restarts | MiB | |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// The line that says what the table was made with.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: f64 = kib.trim().trim_end_matches("kB").trim().parse().unwrap_or_default();
    let command: Vec<String> = std::env::args().skip(1).collect();
    format!("`forebay-loadtest {}` on {cores} cores, {:.0} GiB of memory", command.join(" "), kib / 1_048_576.0)
}
