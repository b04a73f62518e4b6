//! Conservation: every accepted request is answered exactly once and in time, nothing else is answered, and predictions are
//! the model's own: equal for equal features, and what the model's origin predicts where that is known.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::oracle::OracleEvent;
use crate::received_result::{ReceivedResult, ResultStatus};

/// Which violations are tolerated.
#[derive(Debug, Clone, Copy, Default)]
pub struct JudgeRules {
    /// Answers to runs that no oracle knows belong to other clients and are not violations.
    pub ignore_other_runs: bool,
    /// A request that is in the dead letters only counts as accounted for.
    pub allow_dead_letters: bool,
    /// How many error answers are tolerated; `None` = any number.
    pub max_errors: Option<u64>,
    /// How long after it was sent a request may be answered; `None` = any time.
    pub late_after: Option<Duration>,
}

#[derive(Debug, Default)]
struct RequestRecord {
    checksum: Option<u64>,
    /// The bits of what the model's origin predicts.
    origin: Option<u64>,
    sent_us: u64,
    accepted: bool,
    answers: u32,
    /// What the first answer said: the prediction, or that there is none.
    first: Option<u64>,
    dead_letters: u32,
}

/// Compares the oracles with what is in the topics.
#[derive(Debug, Default)]
pub struct Judge {
    rules: JudgeRules,
    cases: HashMap<String, RequestRecord>,
    /// Run ids that the oracles know.
    runs: HashSet<String>,
    /// First prediction seen for (features, answering version).
    predictions: HashMap<(u64, String), (u64, String)>,
    findings: JudgeFindings,
}

/// The outcome: counts, and a few examples of each kind of violation.
#[derive(Debug, Default, Clone)]
pub struct JudgeFindings {
    /// Requests in the oracles.
    pub sent: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// Requests with exactly one answer.
    pub answered_once: u64,
    /// Answers that were errors, by code.
    pub errors: BTreeMap<String, u64>,
    /// Dead letters without a request id: other requests', or garbage.
    pub anonymous_dead_letters: u64,
    /// Violations by kind, with examples.
    pub violations: BTreeMap<&'static str, (u64, Vec<String>)>,
}

const EXAMPLES: usize = 5;

#[derive(Deserialize)]
struct LabelledRecord<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
}

