//! Faults of the mesh's own processes. Replica `r` of stage `s` is number `2 * s + r`.

use std::time::Duration;

use rand::Rng as _;

use crate::error::LoadtestError;
use crate::faults::load::now_us;
use crate::faults::replicas::READY;
use crate::faults::row_run::FaultRun;
use crate::mesh_under_test::STAGES;

type Done = Result<(), LoadtestError>;

pub(super) const ALL: usize = STAGES.len() * 2;
pub(super) const INGESTION: usize = 0;
pub(super) const PREDICTION: usize = 3;
pub(super) const PUBLISHING: usize = 4;

pub(super) fn any(run: &FaultRun<'_>) -> usize {
    run.random.lock().random_range(0..ALL)
}

pub(super) fn any_of(run: &FaultRun<'_>, stage: usize) -> usize {
    2 * stage + run.random.lock().random_range(0..2)
}

/// One of each stage in turn, and then as many of any stage, every two seconds.
pub(crate) fn kill_each(run: &FaultRun<'_>) -> Done {
    for stage in 0..STAGES.len() {
        run.replicas.kill(any_of(run, stage))?;
        run.sleep(2.0);
    }
    for _ in 0..STAGES.len() {
        run.replicas.kill(any(run))?;
        run.sleep(2.0);
    }
    Ok(())
}

/// Two of neighbouring stages at once, three times.
pub(crate) fn kill_two(run: &FaultRun<'_>) -> Done {
    for _ in 0..3 {
        let stage = run.random.lock().random_range(0..STAGES.len() - 1);
        run.replicas.kill(any_of(run, stage))?;
        run.replicas.kill(any_of(run, stage + 1))?;
        run.sleep(4.0);
    }
    Ok(())
}

/// All ten processes at once.
pub(crate) fn kill_all(run: &FaultRun<'_>) -> Done {
    (0..ALL).try_for_each(|number| run.replicas.kill(number))?;
    run.sleep(2.0);
    Ok(())
}

/// One after the other stops in order, and is started again.
pub(crate) fn rolling_restart(run: &FaultRun<'_>) -> Done {
    for number in 0..ALL {
        run.replicas.stop(number)?;
        run.replicas.restart(number)?;
        run.replicas.wait_ready(READY)?;
    }
    Ok(())
}

pub(super) fn stop_for(run: &FaultRun<'_>, number: usize, seconds: f64) -> Done {
    run.replicas.signal(number, "STOP")?;
    run.sleep(seconds);
    run.replicas.signal(number, "CONT")
}

/// One of each stage in turn for a second: less than the fence allows.
pub(crate) fn pause_each_briefly(run: &FaultRun<'_>) -> Done {
    for stage in 0..STAGES.len() {
        stop_for(run, any_of(run, stage), 1.0)?;
        run.sleep(1.0);
    }
    Ok(())
}

/// Longer than a session: the broker gives its partitions to the other replica meanwhile.
pub(crate) fn pause_beyond_session(run: &FaultRun<'_>) -> Done {
    let stages: &[usize] = if run.options.quick { &[PUBLISHING] } else { &[PUBLISHING, PREDICTION, INGESTION] };
    for stage in stages {
        stop_for(run, any_of(run, *stage), run.session() + 2.0)?;
        run.sleep(3.0);
    }
    Ok(())
}

pub(crate) fn pause_60(run: &FaultRun<'_>) -> Done {
    stop_for(run, any_of(run, PUBLISHING), 60.0)
}

/// A third replica of one stage after the other joins and leaves.
pub(crate) fn rebalance_storm(run: &FaultRun<'_>) -> Done {
    let turns = if run.options.quick { 5 } else { 15 };
    for turn in 0..turns {
        let added = run.replicas.add(turn % STAGES.len())?;
        run.sleep(3.0);
        run.replicas.stop(added)?;
        run.sleep(1.0);
    }
    Ok(())
}

fn stop_everything(run: &FaultRun<'_>) -> Done {
    (0..ALL).try_for_each(|number| run.replicas.stop(number))?;
    run.sleep(2.0);
    Ok(())
}

pub(crate) fn cold_start(run: &FaultRun<'_>) -> Done {
    stop_everything(run)?;
    (0..ALL).try_for_each(|number| run.replicas.restart(number))?;
    run.replicas.wait_ready(READY)
}

pub(crate) fn cold_start_reversed(run: &FaultRun<'_>) -> Done {
    stop_everything(run)?;
    for number in (0..ALL).rev() {
        run.replicas.restart(number)?;
        run.sleep(0.5);
    }
    run.replicas.wait_ready(READY)
}

pub(crate) fn cold_start_before_the_broker(run: &FaultRun<'_>) -> Done {
    stop_everything(run)?;
    run.environment.services.run(&["down", "kafka"])?;
    (0..ALL).try_for_each(|number| run.replicas.restart(number))?;
    run.sleep(5.0);
    run.environment.services.run(&["up", "kafka"])?;
    run.replicas.wait_ready(READY)
}

/// One of ten every two seconds, started at once under its name. Answers must hardly notice.
pub(crate) fn killing_is_cheap(run: &FaultRun<'_>) -> Done {
    let since_us = now_us();
    for _ in 0..20 {
        run.replicas.kill_and_restart(any(run))?;
        run.sleep(2.0);
    }
    run.sleep(run.session() + 5.0);
    let [half, most] = run.load.latencies(since_us).map(|it| it.as_secs_f64());
    run.note(format!("of all requests since the first kill: P50 {half:.3} s, P99 {most:.3} s"));
    let bound = run.session() + 2.0;
    if half > 1.0 || most > bound {
        run.complain(format!("P50 {half:.1} s and P99 {most:.1} s, wanted are 1 s and {bound} s"));
    }
    Ok(())
}

/// Both replicas of a stage are killed with work under way, and stay away for longer than answers are remembered.
pub(crate) fn away_longer_than_the_window(run: &FaultRun<'_>) -> Done {
    let both = [2 * PREDICTION, 2 * PREDICTION + 1];
    for number in both {
        run.replicas.hold(number, true);
        run.replicas.kill(number)?;
    }
    run.sleep(f64::from(run.options.window) + 10.0);
    both.into_iter().try_for_each(|number| run.replicas.restart(number))?;
    run.replicas.wait_ready(READY)?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(())
}
