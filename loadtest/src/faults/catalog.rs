//! The rows of the table: those of the fact base on Kafka by their numbers, then what experience added.

use super::actions::{brokers, inputs, processes, topics};
use super::row_run::FaultRun;
use crate::error::LoadtestError;

/// Applies a fault, and returns when it is over.
pub(crate) type Action = fn(&FaultRun<'_>) -> Result<(), LoadtestError>;

/// Whether a row can be run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowAction {
    Apply(Action),
    /// Not yet, and what is missing.
    Missing(&'static str),
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaultRow {
    /// Rows with the same number are forms of one fault.
    pub(crate) number: u32,
    /// The number and the form.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) action: RowAction,
    /// Settings beside the defaults.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// Requests may pass their deadlines: the fault lasts longer.
    pub(crate) may_be_late: bool,
    /// Why it is known to fail.
    pub(crate) known: Option<&'static str>,
    /// Passes reliably and quickly, so that CI runs it.
    pub(crate) in_ci: bool,
}

impl FaultRow {
    const fn new(number: u32, id: &'static str, name: &'static str, action: Action) -> Self {
        let action = RowAction::Apply(action);
        Self { number, id, name, action, settings: &[], may_be_late: false, known: None, in_ci: false }
    }

    const fn missing(number: u32, id: &'static str, name: &'static str, why: &'static str) -> Self {
        let action = RowAction::Missing(why);
        Self { number, id, name, action, settings: &[], may_be_late: false, known: None, in_ci: false }
    }

    const fn late(mut self) -> Self {
        self.may_be_late = true;
        self
    }

    const fn known(mut self, why: &'static str) -> Self {
        self.known = Some(why);
        self
    }

    const fn in_ci(mut self) -> Self {
        self.in_ci = true;
        self
    }
}

const REPLY_BYTES: &str = "a reply over RabbitMQ comes again, with its message id but another latency in it";
const PROXY: &str = "needs a proxy that speaks Kafka as the advertised listener";

/// All rows, in the order in which they are run.
#[rustfmt::skip]
pub(crate) const ROWS: &[FaultRow] = &[
    FaultRow::new(1, "1", "kill -9 of each stage, then of random ones, every 2 s", processes::kill_each).known(REPLY_BYTES),
    FaultRow::new(2, "2a", "kill -9 of two neighbouring stages at once", processes::kill_two),
    FaultRow::new(2, "2b", "kill -9 of all five stages at once", processes::kill_all).known(REPLY_BYTES),
    FaultRow::new(2, "2c", "rolling restart with SIGTERM", processes::rolling_restart).known(REPLY_BYTES),
    FaultRow::new(3, "3a", "SIGSTOP of each stage for 1 s", processes::pause_each_briefly),
    FaultRow::new(3, "3b", "SIGSTOP of a stage for a session and 2 s", processes::pause_beyond_session),
    FaultRow::new(3, "3c", "SIGSTOP of publishing for 60 s", processes::pause_60),
    FaultRow::new(4, "4a", "kill -9 of the broker, restarted at once", brokers::kafka_killed),
    FaultRow::new(4, "4b", "kill -9 of the broker, restarted after 5 s", brokers::kafka_killed_5),
    FaultRow::new(4, "4c", "kill -9 of the broker, restarted after 60 s", brokers::kafka_killed_60).late(),
    FaultRow::new(5, "5a", "the broker hangs for 15 s", brokers::kafka_hangs_15),
    FaultRow::new(5, "5b", "the broker hangs for 45 s", brokers::kafka_hangs_45).late(),
    FaultRow::new(5, "5c", "the broker hangs for 15 s, five times", brokers::kafka_hangs_15_five_times).late(),
    FaultRow::new(5, "5d", "the broker hangs for 45 s, five times", brokers::kafka_hangs_45_five_times).late(),
    FaultRow::missing(6, "6", "network cut between a stage and the broker", PROXY),
    FaultRow::missing(7, "7", "connection dropped after the append, before its acknowledgement", PROXY),
    FaultRow::missing(8, "8", "error codes of the broker injected", PROXY),
    FaultRow::new(9, "9", "rebalance storm: a replica joins and leaves every few seconds", processes::rebalance_storm),
    FaultRow::missing(10, "10", "revocation with 1,000 in flight behind a slow model", "needs a model that takes 2 ms a row"),
    FaultRow::missing(11, "11", "disk full at the broker", "needs a broker on a small tmpfs"),
    FaultRow::missing(12, "12", "torn tail of a log", "needs the segment of a stopped broker damaged"),
    FaultRow::new(13, "13", "garbage on the clients' topic and between the stages", inputs::garbage),
    FaultRow::new(14, "14a", "oversized body, and a record as large as the broker takes", inputs::oversized),
    FaultRow::new(14, "14b", "outcomes of many rows, larger than their topic takes", inputs::outcome_too_large),
    FaultRow::missing(15, "15", "a record that kills the process", "needs a way to make a stage crash on a value"),
    FaultRow::new(16, "16a", "Redis hangs for 10 s", brokers::redis_hangs),
    FaultRow::new(16, "16b", "Redis is killed and comes back after 5 s", brokers::redis_killed).in_ci(),
    FaultRow::missing(17, "17", "the clock of one stage jumps", "needs a clock offset in the stages"),
    FaultRow::new(18, "18", "one Idempotency-Key at two replicas, one message id twice", inputs::doubled_requests).in_ci(),
    FaultRow::new(19, "19a", "RabbitMQ's connections are killed every 2 s", brokers::rabbit_connections_killed).in_ci(),
    FaultRow::new(19, "19b", "kill -9 of RabbitMQ, restarted after 2 s", brokers::rabbit_killed),
    FaultRow::new(19, "19c", "RabbitMQ hangs for 15 s", brokers::rabbit_hangs),
    FaultRow::missing(20, "20", "flood of low priority at twice the capacity", "needs lanes, and a model that takes 2 ms a row"),
    FaultRow::new(21, "21", "retention passed what waits while ingestion is away", topics::retention_passed),
    FaultRow::new(22, "22a", "cold start under load, in order", processes::cold_start).in_ci(),
    FaultRow::new(22, "22b", "cold start under load, last stage first", processes::cold_start_reversed),
    FaultRow::new(22, "22c", "cold start under load, before the broker", processes::cold_start_before_the_broker),
    FaultRow::missing(23, "23", "30 minutes of all of it", "needs the slopes of memory, descriptors and threads"),
    FaultRow::missing(24, "24", "adjacent stages of the previous release", "needs binaries of the previous release"),
    FaultRow::new(25, "25", "partitions added to the clients' topic", topics::partitions_added),
    FaultRow::new(26, "26a", "the clients' topic deleted and made again", topics::request_topic_made_again),
    FaultRow::new(26, "26b", "the topic of results deleted, made again after 10 s", topics::result_topic_made_again),
    FaultRow::new(27, "27", "the broker throttles publishing while a replica joins", brokers::throttled_while_a_replica_joins),
    FaultRow::new(28, "28", "prediction away for longer than answers are remembered", processes::away_longer_than_the_window).late(),
    FaultRow::missing(29, "29", "content of a version replaced in place", "needs a registry of its own with two contents"),
    FaultRow::new(30, "30", "clients' clocks an hour ahead, then an hour behind", inputs::wrong_clocks),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_begin_with_their_numbers() {
        for (at, row) in ROWS.iter().enumerate() {
            assert!(row.id.starts_with(&row.number.to_string()), "{}", row.id);
            assert!(ROWS[..at].iter().all(|other| other.id != row.id), "{} twice", row.id);
        }
    }

    #[test]
    fn every_fault_of_the_list_has_a_row() {
        for number in 1..=24 {
            assert!(ROWS.iter().any(|row| row.number == number), "no row {number}");
        }
    }
}
