//! `kafka`: requests at a fixed rate into the request topic, answers out of the result topic.
use super::clients::{BrokerArgs, Fetch, From};
use super::ledger::{Deliveries, Ledger, Target};
use super::reader::{Goal, Patience, read_answers};
use crate::error::LoadtestError;
use crate::feed::{Feed, FeedOptions};
use crate::latency::Latencies;
use crate::oracle::Oracle;
use crate::report::{OutputArgs, Report};
use crate::rows::Rows;
use crate::run::RunId;
use crate::schedule::Schedule;
use crate::tally::Tally;
use crate::usage::{Usage, WatchArgs};
use clap::Args;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Open loop over Kafka: produces legacy JSON requests at a fixed rate, whatever the system does, and reads every partition of the
/// result topic. Latency counts from the instant a request was scheduled for, so a system that stalls cannot hide it.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  forebay-loadtest kafka --brokers 127.0.0.1:9092 --rate 1000 --seconds 10 --warmup 3

Exit code: 0 clean, 1 something was lost, duplicated or failed, 2 the run could not be done.")]
pub struct KafkaArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Requests per second
    #[arg(long)]
    pub(crate) rate: f64,
    /// Measured seconds
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds in front of them that are sent but not measured
    #[arg(long, default_value_t = 3.0)]
    pub(crate) warmup: f64,
    /// Request topic
    #[arg(long = "in", default_value = "inference-requests", value_name = "TOPIC")]
    pub(crate) input: String,
    /// Result topic
    #[arg(long = "out", default_value = "inference-results", value_name = "TOPIC")]
    pub(crate) output_topic: String,
    #[command(flatten)]
    pub(crate) requests: RequestArgs,
    /// Give up when no answer has come for so many seconds after the last request
    #[arg(long, default_value_t = 15.0)]
    pub(crate) drain: f64,
    /// Go on reading for so many seconds after the last answer, to see duplicates
    #[arg(long, default_value_t = 1.0)]
    pub(crate) settle: f64,
    /// The producer's linger.ms
    #[arg(long, default_value_t = 1)]
    pub(crate) linger_ms: u32,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What the requests hold.
#[derive(Debug, Clone, Args)]
pub(crate) struct RequestArgs {
    /// `scaled` (the 442 scaled diabetes rows, varied so that no two are equal) or a CSV file with a header line
    #[arg(long, default_value = "scaled", value_name = "scaled|FILE")]
    pub(crate) rows: String,
    /// Share of requests, 0 to 1, that repeat one of 50 rows: what a cache can answer
    #[arg(long, default_value_t = 0.0)]
    pub(crate) repeat_ratio: f64,
    /// Send this model_version
    #[arg(long)]
    pub(crate) model_version: Option<String>,
    /// Send this model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Run id, eight hexadecimal digits; random if absent
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Append what was sent and accepted to this file, for `judge`
    #[arg(long, value_name = "FILE")]
    pub(crate) oracle: Option<PathBuf>,
}

impl RequestArgs {
    pub(crate) fn feed(&self) -> Result<Arc<Feed>, LoadtestError> {
        let run = self.run.as_deref().map_or_else(|| Ok(RunId::random()), RunId::parse)?;
        let options = FeedOptions {
            batch: 0,
            repeat_ratio: self.repeat_ratio,
            model_version: self.model_version.clone(),
            model: self.model.clone(),
        };
        Feed::new(Rows::open(&self.rows)?, run, &options).map(Arc::new)
    }

    pub(crate) fn oracle(&self) -> Result<Option<Oracle>, LoadtestError> {
        self.oracle.as_deref().map(Oracle::append).transpose()
    }
}

/// Checks a number of seconds from the command line.
pub(crate) fn seconds(name: &str, value: f64) -> Result<Duration, LoadtestError> {
    Duration::try_from_secs_f64(value).map_err(|error| LoadtestError::Input(format!("--{name} {value}: {error}")))
}

pub(crate) fn rate(value: f64) -> Result<f64, LoadtestError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(LoadtestError::Input(format!("--rate {value}: expected more than 0")))
    }
}

