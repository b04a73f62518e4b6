//! Memory, descriptors and threads of every process of the mesh over a row, from `/proc`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often each process is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The first part of a process's life, in which it fills its pools, says nothing about growth.
const WARM_UP_SECONDS: f64 = 60.0;
/// Shorter observations have no slope.
const LEAST_SECONDS: f64 = 120.0;

/// A process at one moment.
#[derive(Debug, Clone, Copy)]
struct ProcessSample {
    /// Seconds since it was first seen.
    at: f64,
    mib: f64,
    descriptors: f64,
    threads: f64,
}

/// What one process was seen to use.
#[derive(Debug, Default)]
struct ProcessHistory {
    name: String,
    samples: Vec<ProcessSample>,
}

/// What the processes of a row used at most, and how fast it grew.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ProcessTrends {
    pub(crate) mib: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    /// The fastest growth of any process, each number by itself; `None` if none was observed for long enough.
    pub(crate) growth: Option<ProcessGrowth>,
    /// The processes by their use: name, largest memory, and growth if it is known.
    pub(crate) processes: Vec<String>,
}

/// Slopes by least squares, per minute.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ProcessGrowth {
    pub(crate) mib: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    /// For how long the process was observed after its warm-up.
    pub(crate) seconds: f64,
}

/// A thread that looks at the processes until it is asked for the result.
#[derive(Debug)]
pub(crate) struct ProcessWatch {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<HashMap<u32, ProcessHistory>>>,
}

impl ProcessWatch {
    /// Watches the processes that `running` lists, by name and id, whenever it is called.
    pub(crate) fn start(running: impl Fn() -> Vec<(String, u32)> + Send + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut histories: HashMap<u32, ProcessHistory> = HashMap::new();
            let (began, mut due) = (Instant::now(), Instant::now());
            while !until.load(Ordering::Relaxed) {
                if Instant::now() >= due {
                    due += INTERVAL;
                    for (name, pid) in running() {
                        let Some(sample) = sample(pid, began.elapsed().as_secs_f64()) else { continue };
                        let history = histories.entry(pid).or_default();
                        history.name = name;
                        history.samples.push(sample);
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            histories
        });
        Self { ended, thread: Some(thread) }
    }

    /// Stops to look; what was seen.
    pub(crate) fn end(&mut self) -> ProcessTrends {
        self.ended.store(true, Ordering::Relaxed);
        let histories = self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        trends(histories.into_values().collect())
    }
}

impl Drop for ProcessWatch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn sample(pid: u32, at: f64) -> Option<ProcessSample> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as f64;
    Some(ProcessSample { at, mib: field("VmRSS:")? / 1024.0, descriptors, threads: field("Threads:")? })
}

fn trends(mut histories: Vec<ProcessHistory>) -> ProcessTrends {
    let mut all = ProcessTrends::default();
    histories.sort_by(|one, other| one.name.cmp(&other.name));
    for history in histories {
        let largest = |of: fn(&ProcessSample) -> f64| history.samples.iter().map(of).fold(0.0, f64::max);
        let (mib, descriptors, threads) =
            (largest(|it| it.mib), largest(|it| it.descriptors), largest(|it| it.threads));
        all.mib = all.mib.max(mib);
        all.descriptors = all.descriptors.max(descriptors);
        all.threads = all.threads.max(threads);
        let growth = history.growth();
        let mut text = format!("{}: {mib:.0} MiB, {descriptors} descriptors, {threads} threads", history.name);
        if let Some(growth) = growth {
            text.push_str(&format!("; {growth}"));
            let fastest = all.growth.get_or_insert(growth);
            fastest.mib = fastest.mib.max(growth.mib);
            fastest.descriptors = fastest.descriptors.max(growth.descriptors);
            fastest.threads = fastest.threads.max(growth.threads);
            fastest.seconds = fastest.seconds.max(growth.seconds);
        }
        all.processes.push(text);
    }
    all
}

impl std::fmt::Display for ProcessGrowth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mib, descriptors, threads, seconds } = self;
        write!(f, "{mib:+.2} MiB, {descriptors:+.2} descriptors, {threads:+.2} threads a minute over {seconds:.0} s")
    }
}

impl ProcessHistory {
    fn growth(&self) -> Option<ProcessGrowth> {
        let first = self.samples.first()?.at;
        let warm: Vec<&ProcessSample> =
            self.samples.iter().filter(|sample| sample.at - first >= WARM_UP_SECONDS).collect();
        let seconds = warm.last()?.at - warm.first()?.at;
        if seconds < LEAST_SECONDS {
            return None;
        }
        let of = |value: fn(&ProcessSample) -> f64| {
            slope(&warm.iter().map(|sample| (sample.at, value(sample))).collect::<Vec<_>>()) * 60.0
        };
        let (mib, descriptors, threads) = (of(|it| it.mib), of(|it| it.descriptors), of(|it| it.threads));
        Some(ProcessGrowth { mib, descriptors, threads, seconds })
    }
}

/// The slope of the line with the least squared distances.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0 / count, sum.1 + point.1 / count));
    let (both, square) = points
        .iter()
        .fold((0.0, 0.0), |sum, point| (sum.0 + (point.0 - x) * (point.1 - y), sum.1 + (point.0 - x) * (point.0 - x)));
    if square > 0.0 { both / square } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(name: &str, seconds: u32, at: impl Fn(f64) -> (f64, f64)) -> ProcessHistory {
        let sample = |second: u32| {
            let (mib, descriptors) = at(f64::from(second));
            ProcessSample { at: f64::from(second), mib, descriptors, threads: 20.0 }
        };
        ProcessHistory { name: name.to_owned(), samples: (0..=seconds).map(sample).collect() }
    }

    #[test]
    fn growth_is_that_of_the_process_that_leaks_after_its_warm_up() {
        let steady = history("steady", 300, |at| (50.0 + at.min(60.0) + (at % 2.0), 100.0));
        let leaking = history("leaking", 300, |at| (40.0 + at / 20.0, 80.0 + at / 60.0));
        let brief = history("brief", 100, |at| (at, 500.0));
        let trends = trends(vec![steady, leaking, brief]);
        let growth = trends.growth.unwrap();
        assert!((growth.mib - 3.0).abs() < 0.01 && (growth.descriptors - 1.0).abs() < 0.01, "{growth}");
        assert!(growth.threads.abs() < 1e-9);
        assert_eq!((trends.descriptors, trends.threads), (500.0, 20.0));
        assert!((trends.mib - 111.0).abs() < 0.01, "the largest at any time: {}", trends.mib);
    }

    #[test]
    fn a_running_process_is_seen() {
        let mut watch = ProcessWatch::start(|| vec![("me".to_owned(), std::process::id())]);
        std::thread::sleep(Duration::from_millis(300));
        let trends = watch.end();
        assert!(trends.mib > 1.0 && trends.descriptors > 2.0 && trends.threads > 1.0, "{trends:?}");
        assert_eq!(trends.growth, None);
    }
}
