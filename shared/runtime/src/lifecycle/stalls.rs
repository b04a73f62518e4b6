//! Finds the loops that no longer beat. Silence is counted in ticks of the watch's own thread: when the whole
//! process was paused (SIGSTOP, a frozen machine), the gap counts as two ticks, so every loop gets time to beat again.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::heartbeat::{Heartbeat, Loop};

/// Ticks in a bound.
const TICKS: u32 = 16;
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// The watched loops of one process.
#[derive(Debug)]
pub(super) struct Stalls {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bound: Duration,
    loops: Vec<Watched>,
}

struct Watched {
    watched: Weak<Loop>,
    beats: u64,
    silent: Duration,
    stalled: bool,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("silent", &self.silent).field("stalled", &self.stalled).finish_non_exhaustive()
    }
}

impl Stalls {
    pub(super) fn new(bound: Duration) -> Self {
        Self { state: Mutex::new(State { bound, loops: Vec::new() }) }
    }

    /// Sets the bound; heartbeats made afterwards beat often enough for it.
    pub(super) fn set_bound(&self, bound: Duration) {
        self.state.lock().bound = bound;
    }

    /// Watches a new loop.
    pub(super) fn heartbeat(&self, name: String) -> Heartbeat {
        let mut state = self.state.lock();
        let heartbeat = Heartbeat::new(name, state.bound);
        let watched = Arc::downgrade(heartbeat.watched());
        state.loops.push(Watched { watched, beats: 0, silent: Duration::ZERO, stalled: false });
        heartbeat
    }

    /// Time between two ticks.
    pub(super) fn interval(&self) -> Duration {
        (self.state.lock().bound / TICKS).clamp(Duration::from_millis(1), LONGEST_TICK)
    }

    /// Looks at every loop, `gap` after the tick before. What stalls and what has recovered is logged once.
    pub(super) fn tick(&self, gap: Duration) {
        let counted = gap.min(self.interval() * 2);
        let mut state = self.state.lock();
        let bound = state.bound;
        state.loops.retain_mut(|watched| watched.tick(counted, bound));
    }

    /// Names of the loops that stall, each once.
    pub(super) fn names(&self) -> Vec<String> {
        let state = self.state.lock();
        let stalled = state.loops.iter().filter(|it| it.stalled).filter_map(|it| it.watched.upgrade());
        let mut names: Vec<String> = stalled.map(|it| it.name().to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Watched {
    /// False when the loop is gone.
    fn tick(&mut self, counted: Duration, bound: Duration) -> bool {
        let Some(watched) = self.watched.upgrade() else { return false };
        let (component, beats) = (watched.name(), watched.beats());
        if beats != self.beats {
            self.beats = beats;
            self.silent = Duration::ZERO;
            if std::mem::take(&mut self.stalled) {
                tracing::warn!(component, "component has recovered from its stall");
            }
            return true;
        }
        self.silent += counted;
        if self.silent > bound.saturating_add(watched.allowance()) && !std::mem::replace(&mut self.stalled, true) {
            let silent_ms = u64::try_from(self.silent.as_millis()).unwrap_or(u64::MAX);
            tracing::error!(component, silent_ms, "component is stalled, liveness fails until it turns again");
        }
        true
    }
}

/// Starts the thread that calls `tick` with the time since the last call, every `interval`, until `owner` is gone.
///
/// # Errors
/// When there can be no more threads.
pub(super) fn spawn<T: Send + Sync + 'static>(
    owner: Weak<T>,
    tick: impl Fn(&T, Duration) + Send + 'static,
    interval: impl Fn(&T) -> Duration + Send + 'static,
) -> std::io::Result<()> {
    let watch = move || {
        let mut before = Instant::now();
        while let Some(pause) = owner.upgrade().map(|owner| interval(&owner)) {
            std::thread::sleep(pause);
            let Some(owner) = owner.upgrade() else { break };
            let now = Instant::now();
            tick(&owner, now.saturating_duration_since(before));
            before = now;
        }
    };
    std::thread::Builder::new().name("liveness".into()).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(1600);
    const TICK: Duration = Duration::from_millis(100);

    fn ticks(stalls: &Stalls, count: u32) {
        (0..count).for_each(|_| stalls.tick(TICK));
    }

    #[test]
    fn a_silent_loop_stalls_after_its_bound_and_recovers_with_a_beat() {
        let stalls = Stalls::new(BOUND);
        let (silent, lively) = (stalls.heartbeat("silent".into()), stalls.heartbeat("lively".into()));
        for _ in 0..TICKS {
            lively.beat();
            ticks(&stalls, 1);
        }
        assert_eq!(stalls.names(), [""; 0], "not yet");
        lively.beat();
        ticks(&stalls, 1);
        assert_eq!(stalls.names(), ["silent"]);
        silent.beat();
        ticks(&stalls, 1);
        assert_eq!(stalls.names(), [""; 0]);
    }

    #[test]
    fn a_jump_of_the_clock_counts_as_two_ticks() {
        let stalls = Stalls::new(BOUND);
        let source = stalls.heartbeat("source".into());
        ticks(&stalls, TICKS - 4);
        // the process was stopped for ten minutes: nothing could beat
        stalls.tick(Duration::from_secs(600));
        ticks(&stalls, 2);
        assert_eq!(stalls.names(), [""; 0], "there has to be time for a beat after the pause");
        ticks(&stalls, 1);
        assert_eq!(stalls.names(), ["source"]);
        drop(source);
    }

    #[test]
    fn a_marked_wait_has_its_own_bound() {
        let stalls = Stalls::new(BOUND);
        let loader = stalls.heartbeat("loader".into());
        let load = loader.waiting(BOUND * 3);
        ticks(&stalls, TICKS + 1);
        let call = loader.waiting(BOUND);
        drop(call);
        ticks(&stalls, TICKS * 4 + 1);
        assert_eq!(stalls.names(), [""; 0], "a shorter wait inside a longer one does not end that");
        ticks(&stalls, 1);
        assert_eq!(stalls.names(), ["loader"]);
        drop(load);
        ticks(&stalls, TICKS + 1);
        assert_eq!(stalls.names(), [""; 0]);
        ticks(&stalls, 1);
        assert_eq!(stalls.names(), ["loader"], "after the wait the usual bound counts");
    }

    #[test]
    fn a_loop_that_ended_is_not_watched() {
        let stalls = Stalls::new(BOUND);
        let (one, two) = (stalls.heartbeat("loop".into()), stalls.heartbeat("loop".into()));
        ticks(&stalls, TICKS + 2);
        assert_eq!(stalls.names(), ["loop"], "loops of one name are one component");
        drop((one, two));
        assert_eq!(stalls.names(), [""; 0]);
        ticks(&stalls, 1);
        assert!(stalls.state.lock().loops.is_empty());
    }
}
