//! The table: one line a row, and below it what was wrong.

use std::fmt::Write as _;
use std::time::Duration;

use super::catalog::FaultRow;
use super::counts::{Count, Failure};
use super::evidence::RowEvidence;
use super::process_watch::ProcessTrends;
use super::verdict::RowVerdict;

/// A row that was run, or not.
#[derive(Debug)]
pub(crate) struct RowOutcome {
    pub(crate) row: FaultRow,
    pub(crate) result: Result<(RowVerdict, RowFacts), NotJudged>,
}

/// Why a row has no verdict.
#[derive(Debug)]
pub(crate) enum NotJudged {
    /// What it needs is not there; the table says so.
    NotRun(String),
    /// It should have been possible.
    Failed(String),
}

/// What is known of a row beside its verdict.
#[derive(Debug, Default)]
pub(crate) struct RowFacts {
    pub(crate) complaints: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) restarts: u64,
    pub(crate) usage: ProcessTrends,
    pub(crate) panics: usize,
    pub(crate) wanted_dead_letters: u64,
    /// How long recovery may take; unbounded where the machine's speed is not to be judged.
    pub(crate) longest_recovery: Option<Duration>,
}

/// Recovery may take so long after the end of a fault, or a session, which a dead member keeps its partitions for.
const RECOVERY: Duration = Duration::from_secs(10);

/// Above this a process's memory counts as unbounded: the limit that the manifests give to most services.
const MEMORY_MIB: f64 = 384.0;
/// A process that was observed for this long must not grow faster than the bounds below, per minute.
const GROWTH_SECONDS: f64 = 600.0;
const GROWTH_MIB: f64 = 0.5;
const GROWTH_DESCRIPTORS: f64 = 0.5;
const GROWTH_THREADS: f64 = 0.2;

impl RowFacts {
    /// The facts of a row; with the session of its members, recovery is judged as well.
    pub(crate) fn of(evidence: &RowEvidence, session: Option<Duration>) -> Self {
        Self {
            longest_recovery: session.map(|session| session.max(RECOVERY)),
            complaints: evidence.complaints.clone(),
            notes: evidence.notes.clone(),
            restarts: evidence.restarts,
            usage: evidence.usage.clone(),
            panics: evidence.panics,
            wanted_dead_letters: evidence.wanted_dead_letters(),
        }
    }

    fn usage_failures(&self) -> Vec<Failure> {
        let mut wrong = Vec::new();
        if self.usage.mib > MEMORY_MIB {
            wrong.push(Failure { count: Count::Memory, text: format!("a process of {:.0} MiB", self.usage.mib) });
        }
        let long = self.usage.growth.filter(|growth| growth.seconds >= GROWTH_SECONDS);
        if let Some(growth) = long
            && (growth.mib > GROWTH_MIB || growth.descriptors > GROWTH_DESCRIPTORS || growth.threads > GROWTH_THREADS)
        {
            wrong.push(Failure { count: Count::Growth, text: format!("a process grows: {growth}") });
        }
        wrong
    }
}

