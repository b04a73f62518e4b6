//! What the attacker got back, in counts.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

use crate::mesh_under_test::http_client::HttpReply;

/// Answers by their status and code, and what was sent for them.
#[derive(Debug, Default)]
pub(crate) struct AttackAnswers {
    counts: Mutex<BTreeMap<String, u64>>,
}

/// The label of an answer: status and code, or what happened instead.
pub(crate) fn label(reply: &std::io::Result<HttpReply>) -> String {
    match reply {
        Ok(reply) => match reply.json()["error"]["code"].as_str() {
            Some(code) => format!("{} {code}", reply.status),
            None => reply.status.to_string(),
        },
        Err(error) => match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => "no answer in time".to_owned(),
            _ => "connection closed".to_owned(),
        },
    }
}

impl AttackAnswers {
    /// Counts one answer.
    pub(crate) fn count(&self, label: impl Into<String>) {
        self.count_many(label, 1);
    }

    /// Counts several answers of one kind.
    pub(crate) fn count_many(&self, label: impl Into<String>, number: u64) {
        if number > 0 {
            *self.counts.lock().entry(label.into()).or_default() += number;
        }
    }

    /// Counts a reply.
    pub(crate) fn reply(&self, reply: &std::io::Result<HttpReply>) {
        self.count(label(reply));
    }

    /// How many answers began so.
    pub(crate) fn starting(&self, start: &str) -> u64 {
        self.counts.lock().iter().filter(|(label, _)| label.starts_with(start)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for AttackAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> =
            self.counts.lock().iter().map(|(label, count)| format!("{count} x {label}")).collect();
        f.write_str(if counts.is_empty() { "-".to_owned() } else { counts.join(", ") }.as_str())
    }
}
