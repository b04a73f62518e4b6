//! `drain`: counts the answers to a filled topic and says how fast they came.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::clients::{ADMIN_TIMEOUT, BrokerArgs, FetchMode, StartOffset, partitions, watermarks};
use super::reader::{Goal, ReadTimeouts, read_answers};
use crate::answer_tally::AnswerTally;
use crate::error::LoadtestError;
use crate::report::{OutputArgs, Report};
use crate::run::RunId;
use crate::usage::WatchArgs;

/// Reads the result topic from its beginning until all answers to a `fill` are there, and reports the sustained rate,
/// losses, duplicates and errors.
#[derive(Debug, Args)]
#[command(after_help = "\
The rate of the whole run counts from the first input consumed (the first commit of --group, if that is given) or the first answer,
whichever was earlier, to the last answer. Groups commit every 200 ms, so the clock may start a quarter of a second late: fill enough
for 10 s and more, and start this before the services. The stages of a chain do not run evenly, so the 50-95 % window is shown but proves less.")]
pub struct DrainArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Run id that `fill` printed
    #[arg(long)]
    pub(crate) run: String,
    /// How many requests were filled
    #[arg(long)]
    pub(crate) count: u64,
    /// Result topic
    #[arg(long = "out", default_value = "inference-results", value_name = "TOPIC")]
    pub(crate) output_topic: String,
    #[command(flatten)]
    pub(crate) clock: ClockArgs,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// When the measurement of a filled topic starts and ends.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClockArgs {
    /// Consumer group of the first stage; its first commit starts the clock
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// Request topic that this group reads
    #[arg(long = "group-topic", default_value = "inference-requests", value_name = "TOPIC")]
    pub(crate) group_topic: String,
    /// Give up when no answer has come for this many seconds
    #[arg(long, default_value_t = 60.0)]
    pub(crate) idle: f64,
    /// Keep reading for this many seconds after the last answer, to see duplicates
    #[arg(long, default_value_t = 2.0)]
    pub(crate) settle: f64,
}

impl ClockArgs {
    pub(crate) fn timeouts(&self) -> Result<ReadTimeouts, LoadtestError> {
        let drain = super::open_loop::seconds("idle", self.idle)?;
        Ok(ReadTimeouts { drain, settle: super::open_loop::seconds("settle", self.settle)? })
    }
}

impl DrainArgs {
    /// Counts; `true` when the run was clean.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        self.measure()?.publish(&self.output)
    }

    /// Counts, and returns what it found.
    pub fn measure(&self) -> Result<Report, LoadtestError> {
        let run = RunId::parse(&self.run)?;
        let consumer = self.broker.assigned(&self.output_topic, StartOffset::Beginning, FetchMode::InBulk)?;
        let early = watermarks(&consumer, &self.output_topic)?.iter().map(|(_, low, high)| high.abs_diff(*low)).sum();
        let origin = Instant::now();
        let before = self.watch.sample()?;
        let tally = AnswerTally::new(run, 1, self.count, origin);
        let goal = || Some(Goal { accepted: self.count, sent: origin });
        let clock = GroupClock::new(&self.broker, &self.clock)?;
        let (tally, first) = clock.beside(|| read_answers(&consumer, tally, goal, self.clock.timeouts()?, true))?;
        let mut report = filled_report(&tally, first, origin);
        report.sent = self.count;
        report.lost = self.count.saturating_sub(tally.answered);
        report.kind = "drain".to_owned();
        report.usage = self.watch.since(&before, tally.answered)?;
        withhold_rates(&mut report, early);
        Ok(report)
    }
}

/// Answers that were in the topic before counting began arrived at an unknown time. With more than 5 % of them the rate
/// would be the reader's and not the system's, so none is reported.
fn withhold_rates(report: &mut Report, early: u64) {
    if early > report.sent / 20 {
        (report.answered_per_s, report.window_per_s) = (0.0, 0.0);
        let why = format!("no rate: {early} results were in the topic already; start `drain` before the services");
        eprintln!("{why}");
        report.counted_from = why;
    }
}

