//! Load that continues while a test breaks things, and the check of what was answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forebay_loadtest::{
    Judge, JudgeFindings, JudgeRules, OracleEvent, RequestGenerator, RequestOptions, RunId, WorkloadRows,
};

use super::topic::{Out, Reader, Writer};
use super::{Mesh, http, wait_until};

/// Requests on the outside topic at a fixed rate, from a thread of their own.
pub struct KafkaLoad {
    feed: Arc<RequestGenerator>,
    stopping: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    input: String,
    output: String,
    /// Whether the topic holds answers to requests of the test itself as well.
    among_others: bool,
    thread: Option<JoinHandle<Vec<u64>>>,
}

impl KafkaLoad {
    /// Starts at once. A share of the rows, as `RequestOptions::repeat_ratio` says, repeat.
    pub fn start(mesh: &Mesh, rate: f64, repeat_ratio: f64) -> Self {
        Self::start_ahead(mesh, rate, repeat_ratio, Duration::ZERO)
    }

    /// As [`KafkaLoad::start`], from a client whose clock is ahead.
    pub fn start_ahead(mesh: &Mesh, rate: f64, repeat_ratio: f64, ahead: Duration) -> Self {
        let options = RequestOptions { repeat_ratio, ..RequestOptions::default() };
        let feed = Arc::new(RequestGenerator::new(WorkloadRows::scaled().unwrap(), RunId::random(), &options).unwrap());
        let (stopping, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (input, output) = (mesh.topic("requests_in"), mesh.topic("results_out"));
        let run = {
            let (feed, stopping, sent, input) = (feed.clone(), stopping.clone(), sent.clone(), input.clone());
            move || send(&feed, &stopping, &sent, &input, rate, ahead)
        };
        Self { feed, stopping, sent, input, output, among_others: false, thread: Some(std::thread::spawn(run)) }
    }

    /// Answers to other requests in the result topic are the test's own and no violation.
    pub fn among_others(mut self) -> Self {
        self.among_others = true;
        self
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops sending, waits until every accepted request has been answered (and `settle` longer, which is when
    /// duplicates come), and judges the whole result topic.
    #[track_caller]
    pub fn judge(mut self, within: Duration, settle: Duration) -> JudgeFindings {
        self.stopping.store(true, Ordering::Relaxed);
        let accepted = self.thread.take().unwrap().join().unwrap();
        let reader = Reader::from_start(&self.output);
        let mut answers = Vec::new();
        let deadline = Instant::now() + within;
        while answers.len() < accepted.len() && Instant::now() < deadline {
            answers.extend(reader.poll(Duration::from_millis(500)));
        }
        answers.extend(reader.rest(settle));
        let mut judge = Judge::new(JudgeRules {
            max_errors: Some(0),
            ignore_other_runs: self.among_others,
            ..JudgeRules::default()
        });
        for index in 0..self.sent() {
            let id = format!("{}-{index}", self.feed.run());
            judge.event(OracleEvent::Sent { id, checksum: self.feed.checksum(index), at_us: 0 });
        }
        for index in &accepted {
            judge.event(OracleEvent::Accepted(format!("{}-{index}", self.feed.run())));
        }
        for answer in &answers {
            judge.answer(&answer.payload);
        }
        let findings = judge.findings();
        println!("{}: {findings}", self.input);
        if !findings.clean() {
            show_latest(&answers);
        }
        findings
    }
}

fn show_latest(answers: &[super::topic::Record]) {
    let failed = answers.iter().filter(|answer| answer.text().contains("\"error\"")).take(5);
    failed.for_each(|answer| println!("error answer: {}", answer.text()));
}

impl Drop for KafkaLoad {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// The numbers of the requests that the broker acknowledged.
fn send(
    feed: &RequestGenerator,
    stopping: &AtomicBool,
    sent: &AtomicU64,
    input: &str,
    rate: f64,
    ahead: Duration,
) -> Vec<u64> {
    let writer = Writer::new();
    let (start, mut accepted, mut body) = (Instant::now(), Vec::new(), Vec::new());
    for index in 0.. {
        if stopping.load(Ordering::Relaxed) {
            break;
        }
        let due = start + Duration::from_secs_f64(index as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        body.clear();
        feed.write_body(index, &mut body);
        let time = SystemTime::now() + ahead;
        let timestamp_ms = Some(time.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64);
        writer.hand_over(Out { topic: input, payload: &body, timestamp_ms, ..Out::default() }, index);
        sent.store(index + 1, Ordering::Relaxed);
        accepted.extend(writer.reports().into_iter().filter_map(|(index, outcome)| outcome.ok().map(|_| index)));
    }
    writer.flush();
    accepted.extend(writer.reports().into_iter().filter_map(|(index, outcome)| outcome.ok().map(|_| index)));
    accepted
}

/// Callers over HTTP that take turns over the addresses in use, as a load balancer in front of replicas does.
pub struct HttpLoad {
    addresses: Arc<RwLock<Vec<SocketAddr>>>,
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Called>>,
}

/// A call without a prediction.
#[derive(Debug)]
pub struct Wrong {
    /// When the request was sent.
    pub sent_at: Instant,
    pub what: String,
}

/// What callers saw.
#[derive(Debug, Default)]
pub struct Called {
    pub answered: u64,
    pub wrong: Vec<Wrong>,
    pub slowest: Duration,
}

impl HttpLoad {
    /// `callers` callers, each with `pause` between an answer and the next question.
    pub fn start(addresses: Vec<SocketAddr>, callers: usize, pause: Duration) -> Self {
        let addresses = Arc::new(RwLock::new(addresses));
        let (stopping, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let caller = |number: usize| {
            let (addresses, stopping, answered) = (addresses.clone(), stopping.clone(), answered.clone());
            std::thread::spawn(move || call(number, &addresses, &stopping, &answered, pause))
        };
        let threads = (0..callers).map(caller).collect();
        Self { addresses, stopping, answered, threads }
    }

    /// Makes callers use only these addresses. When it returns, all calls to other addresses have been answered.
    pub fn use_addresses(&self, addresses: Vec<SocketAddr>) {
        *self.addresses.write().unwrap() = addresses;
    }

    /// How many calls have got a prediction so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends, and says what callers saw.
    pub fn finish(self) -> Called {
        self.stopping.store(true, Ordering::Relaxed);
        let mut all = Called::default();
        for thread in self.threads {
            let called = thread.join().unwrap();
            all.answered += called.answered;
            all.wrong.extend(called.wrong);
            all.slowest = all.slowest.max(called.slowest);
        }
        all
    }
}

fn call(
    number: usize,
    addresses: &RwLock<Vec<SocketAddr>>,
    stopping: &AtomicBool,
    answered: &AtomicU64,
    pause: Duration,
) -> Called {
    let mut called = Called::default();
    for turn in 0usize.. {
        if stopping.load(Ordering::Relaxed) {
            break;
        }
        let open = addresses.read().unwrap();
        let address = open[(turn + number) % open.len()];
        let row = super::row(1_000_000 * (number + 1) + turn);
        let (sent_at, body) =
            (Instant::now(), format!("{{\"request_id\":\"http-{number}-{turn}\",\"features\":{row}}}"));
        let answer = http::predict(address, &[], body);
        drop(open);
        let what = match answer {
            Ok(reply) if reply.status == 200 && reply.json()["prediction"].is_number() => {
                called.answered += 1;
                answered.fetch_add(1, Ordering::Relaxed);
                String::new()
            }
            Ok(reply) => format!("{address} after {:?}: {} {}", sent_at.elapsed(), reply.status, reply.text()),
            Err(error) => format!("{address} after {:?}: {error}", sent_at.elapsed()),
        };
        if !what.is_empty() {
            called.wrong.push(Wrong { sent_at, what });
        }
        called.slowest = called.slowest.max(sent_at.elapsed());
        std::thread::sleep(pause);
    }
    called
}
