//! `forebay dead-letters`: records that could not be processed, and why.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use forebay_bus::kafka::{Client, RawRecord, read_since};
use forebay_runtime::SettingsArgs;

use super::{eprint, open, print};

/// `forebay dead-letters ...`
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Print the dead letters of the last hours, newest last
    List {
        /// How many hours back
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=336))]
        hours: u32,
        /// Print at most this many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

pub(crate) fn run(args: &SettingsArgs, action: &DeadLetters) -> ExitCode {
    let DeadLetters::List { hours, limit } = action;
    let opened = match open(args) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let since = SystemTime::now() - Duration::from_secs(u64::from(*hours) * 3600);
    let since_ms = since.duration_since(UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(0));
    let client = Client::new(&opened.settings.bus.kafka, "dead-letters");
    let mut letters = Vec::new();
    let read =
        read_since(&client, &opened.shared.topics.dead_letters, &[], since_ms, Duration::from_secs(60), |record| {
            letters.push((record.timestamp_ms, describe(record)));
        });
    if let Err(error) = read {
        return eprint(&error.to_string(), 1);
    }
    letters.sort_by_key(|(at, _)| *at);
    let skipped = letters.len().saturating_sub(*limit);
    let mut text: String = letters.into_iter().skip(skipped).map(|(_, letter)| letter).collect();
    if text.is_empty() {
        let _ = writeln!(text, "no dead letters in the last {hours} hours");
    }
    print(&text)
}

fn describe(record: &RawRecord) -> String {
    let header = |name: &str| record.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let part = |name: &str| header(name).unwrap_or_else(|| "?".to_owned());
    let shown: String = String::from_utf8_lossy(&record.payload).chars().take(200).collect();
    format!(
        "{} {}/{}@{}  {}  {}\n    {shown}\n",
        part("forebay-stage"),
        part("__connect.errors.topic"),
        part("__connect.errors.partition"),
        part("__connect.errors.offset"),
        part("forebay-code"),
        part("__connect.errors.exception.message"),
    )
}