impl RowOutcome {
    /// What is wrong with the row; nothing, if it holds. Of the times only recovery may be wrong, the others are printed.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        let (verdict, facts) = match &self.result {
            Ok(result) => result,
            Err(NotJudged::NotRun(text) | NotJudged::Failed(text)) => {
                return vec![Failure { count: Count::Run, text: text.clone() }];
            }
        };
        let counts = [
            (Count::Lost, verdict.lost),
            (Count::Doubled, verdict.doubled),
            (Count::Wrong, verdict.wrong),
            (Count::Phantom, verdict.phantom),
            (Count::Contradictory, verdict.contradictory),
            (Count::Errors, verdict.other_errors()),
            (Count::Late, if self.row.may_be_late { 0 } else { verdict.all_late() }),
            (Count::DeadLetters, verdict.dead_letters.abs_diff(facts.wanted_dead_letters)),
            (Count::RepeatedReplies, if self.row.replies_may_repeat { 0 } else { verdict.repeated_replies }),
            (Count::Panics, facts.panics as u64),
        ];
        let counted = counts.into_iter().filter(|(_, number)| *number > 0);
        let counted = counted.map(|(count, number)| Failure { count, text: format!("{number} {}", count.name()) });
        let slow = facts.longest_recovery.filter(|longest| verdict.recovery > *longest).map(|longest| Failure {
            count: Count::Recovery,
            text: format!(
                "recovery took {:.1} s, at most {:.0} s",
                verdict.recovery.as_secs_f64(),
                longest.as_secs_f64()
            ),
        });
        let line = |text: &String| text.lines().next().unwrap_or_default().to_owned();
        let checks = facts.complaints.iter().map(|text| Failure { count: Count::Check, text: line(text) });
        counted.chain(slow).chain(facts.usage_failures()).chain(checks).collect()
    }

    /// The failures that the catalog does not know of.
    fn unknown_failures(&self) -> Vec<Failure> {
        let excused = |failure: &Failure| self.row.known.iter().any(|excuse| excuse.count == failure.count);
        self.failures().into_iter().filter(|failure| !excused(failure)).collect()
    }

    /// Whether the row is as it should be: holds, or fails in nothing but what is known.
    pub(crate) fn acceptable(&self) -> bool {
        matches!(self.result, Err(NotJudged::NotRun(_))) || self.unknown_failures().is_empty()
    }

    /// The row's word: holds, fails, or fails as it is known to.
    fn word(&self) -> String {
        let (failures, unknown) = (self.failures(), self.unknown_failures());
        let reasons: Vec<String> =
            self.row.known.iter().map(|excuse| format!("{}: {}", excuse.count.name(), excuse.why)).collect();
        match (failures.is_empty(), unknown.is_empty(), reasons.is_empty()) {
            (true, _, true) => "holds".to_owned(),
            (true, _, false) => format!("holds, though known to fail ({})", reasons.join("; ")),
            (false, true, _) => format!("fails, known ({})", reasons.join("; ")),
            (false, false, _) => {
                let texts: Vec<String> = unknown.into_iter().map(|failure| failure.text).collect();
                format!("**fails**: {}", texts.join("; "))
            }
        }
    }

    /// The row's line of the table.
    pub(crate) fn line(&self) -> String {
        let FaultRow { id, name, .. } = self.row;
        let Ok((verdict, facts)) = &self.result else {
            let why: Vec<String> = self.failures().into_iter().map(|failure| failure.text).collect();
            return format!("| {id} | {name} |{} {} |", " - |".repeat(13), why.join("; "));
        };
        let RowVerdict { requests, lost, dead_letters, doubled, wrong, repeated_replies, .. } = verdict;
        let growth = facts.usage.growth.map_or_else(|| "-".to_owned(), |growth| format!("{:+.2}", growth.mib));
        format!(
            "| {id} | {name} | {requests} | {lost} | {dead_letters} | {doubled} | {} | {} | {repeated_replies} | {:.1} s | {:.1} s | {} | {:.0} | {} | {growth} | {} |",
            wrong + verdict.phantom + verdict.contradictory,
            verdict.all_late(),
            verdict.longest_gap.as_secs_f64(),
            verdict.recovery.as_secs_f64(),
            facts.restarts,
            facts.usage.mib,
            facts.usage.descriptors,
            self.word(),
        )
    }

    /// What was seen beside the counts, for whoever looks into a row.
    pub(crate) fn details(&self) -> String {
        let mut text = String::new();
        let failures: Vec<String> = self.failures().into_iter().map(|failure| failure.text).collect();
        let word = if failures.is_empty() { "holds".to_owned() } else { failures.join("; ") };
        let _infallible = writeln!(text, "  {}: {word}", self.row.id);
        let Ok((verdict, facts)) = &self.result else { return text };
        for line in verdict.examples.iter().chain(&facts.complaints).chain(&facts.notes) {
            let _infallible = writeln!(text, "    {line}");
        }
        let [half, most] = verdict.latencies.map(|it| it.as_secs_f64());
        let _infallible = writeln!(text, "    from the fault on: P50 {half:.3} s, P99 {most:.3} s");
        if !verdict.errors.is_empty() {
            let _infallible = writeln!(text, "    error answers {:?}", verdict.errors);
        }
        if verdict.refused > 0 {
            let _infallible = writeln!(text, "    attempts that clients repeated: {}", verdict.refused);
        }
        let ProcessTrends { mib, descriptors, threads, growth, .. } = &facts.usage;
        let fastest = growth.map_or_else(|| "no process lived for long enough".to_owned(), |it| it.to_string());
        let _infallible = writeln!(
            text,
            "    processes: at most {mib:.0} MiB, {descriptors} descriptors, {threads} threads; growth: {fastest}"
        );
        if growth.is_some_and(|growth| growth.seconds >= GROWTH_SECONDS) {
            for line in &facts.usage.processes {
                let _infallible = writeln!(text, "      {line}");
            }
        }
        text
    }
}

