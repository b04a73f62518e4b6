//! Which dead letters a command is about.

use clap::Args;
use forebay_bus::kafka::StoredDeadLetter;
use forebay_contract::now_ms;
use forebay_ingestion::auth::parse_time;

use super::identity::Identity;

/// The filters; a letter has to pass all of them.
#[derive(Debug, Default, Args)]
#[group(id = "Filter", multiple = true)]
pub(crate) struct Filter {
    /// The stage that could not process the record: ingestion, preprocessing, caching, prediction, publishing
    #[arg(long)]
    pub(super) stage: Option<String>,
    /// The error code, such as invalid_request
    #[arg(long)]
    pub(super) code: Option<String>,
    /// The topic of the original record
    #[arg(long)]
    pub(super) topic: Option<String>,
    /// The request id that the client chose, or that of Forebay in hexadecimal
    #[arg(long, value_name = "ID")]
    pub(super) request_id: Option<String>,
    /// The trace id, in hexadecimal
    #[arg(long, value_name = "ID")]
    pub(super) trace_id: Option<String>,
    /// Written since: a time back from now (2h, 14d), a date (2027-01-31) or a moment (2027-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(super) since: Option<i64>,
    /// Written before, in the same forms
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(super) until: Option<i64>,
}

/// Reads a time as Unix milliseconds.
pub(super) fn parse_when(text: &str) -> Result<i64, String> {
    if let Ok(back) = humantime::parse_duration(text) {
        return Ok(now_ms() - i64::try_from(back.as_millis()).unwrap_or(i64::MAX).min(now_ms()));
    }
    let seconds = parse_time(text).map_err(|error| format!("{error}, or a time back from now such as 2h"))?;
    Ok(i64::try_from(seconds).unwrap_or(i64::MAX / 1000).saturating_mul(1000))
}

impl Filter {
    /// Whether there is no filter at all.
    pub(super) fn is_empty(&self) -> bool {
        let Self { stage, code, topic, request_id, trace_id, since, until } = self;
        let texts = [stage, code, topic, request_id, trace_id];
        texts.iter().all(|text| text.is_none()) && since.is_none() && until.is_none()
    }

    /// Whether it selects `letter`.
    pub(super) fn selects(&self, letter: &StoredDeadLetter) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let at = letter.timestamp_ms();
        is(&self.stage, &letter.stage())
            && is(&self.code, &letter.code())
            && is(&self.topic, &letter.topic())
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.selects_identity(letter)
    }

    /// Reads the letter's bytes, so it comes last.
    fn selects_identity(&self, letter: &StoredDeadLetter) -> bool {
        if self.request_id.is_none() && self.trace_id.is_none() {
            return true;
        }
        let identity = Identity::of(letter);
        let holds = |wanted: &Option<String>, ids: &[String]| wanted.as_ref().is_none_or(|wanted| ids.contains(wanted));
        holds(&self.request_id, &identity.requests) && holds(&self.trace_id, &identity.traces)
    }
}

#[cfg(test)]
mod tests {
    use forebay_bus::kafka::RawRecord;

    use super::*;

    #[test]
    fn a_letter_has_to_pass_every_filter() {
        let headers = [("forebay-stage", "ingestion"), ("forebay-code", "internal"), ("__connect.errors.topic", "t")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().into())).to_vec();
        let payload = br#"{"request_id":"r"}"#.as_slice().into();
        let record = RawRecord { payload, key: None, partition: 0, offset: 0, timestamp_ms: 1000, headers };
        let letter = StoredDeadLetter::new(record);
        let text = |value: &str| Some(value.to_owned());
        assert!(Filter::default().is_empty() && Filter::default().selects(&letter));
        for (filter, selected) in [
            (Filter { stage: text("ingestion"), ..Filter::default() }, true),
            (Filter { stage: text("caching"), ..Filter::default() }, false),
            (Filter { code: text("internal"), topic: text("t"), ..Filter::default() }, true),
            (Filter { code: text("internal"), topic: text("u"), ..Filter::default() }, false),
            (Filter { request_id: text("r"), ..Filter::default() }, true),
            (Filter { request_id: text("r"), trace_id: text("x"), ..Filter::default() }, false),
            (Filter { since: Some(1000), until: Some(1001), ..Filter::default() }, true),
            (Filter { since: Some(1001), ..Filter::default() }, false),
            (Filter { until: Some(1000), ..Filter::default() }, false),
        ] {
            assert!(!filter.is_empty());
            assert_eq!(filter.selects(&letter), selected, "{filter:?}");
        }
    }

    #[test]
    fn a_time_is_a_moment_or_a_while_ago() {
        assert_eq!(parse_when("2027-01-31"), Ok(1_801_353_600_000));
        let ago = now_ms() - parse_when("2h").unwrap();
        assert!((7_200_000..7_210_000).contains(&ago), "{ago}");
        assert_eq!(parse_when("9000000y").unwrap(), 0);
        assert!(parse_when("yesterday").unwrap_err().contains("2h"));
    }
}
