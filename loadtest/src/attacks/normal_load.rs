//! Normal traffic over HTTP, Kafka and RabbitMQ at once: the load of `faults`, judged as there.

use std::time::Duration;

use super::normal_http::NormalOutcome;
use crate::error::LoadtestError;
use crate::faults::environment::FaultEnvironment;
use crate::faults::load::{ConstantLoad, LoadRates, LoadTargets, now_us, take_all_replies};
use crate::faults::verdict::{RowTimes, RowVerdict};
use crate::latency::Percentiles;
use crate::mesh_under_test::{MeshUnderTest, RabbitClient, TopicReader};

const RATES: LoadRates = LoadRates { kafka: 20.0, http: 10.0, rabbitmq: 10.0 };
/// How long the last answer may take: beyond every deadline.
const LAST: Duration = Duration::from_secs(75);

/// The running load.
#[derive(Debug)]
pub(crate) struct NormalLoad {
    load: ConstantLoad,
    began_us: u64,
}

impl NormalLoad {
    pub(crate) fn start(targets: LoadTargets, seed: u64) -> Result<Self, LoadtestError> {
        let load = ConstantLoad::start(targets, RATES, seed)?;
        load.wait_for_answers(3, Duration::from_secs(30))?;
        Ok(Self { load, began_us: now_us() })
    }

    /// Ends the load, waits for its answers, and judges them.
    pub(crate) fn finish(
        mut self,
        environment: &FaultEnvironment,
        mesh: &MeshUnderTest,
    ) -> Result<NormalOutcome, LoadtestError> {
        self.load.end();
        let ended_us = now_us();
        let times = RowTimes { load_ended_us: ended_us, fault_began_us: self.began_us, fault_ended_us: ended_us };
        self.load.wait_answered(LAST);
        let broken = self.load.close();
        let read = |topic: &str| {
            TopicReader::from_start(&environment.brokers, &mesh.topic(topic))?.all(Duration::from_secs(30))
        };
        let (results, letters) = (read("results_out")?, read("dead_letters")?);
        let client = RabbitClient::connect(&environment.rabbit_url).map_err(LoadtestError::Input)?;
        take_all_replies(&client, &mesh.topic("queue"), &self.load.rabbitmq).map_err(LoadtestError::Input)?;
        let mut verdict = RowVerdict::default();
        verdict.take_load(&self.load, &results, &letters, times);
        Ok(outcome(&verdict, broken))
    }
}

/// Answers to the attacker's own requests are in the topic as well, so answers to strangers are not counted.
fn outcome(verdict: &RowVerdict, broken: usize) -> NormalOutcome {
    let errors: u64 = verdict.errors.values().sum();
    let counts = [
        (verdict.lost, "lost"),
        (verdict.doubled, "answered twice"),
        (verdict.wrong + verdict.contradictory, "wrong"),
        (errors, "answered with an error"),
        (verdict.all_late(), "late"),
        (broken as u64, "threads of the load panicked"),
    ];
    let failed: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let examples = verdict.examples.iter().take(4).filter(|_| !failed.is_empty()).cloned();
    let [p50, p99] = verdict.latencies.map(|it| it.as_secs_f64() * 1e3);
    let repeated = (verdict.refused > 0).then(|| ("refused".to_owned(), verdict.refused));
    NormalOutcome {
        requests: verdict.requests,
        answered: verdict.requests.saturating_sub(verdict.lost + errors),
        repeated: repeated.into_iter().collect(),
        failed: failed.iter().cloned().chain(examples).collect(),
        latencies: Percentiles { count: verdict.requests, p50, p99, ..Percentiles::default() },
    }
}
