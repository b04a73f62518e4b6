//! More work than a slow model can do. The model waits for each row and computes nothing, so that no processor is busy.

use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::processes::PREDICTION;
use crate::error::LoadtestError;
use crate::faults::row_run::FaultRun;

type Done = Result<(), LoadtestError>;

/// Two milliseconds a row: 500 rows a second and replica.
pub(crate) const SLOW: &[(&str, &str)] = &[("FOREBAY_TEST_ROW_DELAY_US", "2000")];
/// Four milliseconds a row in calls of 16: 500 rows a second for both replicas, and no call that holds others up for long.
pub(crate) const SLOWER: &[(&str, &str)] =
    &[("FOREBAY_TEST_ROW_DELAY_US", "4000"), ("FOREBAY__PREDICTION__BATCH", "16")];
const CAPACITY: f64 = 500.0;
const WANTED_IN_FLIGHT: f64 = 1000.0;

fn random(run: &FaultRun<'_>, salt: u64) -> StdRng {
    StdRng::seed_from_u64(run.options.seed ^ salt)
}

/// A replica of prediction joins, and leaves, while each time more than a thousand rows are in flight.
pub(crate) fn revoked_in_flight(run: &FaultRun<'_>) -> Done {
    let in_flight = || run.replicas.metric(PREDICTION, "forebay_stage_in_flight", &[]);
    let fill = |salt| -> Result<f64, LoadtestError> {
        run.load.burst(3000, 5000.0, "\"priority\":1", &mut random(run, salt))?;
        let (until, mut most) = (Instant::now() + Duration::from_secs(5), 0.0_f64);
        while most < WANTED_IN_FLIGHT && Instant::now() < until {
            most = most.max(in_flight());
        }
        Ok(most)
    };
    let first = fill(1)?;
    let added = run.replicas.add(PREDICTION)?;
    run.sleep(6.0);
    let second = fill(2)?;
    run.replicas.stop(added)?;
    run.sleep(6.0);
    run.note(format!("rows in flight at prediction when partitions moved: {first} and {second}"));
    if first.min(second) < WANTED_IN_FLIGHT {
        run.complain(format!("only {} rows were in flight", first.min(second)));
    }
    Ok(())
}

/// Twice the capacity for ten seconds, one request in twenty with a high priority.
pub(crate) fn low_priority_flood(run: &FaultRun<'_>) -> Done {
    let (high, low) = ("\"priority\":0", "\"priority\":5");
    let rate = CAPACITY * 2.0 / 20.0;
    let unloaded = run.load.burst((rate * 5.0) as usize, rate, high, &mut random(run, 1))?;
    run.sleep(1.0);
    let seconds = 10.0;
    let (of_high, of_low) = std::thread::scope(|scope| {
        let send = |fields, rate: f64, salt| {
            scope.spawn(move || run.load.burst((rate * seconds) as usize, rate, fields, &mut random(run, salt)))
        };
        let (high, low) = (send(high, rate, 2), send(low, rate * 19.0, 3));
        (high.join(), low.join())
    });
    let panicked = |_| LoadtestError::Input("a thread of the flood panicked".into());
    let (of_high, of_low) = (of_high.map_err(panicked)??, of_low.map_err(panicked)??);
    run.load.wait_answered(Duration::from_secs(60));
    let [before, during, low] = [&unloaded, &of_high, &of_low].map(|numbers| run.load.p99(numbers));
    run.note(format!(
        "P99 of high priority: {:.3} s before the flood, {:.3} s in it; of low priority {:.3} s; answered {} of {}, {} of {}",
        before.0.as_secs_f64(),
        during.0.as_secs_f64(),
        low.0.as_secs_f64(),
        during.1,
        of_high.len(),
        low.1,
        of_low.len(),
    ));
    if during.0 > before.0 * 3 {
        run.complain("P99 of high priority is more than three times that without load");
    }
    Ok(())
}
