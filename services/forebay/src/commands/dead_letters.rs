//! `forebay dead-letters`: records that could not be processed, and why; how they are sent again, and removed.

mod filter;
mod identity;
mod text;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use forebay_bus::kafka::{
    Client, DeadLetterPlace, PurgeUpTo, Replayed, StoredDeadLetter, letters_up_to, planned_topics, purge_letters,
    read_letters, read_since, replay_letters,
};
use forebay_contract::now_ms;
use forebay_runtime::{SettingsArgs, TopicSettings};

use super::{eprint, open, print};
use filter::{Filter, parse_when};
use text::{describe, line};

/// `forebay dead-letters ...`
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Print the letters of the last 24 hours, newest last, or those that the filters select
    #[command(after_help = LIST)]
    List {
        #[command(flatten)]
        filter: Filter,
        /// Print at most this many, the newest
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Print everything of some letters: why, where from, headers, key and bytes
    #[command(after_help = SHOW)]
    Show {
        /// As `list` prints them: PARTITION@OFFSET
        #[arg(required = true, value_name = "PLACE")]
        places: Vec<DeadLetterPlace>,
        /// Write the original bytes of one letter to standard output, and nothing else
        #[arg(long)]
        raw: bool,
    },
    /// Send the original records to their topics again, as new requests
    #[command(after_help = REPLAY)]
    Replay {
        /// As `list` prints them: PARTITION@OFFSET
        #[arg(value_name = "PLACE", conflicts_with = "Filter")]
        places: Vec<DeadLetterPlace>,
        #[command(flatten)]
        filter: Filter,
        /// Say what would be sent, and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete letters: from the beginning of a partition up to one of them
    #[command(after_help = PURGE)]
    Purge {
        /// Up to and including this letter, in its partition: PARTITION@OFFSET
        #[arg(value_name = "PLACE", required_unless_present_any = ["before", "all"])]
        places: Vec<DeadLetterPlace>,
        /// Those older than this, in every partition: a time back from now (7d), a date or a moment
        #[arg(long, value_name = "WHEN", value_parser = parse_when, conflicts_with_all = ["places", "all"])]
        before: Option<i64>,
        /// Every letter
        #[arg(long, conflicts_with = "places")]
        all: bool,
        /// Say what would be deleted, and delete nothing
        #[arg(long)]
        dry_run: bool,
    },
}

const LIST: &str = "Examples:
  forebay dead-letters list
  forebay dead-letters list --stage ingestion --code invalid_request --since 2h
  forebay dead-letters list --since 14d --request-id order-17

The first column is the place of a letter, by which `show`, `replay` and `purge` name it. The group of this command at
the broker is dead-letters-reader; it commits nothing.";

const SHOW: &str = "Examples:
  forebay dead-letters show 2@17
  forebay dead-letters show 2@17 --raw > record.bin";

const REPLAY: &str = "Examples:
  forebay dead-letters replay 2@17 0@3
  forebay dead-letters replay --code payload_too_large --since 2h --dry-run

The record gets its original topic, partition, key, headers and bytes. For the mesh it is a new request: it is answered
again even if the first one was, and if nothing has changed it ends as a dead letter again. The letters stay until they
are purged. Letters that lost their bytes, records from RabbitMQ and requests that were answered with an error cannot be
replayed. Filters without --since select from the last 24 hours.";

const PURGE: &str = "Examples:
  forebay dead-letters purge --before 7d --dry-run
  forebay dead-letters purge 2@17             partition 2 up to offset 17
  forebay dead-letters purge --all

Kafka deletes from the beginning of a partition, never single records. Without this command letters are kept for 14
days (the retention of the topic).";

pub(crate) fn run(args: &SettingsArgs, action: &DeadLetters) -> ExitCode {
    let opened = match open(args) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let client = Client::new(&opened.settings.bus.kafka, "dead-letters");
    let topic = &DeadLetterTopic { client, topics: opened.shared.topics };
    let done = match action {
        DeadLetters::List { filter, limit } => topic.list(filter, *limit),
        DeadLetters::Show { places, raw } => topic.show(places, *raw),
        DeadLetters::Replay { places, filter, dry_run } => topic.replay(places, filter, *dry_run),
        DeadLetters::Purge { places, before, all: _, dry_run } => {
            let up_to = match before {
                Some(ms) => PurgeUpTo::Time(*ms),
                None if places.is_empty() => PurgeUpTo::End,
                None => PurgeUpTo::Places(places.clone()),
            };
            topic.purge(&up_to, *dry_run)
        }
    };
    done.unwrap_or_else(|error| eprint(&error, 1))
}

/// Longest time for reading letters.
const READ: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The topic of dead letters.
struct DeadLetterTopic {
    client: Client,
    topics: TopicSettings,
}

impl DeadLetterTopic {
    fn topic(&self) -> &str {
        &self.topics.dead_letters
    }

    /// The letters that `filter` selects, oldest first.
    fn select(&self, filter: &Filter) -> Result<Vec<StoredDeadLetter>, String> {
        let since = filter.since.unwrap_or_else(|| now_ms() - i64::try_from(DAY.as_millis()).unwrap_or(0));
        let mut letters = Vec::new();
        let read = read_since(&self.client, self.topic(), &[], since, READ, |record| {
            let letter = StoredDeadLetter::new(record.clone());
            if filter.selects(&letter) {
                letters.push(letter);
            }
        });
        read.map_err(|error| error.to_string())?;
        letters.sort_by_key(|letter| (letter.timestamp_ms(), letter.place()));
        Ok(letters)
    }

    fn at(&self, places: &[DeadLetterPlace]) -> Result<Vec<StoredDeadLetter>, String> {
        read_letters(&self.client, self.topic(), places).map_err(|error| error.to_string())
    }

    fn list(&self, filter: &Filter, limit: usize) -> Result<ExitCode, String> {
        let letters = self.select(filter)?;
        let more = letters.len().saturating_sub(limit);
        let mut text: String = letters.iter().skip(more).map(line).collect();
        // writing to a string cannot fail
        let _ = match letters.len() {
            0 => writeln!(text, "no dead letters{}", if filter.since.is_some() { "" } else { " in the last 24 hours" }),
            _ if more > 0 => writeln!(text, "{more} older ones are not shown: --limit"),
            _ => Ok(()),
        };
        Ok(print(&text))
    }

    fn show(&self, places: &[DeadLetterPlace], raw: bool) -> Result<ExitCode, String> {
        let letters = self.at(places)?;
        if !raw {
            return Ok(print(&letters.iter().map(describe).collect::<Vec<_>>().join("\n")));
        }
        let [letter] = &letters[..] else { return Err("--raw writes the bytes of one letter".to_owned()) };
        let mut out = std::io::stdout().lock();
        out.write_all(letter.payload()).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
        Ok(ExitCode::SUCCESS)
    }

    fn replay(&self, places: &[DeadLetterPlace], filter: &Filter, dry_run: bool) -> Result<ExitCode, String> {
        let letters = match (places, filter.is_empty()) {
            ([], true) => return Err("name the letters, or a filter such as --code or --since".to_owned()),
            ([], false) => self.select(filter)?,
            _ => self.at(places)?,
        };
        let mut text = String::new();
        let (whole, kept): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| self.obstacle(letter).is_none());
        for letter in &kept {
            let why = self.obstacle(letter).unwrap_or_default();
            let _ = writeln!(text, "{}  cannot be replayed: {why}", letter.place());
        }
        let ends = if dry_run { Vec::new() } else { self.send(&whole)? };
        let mut failed = kept.len();
        for (number, letter) in whole.iter().enumerate() {
            let (place, topic, bytes) = (letter.place(), letter.topic(), letter.payload().len());
            let _ = match ends.get(number) {
                None => writeln!(text, "{place}  would be sent to {topic} ({bytes} bytes)"),
                Some(Ok((partition, offset))) => writeln!(text, "{place}  sent to {topic}/{partition}@{offset}"),
                Some(Err(error)) => {
                    failed += 1;
                    writeln!(text, "{place}  could not be sent to {topic}: {error}")
                }
            };
        }
        let what = if dry_run { "would be sent" } else { "sent" };
        let _ = writeln!(text, "{} {what}, {failed} not", whole.len() + kept.len() - failed);
        let printed = print(&text);
        Ok(if failed > 0 { ExitCode::FAILURE } else { printed })
    }

    fn send(&self, letters: &[StoredDeadLetter]) -> Result<Vec<Replayed>, String> {
        replay_letters(&self.client, letters).map_err(|error| error.to_string())
    }

    /// Why a letter cannot be replayed.
    fn obstacle(&self, letter: &StoredDeadLetter) -> Option<String> {
        if letter.is_truncated() {
            return Some("the record was too large to be kept with its bytes".to_owned());
        }
        if letter.is_answered() {
            return Some("its request was answered with an error, and would be a duplicate".to_owned());
        }
        let topic = letter.topic();
        let known = planned_topics(&self.topics, true).iter().any(|planned| planned.name == topic);
        (!known).then(|| {
            format!("{topic} is no topic of these settings; for one more request topic set topics.requests_in to it")
        })
    }

    fn purge(&self, up_to: &PurgeUpTo, dry_run: bool) -> Result<ExitCode, String> {
        let failed = |error: forebay_bus::kafka::DeadLetterError| error.to_string();
        let ranges = letters_up_to(&self.client, self.topic(), up_to).map_err(failed)?;
        if !dry_run {
            purge_letters(&self.client, self.topic(), &ranges).map_err(failed)?;
        }
        let what = if dry_run { "would be deleted" } else { "deleted" };
        let mut text = String::new();
        for range in &ranges {
            let (partition, first, last) = (range.partition, range.first, range.end - 1);
            let _ = writeln!(text, "{partition}@{first} to {partition}@{last}  {what}");
        }
        let letters: i64 = ranges.iter().map(|range| range.end - range.first).sum();
        let _ = writeln!(text, "{letters} dead letters {what}");
        Ok(print(&text))
    }
}