/// The two lines above the rows.
pub(crate) const HEAD: &str = "\
| # | fault | requests | lost | dead letters | doubled | wrong | late | repeated replies | longest gap | recovery | restarts | MiB | descriptors | MiB/min | |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// The line that says what the table was made with.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: f64 = kib.trim().trim_end_matches("kB").trim().parse().unwrap_or_default();
    let command: Vec<String> = std::env::args().skip(1).collect();
    format!("`forebay-loadtest {}` on {cores} cores, {:.0} GiB of memory", command.join(" "), kib / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::catalog::ROWS;
    use crate::faults::counts::Excuse;
    use crate::faults::process_watch::ProcessGrowth;

    const KNOWN: &[Excuse] = &[Excuse { count: Count::Late, why: "the model is slow" }];

    fn outcome(known: &'static [Excuse], verdict: RowVerdict, facts: RowFacts) -> RowOutcome {
        let row = FaultRow { known, may_be_late: false, replies_may_repeat: false, ..ROWS[0] };
        RowOutcome { row, result: Ok((verdict, facts)) }
    }

    #[test]
    fn a_known_count_excuses_itself_and_nothing_else() {
        let late = RowVerdict { late: 3, ..RowVerdict::default() };
        assert!(!outcome(&[], late.clone(), RowFacts::default()).acceptable());
        assert!(outcome(KNOWN, late.clone(), RowFacts::default()).acceptable());
        let lost = RowVerdict { lost: 1, ..late };
        let outcome = outcome(KNOWN, lost, RowFacts::default());
        assert!(!outcome.acceptable());
        assert!(outcome.line().ends_with("**fails**: 1 lost |"), "{}", outcome.line());
    }

    #[test]
    fn a_recovery_that_takes_too_long_fails_a_row_where_it_is_judged() {
        let verdict = RowVerdict { recovery: Duration::from_millis(10_100), ..RowVerdict::default() };
        let facts = |longest_recovery| RowFacts { longest_recovery, ..RowFacts::default() };
        assert!(outcome(&[], verdict.clone(), facts(None)).acceptable());
        assert!(outcome(&[], verdict.clone(), facts(Some(Duration::from_secs(12)))).acceptable());
        assert!(!outcome(&[], verdict, facts(Some(RECOVERY))).acceptable());
    }

    #[test]
    fn replies_may_repeat_only_where_the_row_allows_it() {
        let verdict = RowVerdict { repeated_replies: 1, ..RowVerdict::default() };
        let mut outcome = outcome(&[], verdict, RowFacts::default());
        assert!(!outcome.acceptable());
        outcome.row.replies_may_repeat = true;
        assert!(outcome.acceptable());
    }

    #[test]
    fn memory_that_was_large_once_and_growth_over_a_long_time_fail_a_row() {
        let facts = |mib, growth| {
            let growth = Some(ProcessGrowth { mib: growth, seconds: 900.0, ..ProcessGrowth::default() });
            RowFacts { usage: ProcessTrends { mib, growth, ..ProcessTrends::default() }, ..RowFacts::default() }
        };
        for (mib, growth, holds) in [(80.0, 0.1, true), (500.0, 0.1, false), (80.0, 2.0, false)] {
            assert_eq!(outcome(&[], RowVerdict::default(), facts(mib, growth)).acceptable(), holds);
        }
    }
}
