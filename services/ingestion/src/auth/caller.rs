//! A caller that was recognised.

use forebay_contract::ErrorCode;
use forebay_runtime::prometheus_client::metrics::counter::Counter;

use super::allowance::{Allowance, Limits};
use super::counts::Counts;
use crate::refusal::Refusal;

/// Whoever holds a key of this name, or a token with this subject.
#[derive(Debug)]
pub struct Caller {
    name: Box<str>,
    identity: Box<str>,
    models: Option<Vec<String>>,
    allowance: Allowance,
    requests: Counter,
    rows: Counter,
    refused: Refused,
}

/// Counters of what this caller was refused.
#[derive(Debug)]
struct Refused {
    rate: Counter,
    daily_rows: Counter,
    models: Counter,
}

/// What tells one caller from another.
pub(super) enum Kind {
    /// The name of a key.
    Key,
    /// The subject of a token.
    Token,
}

impl Caller {
    /// `before` is the same caller until now: what it has used stays used.
    pub(super) fn new(
        kind: &Kind,
        name: &str,
        limits: Limits,
        models: Option<Vec<String>>,
        counts: &Counts,
        before: Option<&Self>,
    ) -> Self {
        let (prefix, label) = match kind {
            Kind::Key => ("key", name),
            // subjects are too many for a label
            Kind::Token => ("jwt", "jwt"),
        };
        let allowance = before.map_or_else(|| Allowance::new(limits), |before| before.allowance.with(limits));
        Self {
            name: name.into(),
            identity: format!("{prefix}:{name}").into(),
            models,
            allowance,
            requests: counts.requests(label),
            rows: counts.rows(label),
            refused: Refused {
                rate: counts.limited(label, "rate"),
                daily_rows: counts.limited(label, "daily_rows"),
                models: counts.limited(label, "models"),
            },
        }
    }

    /// For logs and traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Two callers never share one: keys and tokens are told apart.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether it is still this one after its line was read again.
    pub(super) fn fits(&self, limits: Limits, models: Option<&Vec<String>>) -> bool {
        self.allowance.limits() == limits && self.models.as_ref() == models
    }

    /// Whether `model` may be asked.
    pub fn sees(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|known| known == model))
    }

    /// Takes one request of its rate.
    ///
    /// # Errors
    /// `overloaded`, with the time to wait.
    pub(super) fn request(&self) -> Result<(), Refusal> {
        self.requests.inc();
        self.allowance.request().map_err(|wait| {
            self.refused.rate.inc();
            let message =
                format!("more than {} requests a second, the limit of {}", self.allowance.limits().rate, self.name);
            Refusal::used_up(message, wait)
        })
    }

    /// Takes `rows` for `model` of what it may ask.
    ///
    /// # Errors
    /// `forbidden` for a model that is not its own; `overloaded` when the day's rows are used up.
    pub fn ask(&self, model: &str, rows: usize, now_s: u64) -> Result<(), Refusal> {
        if !self.sees(model) {
            self.refused.models.inc();
            return Err(Refusal::new(ErrorCode::Forbidden, format!("{} may not ask the model {model:?}", self.name)));
        }
        self.allowance.rows(rows, now_s).map_err(|wait| {
            self.refused.daily_rows.inc();
            let most = self.allowance.limits().daily_rows;
            Refusal::used_up(format!("{rows} more rows exceed the {most} a day of {}", self.name), wait)
        })?;
        self.rows.inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
        Ok(())
    }
}
