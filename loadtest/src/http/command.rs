//! `http`: the command line of the two HTTP loops.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::closed_loop;
use super::exchange::AnswerFile;
use super::open_loop::{Connections, Pool};
use super::wire::Endpoint;
use crate::answer_tally::AnswerTally;
use crate::error::LoadtestError;
use crate::latency::Latencies;
use crate::oracle::Oracle;
use crate::report::{OutputArgs, Report};
use crate::request_generator::RequestGenerator;
use crate::schedule::Schedule;
use crate::usage::{ProcessUsage, WatchArgs};
use crate::workload::WorkloadArgs;

/// Open loop over HTTP keep-alive connections: a request leaves at its scheduled time whatever the system does, and its
/// latency counts from that time. With --closed N, N callers send as soon as they are answered, to find the capacity.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES
  forebay-loadtest http --url http://127.0.0.1:8080 --rate 2000 --seconds 10 --warmup 3
  forebay-loadtest http --closed 8 --rows 32 --seconds 10

Exit code: 0 clean, 1 something was lost, duplicated or failed, 2 the run could not be done.")]
pub struct HttpArgs {
    /// URL to send requests to; without a path, /v1/predict
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Requests per second
    #[arg(long, required_unless_present = "closed")]
    pub(crate) rate: Option<f64>,
    /// Find the capacity with this many concurrent callers, instead of sending at a rate
    #[arg(long, value_name = "CALLERS", conflicts_with = "rate")]
    pub(crate) closed: Option<usize>,
    /// Measured seconds
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds of warm-up before them: requests are sent but not measured
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warmup: f64,
    /// Rows in each request
    #[arg(long, default_value_t = 1)]
    pub(crate) rows: usize,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    /// Maximum number of connections; when all are busy a due request waits, and the wait counts as latency
    #[arg(long, default_value_t = 256)]
    pub(crate) concurrency_cap: usize,
    /// Wait this many seconds for the last answers
    #[arg(long, default_value_t = 15.0)]
    pub(crate) drain: f64,
    /// Write the response bodies to this file, one a line, for `judge --answers`
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl HttpArgs {
    /// Runs the measurement and publishes its report; `true` when it was clean.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        self.measure()?.publish(&self.output)
    }

    /// Runs the measurement and returns its report.
    pub fn measure(&self) -> Result<Report, LoadtestError> {
        let requests = self.workload.generator(if self.rows <= 1 { 0 } else { self.rows })?;
        let endpoint = Endpoint::parse(&self.url)?;
        let [warmup, measured] =
            [("warmup", self.warmup), ("seconds", self.seconds)].map(|(name, value)| duration(name, value));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime =
            runtime.worker_threads(1).enable_all().build().map_err(LoadtestError::system("start a runtime"))?;
        match (self.closed, self.rate) {
            (Some(callers), _) => self.closed(&runtime, requests, endpoint, callers.max(1), [warmup?, measured?]),
            (None, Some(rate)) if rate.is_finite() && rate > 0.0 => {
                self.open(&runtime, requests, endpoint, rate, [warmup?, measured?])
            }
            (None, rate) => Err(LoadtestError::Input(format!("--rate {rate:?}: expected more than 0"))),
        }
    }

    fn closed(
        &self,
        runtime: &Runtime,
        requests: Arc<RequestGenerator>,
        endpoint: Endpoint,
        callers: usize,
        [warmup, measured]: [Duration; 2],
    ) -> Result<Report, LoadtestError> {
        let before = self.watch.sample()?;
        let mut report = runtime.block_on(closed_loop::run(requests, endpoint, callers, warmup, measured))?;
        report.usage = self.watch.since(&before, report.answered)?;
        Ok(report)
    }

    fn open(
        &self,
        runtime: &Runtime,
        requests: Arc<RequestGenerator>,
        endpoint: Endpoint,
        rate: f64,
        [warmup, measured]: [Duration; 2],
    ) -> Result<Report, LoadtestError> {
        let start = Instant::now() + Duration::from_millis(100);
        let schedule = Schedule::new(start, rate, warmup, measured);
        let tally = AnswerTally::new(requests.run().clone(), requests.batch(), schedule.count(), start);
        let pool = Arc::new(Pool {
            requests,
            endpoint,
            cap: self.concurrency_cap.max(1),
            runtime: runtime.handle().clone(),
            tally: Mutex::new(tally),
            oracle: self.workload.oracle()?,
            answers: self.answers.as_deref().map(AnswerFile::create).transpose()?,
            connections: Mutex::new(Connections::default()),
        });
        let (late, usage) = self.send(&pool, &schedule)?;
        pool.wait(schedule.count(), duration("drain", self.drain)?);
        pool.oracle.as_ref().map_or(Ok(()), Oracle::flush)?;
        pool.answers.as_ref().map_or(Ok(()), AnswerFile::flush)?;
        Ok(report(&pool, &schedule, rate, &late, usage))
    }

    fn send(&self, pool: &Arc<Pool>, schedule: &Schedule) -> Result<(Latencies, Vec<ProcessUsage>), LoadtestError> {
        let (mut late, mut before) = (Latencies::new(), self.watch.sample()?);
        schedule.run(|index, lateness| {
            if index == schedule.warmup() {
                before = self.watch.sample()?;
            }
            if index >= schedule.warmup() {
                late.record(lateness);
            }
            pool.dispatch(index);
            Ok(())
        })?;
        let usage = self.watch.since(&before, schedule.count() - schedule.warmup())?;
        Ok((late, usage))
    }
}

fn duration(name: &str, value: f64) -> Result<Duration, LoadtestError> {
    Duration::try_from_secs_f64(value).map_err(|error| LoadtestError::Input(format!("--{name} {value}: {error}")))
}

fn report(pool: &Pool, schedule: &Schedule, rate: f64, late: &Latencies, usage: Vec<ProcessUsage>) -> Report {
    let (tally, connections) = (pool.tally.lock(), pool.connections.lock());
    if let Some(first_error) = &connections.first_error {
        eprintln!("{first_error}");
    }
    if connections.held_back > 0 {
        eprintln!("{} requests waited for one of {} connections (--concurrency-cap)", connections.held_back, pool.cap);
    }
    let lost = schedule.count().saturating_sub(tally.answered + connections.refused);
    let span = tally.last_arrival().map_or(0.0, |last| last.as_secs_f64());
    Report {
        kind: "http".to_owned(),
        run: tally.run().to_string(),
        rate,
        rows: pool.requests.batch(),
        sent: schedule.count(),
        refused: connections.refused,
        answered: tally.answered,
        lost,
        duplicates: tally.duplicates,
        unknown: tally.unknown,
        unreadable: tally.unreadable,
        cached: tally.cached,
        errors: tally.errors.clone(),
        lost_examples: if lost > 0 { tally.unanswered(5) } else { Vec::new() },
        answered_per_s: if span > 0.0 { tally.answered as f64 / span } else { 0.0 },
        latency_ms: tally.latencies(schedule).percentiles(),
        late_ms: late.percentiles(),
        usage,
        ..Report::default()
    }
}
