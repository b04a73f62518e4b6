//! The table: one line an attack, and below it what was wrong.

use std::fmt::Write as _;

use super::normal_http::NormalOutcome;

/// The largest memory of a process during an attack.
#[derive(Debug, Clone)]
pub(crate) struct ProcessPeak {
    pub(crate) name: String,
    /// Bytes.
    pub(crate) peak: u64,
    pub(crate) limit: u64,
}

/// An attack that was run.
#[derive(Debug, Default)]
pub(crate) struct AttackOutcome {
    pub(crate) name: &'static str,
    pub(crate) form: &'static str,
    pub(crate) sent: String,
    pub(crate) answers: String,
    pub(crate) peaks: Vec<ProcessPeak>,
    pub(crate) normal: NormalOutcome,
    /// Processes that ended, and what the attack found.
    pub(crate) complaints: Vec<String>,
}

/// The two lines above the rows.
pub(crate) const HEAD: &str = "\
| attack | mesh | sent | answers | peak of limit, MiB | normal requests | answered | failed | repeated | P50 | P99 | |
|---|---|---|---|---|---|---|---|---|---|---|---|";

impl AttackOutcome {
    /// What is wrong: normal requests that were not answered, processes that ended or passed their limit.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mib = |bytes: u64| bytes >> 20;
        let above = self.peaks.iter().filter(|it| it.peak > it.limit);
        let above = above.map(|it| format!("{} took {} MiB of {}", it.name, mib(it.peak), mib(it.limit)));
        let failed = self.normal.failed.len();
        let lost = (failed > 0).then(|| format!("normal traffic: {}", self.normal.failed[..failed.min(3)].join("; ")));
        let idle = (self.normal.requests == 0).then(|| "there was no normal traffic".to_owned());
        above.chain(lost).chain(idle).chain(self.complaints.iter().cloned()).collect()
    }

    /// Its line of the table.
    pub(crate) fn line(&self) -> String {
        let NormalOutcome { requests, answered, repeated, latencies, .. } = &self.normal;
        let peaks: Vec<String> = self.peaks.iter().map(peak).collect();
        let word = if self.failures().is_empty() { "holds" } else { "**fails**" };
        format!(
            "| {} | {} | {} | {} | {} | {requests} | {answered} | {} | {} | {:.0} ms | {:.0} ms | {word} |",
            self.name,
            self.form,
            self.sent,
            self.answers,
            peaks.join(", "),
            requests.saturating_sub(*answered),
            repeated.values().sum::<u64>(),
            latencies.p50,
            latencies.p99,
        )
    }

    /// What was seen beside the counts, if something was wrong.
    pub(crate) fn details(&self) -> String {
        let mut text = String::new();
        for failure in self.failures() {
            let _infallible = writeln!(text, "  {}: {failure}", self.name);
        }
        if !self.normal.repeated.is_empty() {
            let _infallible =
                writeln!(text, "  {}: attempts that were repeated: {:?}", self.name, self.normal.repeated);
        }
        text
    }
}

fn peak(of: &ProcessPeak) -> String {
    format!("{} {}/{}", of.name, of.peak >> 20, of.limit >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> AttackOutcome {
        let normal = NormalOutcome { requests: 10, answered: 10, ..NormalOutcome::default() };
        AttackOutcome { name: "attack", normal, ..AttackOutcome::default() }
    }

    #[test]
    fn an_attack_fails_on_lost_requests_on_memory_and_on_ended_processes() {
        assert!(outcome().failures().is_empty());
        let peaks = |peak| vec![ProcessPeak { name: "caching".into(), peak, limit: 100 << 20 }];
        assert!(AttackOutcome { peaks: peaks(100 << 20), ..outcome() }.failures().is_empty());
        let above = AttackOutcome { peaks: peaks(101 << 20), ..outcome() };
        assert_eq!(above.failures(), ["caching took 101 MiB of 100"]);
        assert!(above.line().ends_with("**fails** |"));
        let normal = NormalOutcome { failed: vec!["503".into()], ..outcome().normal };
        assert_eq!(AttackOutcome { normal, ..outcome() }.failures().len(), 1);
        assert_eq!(AttackOutcome { normal: NormalOutcome::default(), ..outcome() }.failures().len(), 1);
        assert_eq!(AttackOutcome { complaints: vec!["ended".into()], ..outcome() }.failures(), ["ended"]);
    }
}