/// Rates and counts of a drained topic. `first` is when the first input was seen to be consumed.
pub(crate) fn filled_report(tally: &AnswerTally, first: Option<Instant>, origin: Instant) -> Report {
    let order = tally.ordered_arrivals();
    let first = first.map(|at| u64::try_from(at.saturating_duration_since(origin).as_micros()).unwrap_or(u64::MAX));
    let (rate, counted_from) = whole_rate(&order, first);
    let lost_examples = tally.unanswered(5);
    Report {
        kind: "throughput".to_owned(),
        run: tally.run().to_string(),
        rows: 1,
        answered: tally.answered,
        duplicates: tally.duplicates,
        unknown: tally.unknown,
        unreadable: tally.unreadable,
        cached: tally.cached,
        errors: tally.errors.clone(),
        lost_examples,
        answered_per_s: rate,
        counted_from: counted_from.to_owned(),
        window_per_s: window_rate(&order),
        ..Report::default()
    }
}

/// Answers per second from the first input (or the first answer, if earlier) to the last answer. Times in microseconds,
/// sorted.
fn whole_rate(order: &[u64], first_input: Option<u64>) -> (f64, &'static str) {
    let (Some(first), Some(last)) = (order.first(), order.last()) else { return (0.0, "nothing") };
    let (from, name) = match first_input {
        Some(input) if input < *first => (input, "the first input consumed"),
        _ => (*first, "the first answer"),
    };
    (per_second(order.len() as u64, last - from), name)
}

/// Answers per second between 50 % and 95 % of the answers.
fn window_rate(order: &[u64]) -> f64 {
    let (from, to) = (order.len() / 2, order.len() * 95 / 100);
    if to <= from { 0.0 } else { per_second((to - from) as u64, order[to] - order[from]) }
}

fn per_second(count: u64, micros: u64) -> f64 {
    if micros == 0 { 0.0 } else { count as f64 * 1e6 / micros as f64 }
}

/// Watches a group's committed offsets for the first one that moves.
pub(crate) struct GroupClock {
    watched: Option<(BaseConsumer, TopicPartitionList)>,
}

impl GroupClock {
    pub(crate) fn new(broker: &BrokerArgs, clock: &ClockArgs) -> Result<Self, LoadtestError> {
        let Some(group) = &clock.group else { return Ok(Self { watched: None }) };
        let consumer = broker.consumer(group, FetchMode::AtOnce)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&clock.group_topic, 0, partitions(&consumer, &clock.group_topic)? - 1);
        Ok(Self { watched: Some((consumer, list)) })
    }

    /// Does `work` and returns its result together with the instant of the group's first commit, if it was seen.
    pub(crate) fn beside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, LoadtestError>,
    ) -> Result<(T, Option<Instant>), LoadtestError> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| self.first_move(&done));
            let result = work();
            done.store(true, Ordering::Release);
            Ok((result?, watcher.join().ok().flatten()))
        })
    }

    fn first_move(&self, done: &AtomicBool) -> Option<Instant> {
        let (consumer, list) = self.watched.as_ref()?;
        let mut before = None;
        while !done.load(Ordering::Acquire) {
            if let Ok(now) = consumer.committed_offsets(list.clone(), ADMIN_TIMEOUT) {
                let sum = now.elements().iter().map(|element| concrete(element.offset())).sum::<i64>();
                if sum > *before.get_or_insert(sum) {
                    return Some(Instant::now());
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

fn concrete(offset: Offset) -> i64 {
    if let Offset::Offset(offset) = offset { offset } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_an_even_stream() {
        // 1,000 answers, one a millisecond, the first input 500 ms earlier
        let order: Vec<u64> = (0..1000).map(|i| 1_000_000 + i * 1000).collect();
        assert!((whole_rate(&order, None).0 - 1001.0).abs() < 0.01);
        let (rate, from) = whole_rate(&order, Some(500_000));
        assert!((rate - 1000.0 / 1.499).abs() < 0.01, "{rate}");
        assert_eq!(from, "the first input consumed");
        assert!((window_rate(&order) - 1000.0).abs() < 0.01);
        assert_eq!(whole_rate(&order, Some(9_000_000)).1, "the first answer");
    }

    #[test]
    fn answers_that_were_there_before_give_no_rate() {
        let measured = Report { sent: 1000, answered_per_s: 9.0, window_per_s: 9.0, ..Report::default() };
        for (early, rate) in [(0, 9.0), (50, 9.0), (51, 0.0)] {
            let mut report = measured.clone();
            withhold_rates(&mut report, early);
            assert_eq!((report.answered_per_s, report.window_per_s), (rate, rate), "{early} early");
        }
    }

    #[test]
    fn rates_of_nothing_are_zero() {
        assert_eq!(whole_rate(&[], None).0, 0.0);
        assert_eq!(window_rate(&[]), 0.0);
        assert_eq!(window_rate(&[5]), 0.0);
    }
}
