//! The rows of the table: those of the fact base on Kafka by their numbers, then what experience added.

use super::actions::overload::{SLOW, SLOWER};
use super::actions::{
    brokers, builds, clocks, cluster, disks, inputs, mixture, network, overload, processes, registry, topics,
};
use super::counts::{Count, Excuse};
use super::environment::{BrokerKind, FaultEnvironment};
use super::load::LoadRates;
use super::row_run::FaultRun;
use crate::error::LoadtestError;
use crate::mesh_under_test::MeshUnderTest;

/// Applies a fault, and returns when it is over.
pub(crate) type Action = fn(&FaultRun<'_>) -> Result<(), LoadtestError>;

/// Prepares a mesh before it is started.
pub(crate) type Preparation = fn(&FaultEnvironment, &mut MeshUnderTest) -> Result<(), LoadtestError>;

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaultRow {
    /// Rows with the same number are forms of one fault.
    pub(crate) number: u32,
    /// The number and the form.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) action: Action,
    /// Settings beside the defaults.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// What the mesh needs that settings alone do not say.
    pub(crate) prepare: Option<Preparation>,
    /// Another load than the usual one.
    pub(crate) rates: Option<LoadRates>,
    /// The mesh reaches its broker through the proxy.
    pub(crate) proxied: bool,
    /// Each replica has a name that stays the same when it is started again.
    pub(crate) named: bool,
    /// The broker that it needs.
    pub(crate) broker: BrokerKind,
    /// It needs binaries of the previous release.
    pub(crate) previous: bool,
    /// Requests may pass their deadlines: the fault lasts longer.
    pub(crate) may_be_late: bool,
    /// Publishing or RabbitMQ is killed, so that a reply may come again with the same message id and bytes.
    pub(crate) replies_may_repeat: bool,
    /// The counts that are known to be wrong.
    pub(crate) known: &'static [Excuse],
    /// Passes reliably and quickly, so that CI runs it.
    pub(crate) in_ci: bool,
}

impl FaultRow {
    const fn new(number: u32, id: &'static str, name: &'static str, action: Action) -> Self {
        Self {
            number,
            id,
            name,
            action,
            settings: &[],
            prepare: None,
            rates: None,
            proxied: false,
            named: false,
            broker: BrokerKind::Single,
            previous: false,
            may_be_late: false,
            replies_may_repeat: false,
            known: &[],
            in_ci: false,
        }
    }

    const fn settings(mut self, settings: &'static [(&'static str, &'static str)]) -> Self {
        self.settings = settings;
        self
    }

    const fn prepared(mut self, prepare: Preparation) -> Self {
        self.prepare = Some(prepare);
        self
    }

    const fn rates(mut self, kafka: f64, http: f64, rabbitmq: f64) -> Self {
        self.rates = Some(LoadRates { kafka, http, rabbitmq });
        self
    }

    const fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    const fn named(mut self) -> Self {
        self.named = true;
        self
    }

    const fn on_a_small_disk(mut self) -> Self {
        self.broker = BrokerKind::SmallDisk;
        self
    }

    const fn on_three_brokers(mut self) -> Self {
        self.broker = BrokerKind::Cluster;
        self
    }

    const fn beside_the_previous_release(mut self) -> Self {
        self.previous = true;
        self
    }

    const fn late(mut self) -> Self {
        self.may_be_late = true;
        self
    }

    const fn repeats(mut self) -> Self {
        self.replies_may_repeat = true;
        self
    }

    const fn known(mut self, known: &'static [Excuse]) -> Self {
        self.known = known;
        self
    }

    const fn in_ci(mut self) -> Self {
        self.in_ci = true;
        self
    }
}

/// Results are written in transactions, and their reader reads what is committed: the client's own default.
const STRICT: &[(&str, &str)] = &[("FOREBAY__RESULTS__TRANSACTIONS", "true")];

const FIRST_REPORT: &[Excuse] = &[Excuse {
    count: Count::Late,
    why: "what reaches a process before its first delivery report is judged by its wrong clock",
}];

const NOT_REPLICATED: &[Excuse] = &[Excuse {
    count: Count::Doubled,
    why: "what a replica of publishing had in flight while a broker hung is not visible yet to the one that takes over",
}];

/// All rows, in the order in which they are run.
#[rustfmt::skip]
pub(crate) const ROWS: &[FaultRow] = &[
    FaultRow::new(1, "1", "kill -9 of each stage, then of random ones, every 2 s", processes::kill_each).repeats(),
    FaultRow::new(2, "2a", "kill -9 of two neighbouring stages at once", processes::kill_two).repeats(),
    FaultRow::new(2, "2b", "kill -9 of all five stages at once", processes::kill_all).repeats(),
    FaultRow::new(2, "2c", "rolling restart with SIGTERM", processes::rolling_restart),
    FaultRow::new(3, "3a", "SIGSTOP of each stage for 1 s", processes::pause_each_briefly),
    FaultRow::new(3, "3b", "SIGSTOP of a stage for a session and 2 s", processes::pause_beyond_session).repeats(),
    FaultRow::new(3, "3c", "SIGSTOP of publishing for 60 s", processes::pause_60).repeats(),
    FaultRow::new(3, "3d", "as 3b, in strict mode", processes::pause_beyond_session).settings(STRICT).repeats(),
    FaultRow::new(3, "3e", "as 3c, in strict mode", processes::pause_60).settings(STRICT).repeats(),
    FaultRow::new(4, "4a", "kill -9 of the broker, restarted at once", brokers::kafka_killed),
    FaultRow::new(4, "4b", "kill -9 of the broker, restarted after 5 s", brokers::kafka_killed_5),
    FaultRow::new(4, "4c", "kill -9 of the broker, restarted after 60 s", brokers::kafka_killed_60).late(),
    FaultRow::new(5, "5a", "the broker hangs for 15 s", brokers::kafka_hangs_15),
    FaultRow::new(5, "5b", "the broker hangs for 45 s", brokers::kafka_hangs_45).late(),
    FaultRow::new(5, "5c", "the broker hangs for 15 s, five times", brokers::kafka_hangs_15_five_times).late(),
    FaultRow::new(5, "5d", "the broker hangs for 45 s, five times", brokers::kafka_hangs_45_five_times).late(),
    FaultRow::new(6, "6a", "one replica of a stage cut off the broker for 1 s", network::cut_1).proxied(),
    FaultRow::new(6, "6b", "one replica of a stage cut off the broker for 10 s", network::cut_10).proxied(),
    FaultRow::new(6, "6c", "one replica of publishing cut off the broker for 60 s", network::cut_60).proxied(),
    FaultRow::new(6, "6d", "the broker's answers to one replica held back for 10 s", network::answers_cut_10).proxied(),
    FaultRow::new(6, "6e", "one replica's requests to the broker held back for 10 s", network::requests_cut_10).proxied(),
    FaultRow::new(6, "6f", "storm of resets of all connections to the broker", network::reset_storm).proxied(),
    FaultRow::new(6, "6g", "half-open connections to the broker", network::half_open).proxied(),
    FaultRow::new(6, "6h", "as 6c, in strict mode", network::cut_60).settings(STRICT).proxied(),
    FaultRow::new(6, "6i", "as 6e, in strict mode", network::requests_cut_10).settings(STRICT).proxied(),
    FaultRow::new(7, "7", "every 10th produce answer lost with its connection, after the append", network::produce_answers_dropped).proxied(),
    FaultRow::new(8, "8a", "NOT_LEADER_OR_FOLLOWER for produce requests", network::not_leader).proxied(),
    FaultRow::new(8, "8b", "COORDINATOR_LOAD_IN_PROGRESS for members of groups", network::coordinator_loads).proxied(),
    FaultRow::new(8, "8c", "REQUEST_TIMED_OUT for records that are written", network::request_timed_out).proxied(),
    FaultRow::new(8, "8d", "NOT_ENOUGH_REPLICAS, before and after the append", network::not_enough_replicas).proxied(),
    FaultRow::new(8, "8e", "OUT_OF_ORDER_SEQUENCE_NUMBER for produce requests", network::out_of_order_sequence).proxied(),
    FaultRow::new(8, "8f", "UNKNOWN_PRODUCER_ID for produce requests", network::unknown_producer_id).proxied(),
    FaultRow::new(9, "9", "rebalance storm: a replica joins and leaves every few seconds", processes::rebalance_storm),
    FaultRow::new(10, "10", "partitions revoked with 1,000 in flight behind a slow model", overload::revoked_in_flight).settings(SLOW),
    FaultRow::new(11, "11", "disk full at the broker for 10 s, then restarted", disks::full).on_a_small_disk(),
    FaultRow::new(12, "12", "torn and corrupt tails of a killed broker's logs", disks::torn_tails),
    FaultRow::new(13, "13", "garbage on the clients' topic and between the stages", inputs::garbage),
    FaultRow::new(14, "14a", "oversized body, and a record as large as the broker takes", inputs::oversized),
    FaultRow::new(14, "14b", "outcomes of many rows, larger than their topic takes", inputs::outcome_too_large),
    FaultRow::new(15, "15", "a record that kills every process that works on it", inputs::poison).settings(inputs::POISON).late(),
    FaultRow::new(16, "16a", "Redis hangs for 10 s", brokers::redis_hangs),
    FaultRow::new(16, "16b", "Redis is killed and comes back after 5 s", brokers::redis_killed).in_ci(),
    FaultRow::new(17, "17", "one replica of a stage an hour ahead or behind", clocks::one_stage_jumps).known(FIRST_REPORT),
    FaultRow::new(18, "18", "one Idempotency-Key at two replicas, one message id twice", inputs::doubled_requests).in_ci(),
    FaultRow::new(19, "19a", "RabbitMQ's connections are killed every 2 s", brokers::rabbit_connections_killed).repeats().in_ci(),
    FaultRow::new(19, "19b", "kill -9 of RabbitMQ, restarted after 2 s", brokers::rabbit_killed).repeats(),
    FaultRow::new(19, "19c", "RabbitMQ hangs for 15 s", brokers::rabbit_hangs).repeats(),
    FaultRow::new(20, "20", "flood of low priority at twice the capacity", overload::low_priority_flood).settings(SLOWER),
    FaultRow::new(21, "21", "retention passed what waits while ingestion is away", topics::retention_passed),
    FaultRow::new(22, "22a", "cold start under load, in order", processes::cold_start).in_ci(),
    FaultRow::new(22, "22b", "cold start under load, last stage first", processes::cold_start_reversed),
    FaultRow::new(22, "22c", "cold start under load, before the broker", processes::cold_start_before_the_broker),
    FaultRow::new(23, "23", "a random mixture of the faults, for as long as --seconds says", mixture::soak).proxied().late().repeats(),
    FaultRow::new(24, "24", "stages of the previous release beside new ones", builds::previous_release).beside_the_previous_release(),
    FaultRow::new(25, "25", "partitions added to the clients' topic", topics::partitions_added),
    FaultRow::new(26, "26a", "the clients' topic deleted and made again", topics::request_topic_made_again),
    FaultRow::new(26, "26b", "the topic of results deleted, made again after 10 s", topics::result_topic_made_again),
    FaultRow::new(27, "27", "the broker throttles publishing while a replica joins", brokers::throttled_while_a_replica_joins),
    FaultRow::new(28, "28", "prediction away for longer than answers are remembered", processes::away_longer_than_the_window).late(),
    FaultRow::new(29, "29", "content of a version replaced in place", registry::replaced_in_place).prepared(registry::own_registry),
    FaultRow::new(30, "30", "clients' clocks an hour ahead, then an hour behind", inputs::wrong_clocks),
    FaultRow::new(31, "31", "one of ten processes killed every 2 s for 40 s, restarted at once, at 500/s", processes::killing_is_cheap).rates(400.0, 50.0, 50.0).named().repeats(),
    FaultRow::new(32, "32a", "three brokers: kill -9 of one after the other, restarted after 12 s", cluster::each_killed).on_three_brokers(),
    FaultRow::new(32, "32b", "three brokers: rolling restart with SIGTERM", cluster::each_restarted).on_three_brokers(),
    FaultRow::new(32, "32c", "as 32a, in strict mode", cluster::each_killed).settings(STRICT).on_three_brokers(),
    FaultRow::new(33, "33a", "three brokers: unclean election on the clients' topic, whose end is gone", cluster::unclean_election).on_three_brokers().prepared(cluster::two_replicas_of_requests).known(NOT_REPLICATED),
    FaultRow::new(33, "33b", "as 33a, in strict mode", cluster::unclean_election).settings(STRICT).on_three_brokers().prepared(cluster::two_replicas_of_requests),
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
