//! Faults of the network between the mesh and its broker, and answers that are not what the broker did.

use std::time::{Duration, Instant};

use super::processes::{INGESTION, PREDICTION, PUBLISHING, any_of};
use crate::error::LoadtestError;
use crate::faults::broker_proxy::frames::api;
use crate::faults::broker_proxy::rules::{CutKind, ErrorInjection, NetworkCut, ProxyRules};
use crate::faults::row_run::FaultRun;

type Done = Result<(), LoadtestError>;

/// Answers of the broker to members of a group, and what makes them so.
const GROUP: &[i16] = &[
    api::OFFSET_COMMIT,
    api::FIND_COORDINATOR,
    api::JOIN_GROUP,
    api::HEARTBEAT,
    api::SYNC_GROUP,
    api::INIT_PRODUCER_ID,
];

/// No byte of one replica passes for a while; the process that takes its place is cut off as well.
pub(super) fn cut_one(run: &FaultRun<'_>, stage: usize, kind: CutKind, seconds: f64) {
    let (number, proxy) = (any_of(run, stage), &run.environment.proxy);
    let (until, mut pids, before) = (Instant::now() + Duration::from_secs_f64(seconds), Vec::new(), proxy.held());
    while Instant::now() < until {
        let current = run.replicas.pids(&[number]);
        if current != pids {
            pids = current;
            let cut = Some(NetworkCut { pids: pids.clone(), kind });
            proxy.set(ProxyRules { cut, ..ProxyRules::default() });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    proxy.set(ProxyRules::default());
    if proxy.held() == before {
        run.complain(format!("the cut of {seconds} s held nothing back"));
    }
}

fn cut_each(run: &FaultRun<'_>, kind: CutKind, seconds: f64) -> Done {
    for stage in [PUBLISHING, PREDICTION, INGESTION] {
        cut_one(run, stage, kind, seconds);
        run.sleep(4.0);
    }
    Ok(())
}

pub(crate) fn cut_1(run: &FaultRun<'_>) -> Done {
    cut_each(run, CutKind::Both, 1.0)
}

pub(crate) fn cut_10(run: &FaultRun<'_>) -> Done {
    cut_each(run, CutKind::Both, 10.0)
}

pub(crate) fn cut_60(run: &FaultRun<'_>) -> Done {
    cut_one(run, PUBLISHING, CutKind::Both, 60.0);
    Ok(())
}

pub(crate) fn answers_cut_10(run: &FaultRun<'_>) -> Done {
    cut_each(run, CutKind::ToClient, 10.0)
}

pub(crate) fn requests_cut_10(run: &FaultRun<'_>) -> Done {
    cut_each(run, CutKind::ToBroker, 10.0)
}

pub(crate) fn half_open(run: &FaultRun<'_>) -> Done {
    for stage in [PUBLISHING, PREDICTION, INGESTION] {
        let pids = run.replicas.pids(&[any_of(run, stage)]);
        let cut = Some(NetworkCut { pids, kind: CutKind::HalfOpen });
        run.environment.proxy.set(ProxyRules { cut, ..ProxyRules::default() });
        run.sleep(1.0);
        run.environment.proxy.set(ProxyRules::default());
        run.sleep(10.0);
    }
    Ok(())
}

/// Every connection of every process, five times a second.
pub(crate) fn reset_storm(run: &FaultRun<'_>) -> Done {
    let turns = if run.options.quick { 50 } else { 150 };
    for _ in 0..turns {
        run.environment.proxy.reset_all();
        run.sleep(0.2);
    }
    Ok(())
}

/// Applies rules for a while; at least one answer must have been changed.
pub(super) fn with_rules(run: &FaultRun<'_>, rules: ProxyRules, seconds: f64) -> Done {
    let proxy = &run.environment.proxy;
    let before = proxy.injected();
    proxy.set(rules);
    run.sleep(seconds);
    proxy.set(ProxyRules::default());
    let count = proxy.injected() - before;
    run.note(format!("answers dropped, replaced or given instead of the broker: {count}"));
    if count == 0 {
        run.complain("no answer was dropped, replaced or given instead of the broker");
    }
    Ok(())
}

pub(crate) fn produce_answers_dropped(run: &FaultRun<'_>) -> Done {
    with_rules(run, ProxyRules { drop_produce_answers: Some(10), ..ProxyRules::default() }, 15.0)
}

fn inject(run: &FaultRun<'_>, apis: &'static [i16], code: i16, every: u64, done: bool) -> Done {
    let injection = Some(ErrorInjection { apis, code, every, done });
    with_rules(run, ProxyRules { injection, ..ProxyRules::default() }, 10.0)
}

pub(crate) fn not_leader(run: &FaultRun<'_>) -> Done {
    inject(run, &[api::PRODUCE], 6, 5, false)
}

pub(crate) fn coordinator_loads(run: &FaultRun<'_>) -> Done {
    inject(run, GROUP, 14, 2, true)
}

pub(crate) fn request_timed_out(run: &FaultRun<'_>) -> Done {
    inject(run, &[api::PRODUCE], 7, 5, true)
}

pub(crate) fn not_enough_replicas(run: &FaultRun<'_>) -> Done {
    inject(run, &[api::PRODUCE], 19, 5, false)?;
    // and the form that says so when the leader has written the records
    inject(run, &[api::PRODUCE], 20, 5, true)
}

pub(crate) fn out_of_order_sequence(run: &FaultRun<'_>) -> Done {
    inject(run, &[api::PRODUCE], 45, 20, false)
}

pub(crate) fn unknown_producer_id(run: &FaultRun<'_>) -> Done {
    inject(run, &[api::PRODUCE], 59, 20, false)
}
