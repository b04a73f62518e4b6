//! `kafka`: requests at a fixed rate into the request topic, answers out of the result topic.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;

use super::clients::{BrokerArgs, FetchMode, StartOffset};
use super::delivery_recorder::{DeliveryRecorder, DeliveryReports, Destination};
use super::reader::{Goal, ReadTimeouts, read_answers};
use crate::answer_tally::AnswerTally;
use crate::error::LoadtestError;
use crate::latency::Latencies;
use crate::report::{OutputArgs, Report};
use crate::request_generator::RequestGenerator;
use crate::schedule::Schedule;
use crate::usage::{ProcessUsage, WatchArgs};
use crate::workload::WorkloadArgs;

/// Open loop over Kafka: produces legacy JSON requests at a fixed rate, whatever the system does, and reads every
/// partition of the result topic. Latency counts from the instant a request was scheduled for, so a system that stalls
/// cannot hide it.
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
    /// Seconds of warm-up before them: requests are sent but not measured
    #[arg(long, default_value_t = 3.0)]
    pub(crate) warmup: f64,
    /// Request topic
    #[arg(long = "in", default_value = "inference-requests", value_name = "TOPIC")]
    pub(crate) input: String,
    /// Result topic
    #[arg(long = "out", default_value = "inference-results", value_name = "TOPIC")]
    pub(crate) output_topic: String,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    /// Give up when no answer has come for this many seconds after the last request
    #[arg(long, default_value_t = 15.0)]
    pub(crate) drain: f64,
    /// Keep reading for this many seconds after the last answer, to see duplicates
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
    /// Runs the measurement and publishes its report; `true` when it was clean.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        self.measure()?.publish(&self.output)
    }

    /// Runs the measurement and returns its report.
    pub fn measure(&self) -> Result<Report, LoadtestError> {
        let requests = self.workload.generator(0)?;
        let recorder = DeliveryRecorder::new(Arc::clone(&requests), self.workload.oracle()?);
        let consumer = self.broker.assigned(&self.output_topic, StartOffset::End, FetchMode::AtOnce)?;
        super::clients::partitions(&consumer, &self.input)?;
        let start = Instant::now() + Duration::from_millis(300);
        let (warmup, measured) = (seconds("warmup", self.warmup)?, seconds("seconds", self.seconds)?);
        let schedule = Schedule::new(start, rate(self.rate)?, warmup, measured);
        let timeouts = ReadTimeouts { drain: seconds("drain", self.drain)?, settle: seconds("settle", self.settle)? };
        let tally = AnswerTally::new(requests.run().clone(), 1, schedule.count(), start);
        let all_sent = OnceLock::new();
        let goal = || all_sent.get().map(|sent| Goal { accepted: recorder.accepted(), sent: *sent });
        let (sender, tally) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_answers(&consumer, tally, goal, timeouts, false));
            let sender = self.send(&requests, &recorder, &schedule);
            let _first = all_sent.set(Instant::now());
            let read =
                reader.join().unwrap_or_else(|_| Err(LoadtestError::Input("the reading thread panicked".to_owned())));
            (sender, read)
        });
        let ((late, usage), tally) = (sender?, tally?);
        Ok(self.report(&schedule, &recorder, &tally, &late, usage))
    }

    fn send(
        &self,
        requests: &RequestGenerator,
        recorder: &Arc<DeliveryRecorder>,
        schedule: &Schedule,
    ) -> Result<(Latencies, Vec<ProcessUsage>), LoadtestError> {
        let producer = self.broker.producer(self.linger_ms, DeliveryReports(Arc::clone(recorder)))?;
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
            requests.write_body(index, &mut body);
            requests.run().write_request_id(index, &mut key);
            let destination = Destination { topic: &self.input, key: Some(&key), partition: None };
            recorder.produce(&producer, destination, index, &body)
        })?;
        let usage = self.watch.since(&before, schedule.count() - schedule.warmup())?;
        recorder.settle(&producer)?;
        Ok((late, usage))
    }

    fn report(
        &self,
        schedule: &Schedule,
        recorder: &DeliveryRecorder,
        tally: &AnswerTally,
        late: &Latencies,
        usage: Vec<ProcessUsage>,
    ) -> Report {
        let span = tally.last_arrival().map_or(f64::NAN, |last| last.as_secs_f64());
        let mut report = counts(tally, schedule.count(), recorder);
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
pub(crate) fn counts(tally: &AnswerTally, sent: u64, recorder: &DeliveryRecorder) -> Report {
    let lost = recorder.accepted().saturating_sub(tally.answered);
    Report {
        run: tally.run().to_string(),
        rows: 1,
        sent,
        refused: recorder.refused(),
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