impl KafkaArgs {
    /// Does the run; `true` when it was clean.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        self.measure()?.publish(&self.output)
    }

    /// Does the run and returns what it found.
    pub fn measure(&self) -> Result<Report, LoadtestError> {
        let feed = self.requests.feed()?;
        let ledger = Ledger::new(Arc::clone(&feed), self.requests.oracle()?);
        let consumer = self.broker.assigned(&self.output_topic, From::End, Fetch::AtOnce)?;
        super::clients::partitions(&consumer, &self.input)?;
        let start = Instant::now() + Duration::from_millis(300);
        let (warmup, measured) = (seconds("warmup", self.warmup)?, seconds("seconds", self.seconds)?);
        let schedule = Schedule::new(start, rate(self.rate)?, warmup, measured);
        let patience = Patience { drain: seconds("drain", self.drain)?, settle: seconds("settle", self.settle)? };
        let tally = Tally::new(feed.run().clone(), 1, schedule.count(), start);
        let all_sent = OnceLock::new();
        let goal = || all_sent.get().map(|sent| Goal { accepted: ledger.accepted(), sent: *sent });
        let (sender, tally) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_answers(&consumer, tally, goal, patience, false));
            let sender = self.send(&feed, &ledger, &schedule);
            let _first = all_sent.set(Instant::now());
            let read =
                reader.join().unwrap_or_else(|_| Err(LoadtestError::Input("the reading thread panicked".to_owned())));
            (sender, read)
        });
        let ((late, usage), tally) = (sender?, tally?);
        Ok(self.report(&schedule, &ledger, &tally, &late, usage))
    }

    fn send(
        &self,
        feed: &Feed,
        ledger: &Arc<Ledger>,
        schedule: &Schedule,
    ) -> Result<(Latencies, Vec<Usage>), LoadtestError> {
        let producer = self.broker.producer(self.linger_ms, Deliveries(Arc::clone(ledger)))?;
        let (mut late, mut before) = (Latencies::new(), self.watch.sample()?);
        let (mut body, mut key) = (Vec::with_capacity(512), Vec::with_capacity(32));
        schedule.run(|index, lateness| {
            if index == schedule.warmup() {
                before = self.watch.sample()?;
            }
            if index >= schedule.warmup() {
                late.record(lateness);
            }
            body.clear();
            key.clear();
            feed.write_body(index, &mut body);
            feed.run().write_request_id(index, &mut key);
            let target = Target { topic: &self.input, key: Some(&key), partition: None };
            ledger.produce(&producer, target, index, &body)
        })?;
        let usage = self.watch.since(&before, schedule.count() - schedule.warmup())?;
        ledger.settle(&producer)?;
        Ok((late, usage))
    }

    fn report(
        &self,
        schedule: &Schedule,
        ledger: &Ledger,
        tally: &Tally,
        late: &Latencies,
        usage: Vec<Usage>,
    ) -> Report {
        let span = tally.last_arrival().map_or(f64::NAN, |last| last.as_secs_f64());
        let mut report = counts(tally, schedule.count(), ledger);
        report.kind = "kafka".to_owned();
        report.rate = self.rate;
        report.answered_per_s = if span > 0.0 { tally.answered as f64 / span } else { 0.0 };
        report.latency_ms = tally.latencies(schedule).percentiles();
        report.late_ms = late.percentiles();
        report.usage = usage;
        report
    }
}

/// The part of a report that is the same for every Kafka command.
pub(crate) fn counts(tally: &Tally, sent: u64, ledger: &Ledger) -> Report {
    let lost = ledger.accepted().saturating_sub(tally.answered);
    Report {
        run: tally.run().to_string(),
        rows: 1,
        sent,
        refused: ledger.refused(),
        answered: tally.answered,
        lost,
        duplicates: tally.duplicates,
        unknown: tally.unknown,
        unreadable: tally.unreadable,
        cached: tally.cached,
        errors: tally.errors.clone(),
        lost_examples: if lost > 0 { tally.unanswered(5) } else { Vec::new() },
        ..Report::default()
    }
}
