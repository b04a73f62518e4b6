//! Constant load through the three entrances, on a schedule that a seed decides, until it is ended.

mod burst;
mod http_callers;
mod kafka_client;
mod rabbit_client;
mod sent_requests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

pub(crate) use rabbit_client::take_all_replies;
pub(crate) use sent_requests::{Acceptance, SentRequest, SentRequests, answer_of};

use super::origin::OriginRows;
use crate::error::LoadtestError;

/// How many requests a second each entrance gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadRates {
    pub(crate) kafka: f64,
    pub(crate) http: f64,
    pub(crate) rabbitmq: f64,
}

/// Where requests go and where their answers come from.
#[derive(Debug, Clone)]
pub(crate) struct LoadTargets {
    pub(crate) brokers: String,
    pub(crate) requests_in: String,
    pub(crate) results_out: String,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) rabbit_url: String,
    pub(crate) rabbit_queue: String,
}

/// What the threads of the load share.
#[derive(Debug)]
pub(crate) struct LoadControl {
    origin: OriginRows,
    targets: LoadTargets,
    /// No request is sent any more.
    ended: AtomicBool,
    /// No request is sent for now.
    held: AtomicBool,
    /// Answers are not collected any more.
    closed: AtomicBool,
    /// What the clients of Kafka add to the times of their records.
    clock_offset_ms: Mutex<i64>,
}

/// The running load.
#[derive(Debug)]
pub(crate) struct ConstantLoad {
    pub(crate) kafka: Arc<SentRequests>,
    pub(crate) http: Arc<SentRequests>,
    pub(crate) rabbitmq: Arc<SentRequests>,
    control: Arc<LoadControl>,
    senders: Vec<JoinHandle<()>>,
    collectors: Vec<JoinHandle<()>>,
    /// Threads of the load that ended in a panic: the load's own fault, and no verdict can be trusted then.
    panicked: usize,
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl ConstantLoad {
    /// Starts to send at once.
    pub(crate) fn start(targets: LoadTargets, rates: LoadRates, seed: u64) -> Result<Self, LoadtestError> {
        let control = Arc::new(LoadControl {
            origin: OriginRows::load()?,
            targets,
            ended: AtomicBool::new(false),
            held: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            clock_offset_ms: Mutex::new(0),
        });
        let requests = |entrance| Arc::new(SentRequests::new(&control.origin, seed, entrance));
        let (kafka, http, rabbitmq) = (requests(0), requests(1), requests(2));
        let schedule = |rate, entrance| SeededSchedule::new(rate, seed, entrance);
        let mut load =
            Self { kafka, http, rabbitmq, control, senders: Vec::new(), collectors: Vec::new(), panicked: 0 };
        let (control, kafka) = (&load.control, &load.kafka);
        let send = |send: SendRequests, requests, rate, entrance| {
            let schedule = schedule(rate, entrance);
            spawn(control, requests, move |control, requests| send(control, requests, schedule))
        };
        load.senders.push(send(kafka_client::send, kafka, rates.kafka, 0));
        load.collectors.push(spawn(control, kafka, kafka_client::collect));
        load.senders.push(send(http_callers::send, &load.http, rates.http, 1));
        load.senders.push(send(rabbit_client::send, &load.rabbitmq, rates.rabbitmq, 2));
        load.collectors.push(spawn(control, &load.rabbitmq, rabbit_client::collect));
        Ok(load)
    }

    pub(crate) fn entrances(&self) -> [(&'static str, &Arc<SentRequests>); 3] {
        [("kafka", &self.kafka), ("http", &self.http), ("rabbitmq", &self.rabbitmq)]
    }

    /// Sends nothing for now, or continues.
    pub(crate) fn hold(&self, held: bool) {
        self.control.held.store(held, Ordering::Relaxed);
    }

    /// Shifts the clocks of the clients that write to Kafka.
    pub(crate) fn shift_clients(&self, offset_ms: i64) {
        *self.control.clock_offset_ms.lock() = offset_ms;
    }

    /// Waits until everything that was accepted has an answer; whether it has.
    pub(crate) fn wait_answered(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if self.entrances().iter().all(|(_, requests)| requests.open() == 0) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every entrance has got this many answers.
    pub(crate) fn wait_for_answers(&self, count: usize, within: Duration) -> Result<(), LoadtestError> {
        let deadline = Instant::now() + within;
        while let Some((name, _)) = self.entrances().iter().find(|(_, requests)| requests.answered() < count) {
            if Instant::now() >= deadline {
                return Err(LoadtestError::Input(format!("no {count} answers over {name} within {within:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sends nothing more. Callers over HTTP are waited for: each has an answer, or has given up.
    pub(crate) fn end(&mut self) {
        self.control.ended.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            self.panicked += usize::from(sender.join().is_err());
        }
    }

    /// Collects nothing more; how many threads of the load had panicked.
    pub(crate) fn close(&mut self) -> usize {
        self.end();
        self.control.closed.store(true, Ordering::Relaxed);
        for collector in self.collectors.drain(..) {
            self.panicked += usize::from(collector.join().is_err());
        }
        self.panicked
    }
}

/// Sends the requests of one entrance when they are due, until the load ends.
type SendRequests = fn(&Arc<LoadControl>, &Arc<SentRequests>, SeededSchedule);

/// Runs one side of an entrance on a thread of its own.
fn spawn(
    control: &Arc<LoadControl>,
    requests: &Arc<SentRequests>,
    run: impl FnOnce(&Arc<LoadControl>, &Arc<SentRequests>) + Send + 'static,
) -> JoinHandle<()> {
    let (control, requests) = (Arc::clone(control), Arc::clone(requests));
    std::thread::spawn(move || run(&control, &requests))
}

impl Drop for ConstantLoad {
    fn drop(&mut self) {
        self.close();
    }
}

impl LoadControl {
    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Calls `send` for each request when it is due, until the load is ended. What falls due while it is held is left
    /// out; a `send` that takes long is caught up with.
    fn paced(&self, mut schedule: SeededSchedule, mut send: impl FnMut(&mut StdRng)) {
        while !self.ended() {
            let due = schedule.next();
            while Instant::now() < due && !self.ended() {
                std::thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
            }
            if !self.held.load(Ordering::Relaxed) && !self.ended() {
                send(&mut schedule.random);
            }
        }
    }
}

/// When requests are due: one in each interval, at a moment in it that the seed decides.
#[derive(Debug)]
struct SeededSchedule {
    began: Instant,
    interval: f64,
    number: u32,
    random: StdRng,
}

impl SeededSchedule {
    fn new(rate: f64, seed: u64, entrance: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ (entrance << 56));
        Self { began: Instant::now(), interval: 1.0 / rate, number: 0, random }
    }

    fn next(&mut self) -> Instant {
        let at = (f64::from(self.number) + self.random.random::<f64>()) * self.interval;
        self.number += 1;
        self.began + Duration::from_secs_f64(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_schedule_and_the_rate_holds() {
        let moments = |seed| {
            let mut schedule = SeededSchedule::new(100.0, seed, 0);
            (0..200).map(|_| schedule.next().duration_since(schedule.began)).collect::<Vec<_>>()
        };
        let (one, again, other) = (moments(1), moments(1), moments(2));
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert!(one.is_sorted());
        assert!((1.98..2.0).contains(&one[199].as_secs_f64()) || one[199].as_secs_f64() >= 1.99);
    }
}