impl Judge {
    /// A judge with these rules.
    #[must_use]
    pub fn new(rules: JudgeRules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Takes one line of an oracle.
    pub fn event(&mut self, event: OracleEvent) {
        let mut sent_us = 0;
        let (id, checksum, accepted) = match event {
            OracleEvent::Sent { id, checksum, at_us } => {
                sent_us = at_us;
                (id, Some(checksum), false)
            }
            OracleEvent::Accepted(id) => (id, None, true),
            OracleEvent::Refused(id) => (id, None, false),
        };
        if let Some((run, _)) = id.rsplit_once('-')
            && !self.runs.contains(run)
        {
            self.runs.insert(run.to_owned());
        }
        let case = self.cases.entry(id).or_default();
        case.checksum = checksum.or(case.checksum);
        case.accepted |= accepted;
        case.sent_us = case.sent_us.max(sent_us);
    }

    /// Says what the model's origin predicts for a request with one row.
    pub fn origin(&mut self, id: &str, prediction: f64) {
        self.cases.entry(id.to_owned()).or_default().origin = Some(prediction.to_bits());
    }

    /// Takes one record of the result topic, with when it was seen, microseconds since 1970.
    pub fn answer_at(&mut self, bytes: &[u8], at_us: u64) {
        let id = ReceivedResult::parse(bytes).ok().and_then(|answer| answer.request_id);
        if let Some((limit, id)) = self.rules.late_after.zip(id)
            && let Some(case) = self.cases.get(id.as_ref())
            && case.answers == 0
            && case.sent_us > 0
            && u128::from(at_us.saturating_sub(case.sent_us)) > limit.as_micros()
        {
            self.findings.add("answered late", id.into_owned());
        }
        self.answer(bytes);
    }

    /// Takes one record of the result topic.
    pub fn answer(&mut self, bytes: &[u8]) {
        let Ok(answer) = ReceivedResult::parse(bytes) else {
            return self
                .findings
                .add("unreadable result", String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned());
        };
        let Some(id) = answer.request_id.as_deref() else {
            if !self.rules.ignore_other_runs {
                self.findings.add(
                    "answer without a request id",
                    String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned(),
                );
            }
            return;
        };
        let Some(case) = self.cases.get_mut(id) else {
            let ours = id.rsplit_once('-').is_some_and(|(run, _)| self.runs.contains(run));
            if ours || !self.rules.ignore_other_runs {
                self.findings.add("answer to an unknown request", id.to_owned());
            }
            return;
        };
        case.answers += 1;
        let print = answer.fingerprint();
        if case.answers > 1 {
            if case.first != print {
                self.findings.add("contradictory answers", id.to_owned());
            }
            return self.findings.add("answered more than once", id.to_owned());
        }
        case.first = print;
        if let ResultStatus::Failed(code) = answer.status(1)
            && answer.error.is_some()
        {
            return *self.findings.errors.entry(code).or_default() += 1;
        }
        let Some((checksum, print)) = case.checksum.zip(print) else {
            return self.findings.add("neither prediction nor error", id.to_owned());
        };
        if case.origin.is_some_and(|origin| origin != print) {
            let example = format!("{id}: {}", answer.prediction.map_or("", |prediction| prediction.get()));
            self.findings.add("not what the model's origin predicts", example);
        }
        let version = answer.model_version.as_deref().unwrap_or_default().to_owned();
        let (first, first_id) = self.predictions.entry((checksum, version)).or_insert_with(|| (print, id.to_owned()));
        if *first != print {
            let example = format!("{id} differs from {first_id}");
            self.findings.add("equal features, different prediction", example);
        }
    }

    /// Takes the payload of one dead letter.
    pub fn dead_letter(&mut self, bytes: &[u8]) {
        let labelled: Option<LabelledRecord<'_>> = serde_json::from_slice(bytes).ok();
        match labelled.and_then(|labelled| self.cases.get_mut(labelled.request_id.as_ref())) {
            Some(case) => case.dead_letters += 1,
            None => self.findings.anonymous_dead_letters += 1,
        }
    }

    /// Checks every request of the oracles, and returns all violations.
    #[must_use]
    pub fn findings(mut self) -> JudgeFindings {
        for (id, case) in self.cases {
            self.findings.sent += 1;
            self.findings.accepted += u64::from(case.accepted);
            self.findings.answered_once += u64::from(case.answers == 1);
            if case.answers > 0 || !case.accepted {
                continue;
            }
            if case.dead_letters == 0 {
                self.findings.add("accepted and never answered", id);
            } else if !self.rules.allow_dead_letters {
                self.findings.add("dead letter only, never answered", id);
            }
        }
        let errors: u64 = self.findings.errors.values().sum();
        if self.rules.max_errors.is_some_and(|limit| errors > limit) {
            let codes = format!("{:?}", self.findings.errors);
            self.findings.violations.insert("more errors than allowed", (errors, vec![codes]));
        }
        self.findings
    }
}

impl JudgeFindings {
    fn add(&mut self, kind: &'static str, example: String) {
        let (count, examples) = self.violations.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example);
        }
    }

    /// How many violations of a kind there are.
    #[must_use]
    pub fn count(&self, kind: &str) -> u64 {
        self.violations.get(kind).map_or(0, |(count, _)| *count)
    }

    /// Whether nothing was violated.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for JudgeFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, accepted, answered_once, anonymous_dead_letters, .. } = self;
        writeln!(f, "sent {sent}  accepted {accepted}  answered once {answered_once}")?;
        writeln!(f, "error answers {:?}  dead letters without a known request {anonymous_dead_letters}", self.errors)?;
        for (kind, (count, examples)) in &self.violations {
            writeln!(f, "VIOLATION {kind}: {count}, for example {}", examples.join(" | "))?;
        }
        f.write_str(if self.clean() { "conserved" } else { "NOT conserved" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rules: JudgeRules) -> Judge {
        let mut judge = Judge::new(rules);
        for index in 0..4 {
            judge.event(OracleEvent::Sent { id: format!("run-{index}"), checksum: index / 2, at_us: 0 });
            judge.event(OracleEvent::Accepted(format!("run-{index}")));
        }
        judge
    }

    fn answer(id: &str, prediction: &str) -> Vec<u8> {
        format!(r#"{{"request_id":"{id}","prediction":{prediction},"model_version":"v1"}}"#).into_bytes()
    }

    fn kinds(judge: Judge) -> Vec<&'static str> {
        judge.findings().violations.into_keys().collect()
    }

    fn answered() -> Judge {
        let mut judge = judge(JudgeRules::default());
        for (id, prediction) in [("run-0", "1.5"), ("run-1", "1.5"), ("run-2", "2.5"), ("run-3", "2.5")] {
            judge.answer(&answer(id, prediction));
        }
        judge
    }

    #[test]
    fn a_perfect_run_is_conserved() {
        let findings = answered().findings();
        assert!(findings.clean(), "{findings}");
        assert_eq!((findings.accepted, findings.answered_once), (4, 4));
    }

    #[test]
    fn a_lost_request_is_found() {
        let mut judge = judge(JudgeRules::default());
        judge.answer(&answer("run-0", "1.5"));
        let findings = judge.findings();
        assert_eq!(findings.violations["accepted and never answered"].0, 3);
        assert!(findings.to_string().contains("NOT conserved"));
    }

    #[test]
    fn a_duplicate_is_found_even_when_it_is_equal() {
        let mut judge = answered();
        judge.answer(&answer("run-2", "2.5"));
        assert_eq!(kinds(judge), vec!["answered more than once"]);
    }

    #[test]
    fn dropped_doubled_altered_invented_late_and_contradictory_results_are_each_found() {
        type Damage = fn(&mut Vec<(Vec<u8>, u64)>);
        let error = |id: &str| format!(r#"{{"request_id":"{id}","prediction":null,"error":{{"code":"internal"}}}}"#);
        let cases: [(Damage, &[&str]); 7] = [
            (|_| {}, &[]),
            (|answers| drop(answers.remove(1)), &["accepted and never answered"]),
            (|answers| answers.push(answers[2].clone()), &["answered more than once"]),
            (|answers| answers[0].0 = answer("run-0", "1.5000000000000002"), &["not what the model's origin predicts"]),
            (|answers| answers.push((answer("run-7", "1.5"), 0)), &["answer to an unknown request"]),
            (|answers| answers[3].1 = 2_000_002, &["answered late"]),
            (|answers| answers.push((Vec::new(), 5)), &["answered more than once", "contradictory answers"]),
        ];
        for (damage, expected) in cases {
            let mut judge =
                Judge::new(JudgeRules { late_after: Some(Duration::from_secs(2)), ..JudgeRules::default() });
            let mut answers = Vec::new();
            for (index, prediction) in [1.5, 2.5, 3.5, 4.5].into_iter().enumerate() {
                let id = format!("run-{index}");
                judge.event(OracleEvent::Sent { id: id.clone(), checksum: index as u64, at_us: 1 });
                judge.event(OracleEvent::Accepted(id.clone()));
                judge.origin(&id, prediction);
                answers.push((answer(&id, &prediction.to_string()), 2_000_001));
            }
            damage(&mut answers);
            for (bytes, at_us) in answers {
                let bytes = if bytes.is_empty() { error("run-0").into_bytes() } else { bytes };
                judge.answer_at(&bytes, at_us);
            }
            assert_eq!(kinds(judge), expected);
        }
    }

    #[test]
    fn an_unknown_id_is_found_unless_it_is_another_run_and_those_are_ignored() {
        let mut strict = answered();
        strict.answer(&answer("other-1", "1.0"));
        assert_eq!(kinds(strict), vec!["answer to an unknown request"]);
        for (id, expected) in [("other-1", 0), ("run-99", 1)] {
            let mut lenient = judge(JudgeRules { ignore_other_runs: true, ..JudgeRules::default() });
            (0..4).for_each(|index| lenient.answer(&answer(&format!("run-{index}"), "1.0")));
            lenient.answer(&answer(id, "1.0"));
            assert_eq!(kinds(lenient).len(), expected, "{id}");
        }
    }

    #[test]
    fn one_differing_bit_for_equal_features_is_found() {
        let mut judge = judge(JudgeRules::default());
        for (id, prediction) in [("run-0", "0.1"), ("run-1", "0.10000000000000002"), ("run-2", "2.5"), ("run-3", "2.5")]
        {
            judge.answer(&answer(id, prediction));
        }
        assert_eq!(kinds(judge), vec!["equal features, different prediction"]);
    }

    #[test]
    fn refused_requests_may_be_answered_or_not() {
        let mut judge = answered();
        for id in ["run-8", "run-9"] {
            judge.event(OracleEvent::Sent { id: id.into(), checksum: 77, at_us: 0 });
            judge.event(OracleEvent::Refused(id.into()));
        }
        judge.answer(&answer("run-8", "9.0"));
        assert!(judge.findings().clean());
    }

    #[test]
    fn dead_letters_account_for_a_request_only_when_allowed() {
        for (allow_dead_letters, clean) in [(false, false), (true, true)] {
            let mut judge = judge(JudgeRules { allow_dead_letters, ..JudgeRules::default() });
            (0..3).for_each(|index| judge.answer(&answer(&format!("run-{index}"), "1.0")));
            judge.dead_letter(br#"{"request_id":"run-3","features":"no"}"#);
            judge.dead_letter(b"garbage");
            let findings = judge.findings();
            assert_eq!((findings.clean(), findings.anonymous_dead_letters), (clean, 1), "{findings}");
        }
    }

    #[test]
    fn error_answers_count_as_answers_up_to_the_limit() {
        for (limit, clean) in [(None, true), (Some(1), true), (Some(0), false)] {
            let mut judge = judge(JudgeRules { max_errors: limit, ..JudgeRules::default() });
            (0..3).for_each(|index| judge.answer(&answer(&format!("run-{index}"), "1.0")));
            judge.answer(br#"{"request_id":"run-3","prediction":null,"error":{"code":"internal","message":"x"}}"#);
            assert_eq!(judge.findings().clean(), clean, "limit {limit:?}");
        }
    }

    #[test]
    fn an_answer_with_neither_prediction_nor_error_and_garbage_are_found() {
        let mut judge = judge(JudgeRules::default());
        (0..3).for_each(|index| judge.answer(&answer(&format!("run-{index}"), "1.0")));
        judge.answer(&answer("run-3", "null"));
        judge.answer(b"{");
        assert_eq!(kinds(judge), vec!["neither prediction nor error", "unreadable result"]);
    }
}
