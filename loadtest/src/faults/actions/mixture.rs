//! A random mixture of the other faults over a long time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::Rng as _;

use super::brokers::{hang, kill};
use super::network::{cut_one, with_rules};
use super::processes::{ALL, any, stop_for};
use super::{brokers, inputs};
use crate::error::LoadtestError;
use crate::faults::broker_proxy::frames::api;
use crate::faults::broker_proxy::rules::{CutKind, ErrorInjection, ProxyRules};
use crate::faults::catalog::Action;
use crate::faults::replicas::READY;
use crate::faults::row_run::FaultRun;
use crate::mesh_under_test::STAGES;

type Done = Result<(), LoadtestError>;

/// The calm after each fault, seconds.
const CALM: std::ops::Range<f64> = 5.0..15.0;
/// The calm at the end, in which everything recovers.
const LAST: f64 = 30.0;

/// Each is over when it returns. Those of processes stand more often than the others, as in life.
const FAULTS: &[(&str, Action)] = &[
    ("kill -9", |run| run.replicas.kill(any(run))),
    ("kill -9", |run| run.replicas.kill(any(run))),
    ("stop and start", restart_one),
    ("stop and start", restart_one),
    ("SIGSTOP for 1 s", |run| stop_for(run, any(run), 1.0)),
    ("SIGSTOP beyond the session", |run| stop_for(run, any(run), run.session() + 2.0)),
    ("a replica joins and leaves", join_and_leave),
    ("broker killed", |run| kill(run, "kafka", 0.1)),
    ("broker hangs for 10 s", |run| hang(run, "kafka", 10.0)),
    ("Redis hangs", |run| hang(run, "redis", 5.0)),
    ("Redis killed", |run| kill(run, "redis", 2.0)),
    ("RabbitMQ killed", |run| kill(run, "rabbitmq", 2.0)),
    ("RabbitMQ's connections killed", brokers::rabbit_connections_killed),
    ("garbage", inputs::garbage),
    ("doubled requests", inputs::doubled_requests),
    ("clocks of clients", inputs::wrong_clocks),
    ("network cut for 10 s", |run| cut(run, CutKind::Both)),
    ("answers cut for 10 s", |run| cut(run, CutKind::ToClient)),
    ("connections reset", reset_some),
    ("produce answers dropped", |run| {
        with_rules(run, ProxyRules { drop_produce_answers: Some(10), ..ProxyRules::default() }, 10.0)
    }),
    ("REQUEST_TIMED_OUT", |run| {
        let injection = Some(ErrorInjection { apis: &[api::PRODUCE], code: 7, every: 10, done: true });
        with_rules(run, ProxyRules { injection, ..ProxyRules::default() }, 10.0)
    }),
];

fn restart_one(run: &FaultRun<'_>) -> Done {
    let number = any(run);
    run.replicas.stop(number)?;
    run.replicas.restart(number)
}

fn join_and_leave(run: &FaultRun<'_>) -> Done {
    let added = run.replicas.add(run.random.lock().random_range(0..STAGES.len()))?;
    run.sleep(5.0);
    run.replicas.stop(added)
}

fn cut(run: &FaultRun<'_>, kind: CutKind) -> Done {
    let stage = run.random.lock().random_range(0..STAGES.len());
    cut_one(run, stage, kind, 10.0);
    Ok(())
}

fn reset_some(run: &FaultRun<'_>) -> Done {
    for _ in 0..10 {
        run.environment.proxy.reset_all();
        run.sleep(0.2);
    }
    Ok(())
}

/// Faults one after the other, by the seed, until the time of the load is over.
pub(crate) fn soak(run: &FaultRun<'_>) -> Done {
    let until = Instant::now() + Duration::from_secs_f64((run.options.seconds - LAST).max(30.0));
    let mut applied: BTreeMap<&str, u32> = BTreeMap::new();
    while Instant::now() < until {
        let turn = run.random.lock().random_range(0..FAULTS.len());
        let (name, fault) = FAULTS[turn];
        fault(run)?;
        *applied.entry(name).or_default() += 1;
        let calm = run.random.lock().random_range(CALM);
        run.sleep(calm);
    }
    run.note(format!("faults of {ALL} processes and three servers: {applied:?}"));
    run.replicas.wait_ready(READY)
}
