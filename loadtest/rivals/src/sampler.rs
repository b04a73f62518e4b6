//! Engines in turns, measured in processor time of this thread: what else the machine does falls on all of them alike,
//! time in which it does something else is not counted, and a ratio is taken within a round.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use crate::engine::{Data, Engine};

/// Time of a call in nanoseconds, a value a round, for each engine.
pub(crate) type Rounds = Vec<Vec<f64>>;

/// Every engine for about `turn` a round, over rotating rows.
pub(crate) fn turns(
    engines: &mut [Box<dyn Engine>],
    data: &Data,
    batch: usize,
    (rounds, turn): (usize, Duration),
) -> Result<Rounds> {
    let mut calls = Vec::new();
    for engine in engines.iter_mut() {
        let once = timed(engine.as_mut(), data, batch, 20)?;
        calls.push((turn.as_nanos() as f64 / once).clamp(5.0, 100_000.0) as usize);
    }
    let mut times = vec![Vec::with_capacity(rounds); engines.len()];
    for round in 0..rounds {
        for index in 0..engines.len() {
            // who begins changes
            let index = (index + round) % engines.len();
            times[index].push(timed(engines[index].as_mut(), data, batch, calls[index])?);
        }
    }
    Ok(times)
}

fn timed(engine: &mut dyn Engine, data: &Data, batch: usize, calls: usize) -> Result<f64> {
    let span = data.rows() - batch;
    let mut at = 0;
    let began = thread_ns();
    for _ in 0..calls {
        at = (at + batch) % span;
        black_box(engine.run(data, at, batch)?);
    }
    Ok((thread_ns() - began) / calls as f64)
}

/// Processor time of this thread, in nanoseconds. No engine uses another thread.
pub(crate) fn thread_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The middle one of some numbers.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
