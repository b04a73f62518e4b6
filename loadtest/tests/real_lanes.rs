//! Priorities and overload, with a model of 4 ms a row: its capacity is small, the machine is not at its limit.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::rabbit::{Client, reply_to, server};
use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, Service, http, row, stop_all, wait_until};

/// Time of the slow model for a row, microseconds: 250 rows a second.
const ROW_TIME_US: usize = 4_000;
const CAPACITY: usize = 1_000_000 / ROW_TIME_US;
/// For ten times the capacity: 50 rows a second.
const OVERLOADED_ROW_TIME_US: usize = 20_000;
const OVERLOADED_CAPACITY: usize = 1_000_000 / OVERLOADED_ROW_TIME_US;
/// What an unloaded P99 counts at least: beside a compiler single answers are late.
const LEAST: Duration = Duration::from_millis(100);
/// Rows so far, so that no row comes twice.
static ROWS: AtomicUsize = AtomicUsize::new(0);

fn fresh_row() -> String {
    row(50_000_000 + ROWS.fetch_add(1, Ordering::Relaxed))
}

/// A mesh with the models `fast` and `slow`, both on the one thread for costly models, and no cache.
fn mesh(name: &str, lanes: bool) -> Mesh {
    mesh_with(name, lanes, ROW_TIME_US)
}

fn mesh_with(name: &str, lanes: bool, row_time_us: usize) -> Mesh {
    let mut mesh = Mesh::named(name);
    mesh.set("FOREBAY__MODELS__REGISTRY", registry(mesh.folder()));
    mesh.set("FOREBAY__MODELS__NAME", "fast");
    mesh.set("FOREBAY_TEST_ROW_DELAY_US", format!("slow={row_time_us}"));
    mesh.set("FOREBAY__CACHE__POLICY", "off");
    mesh.set("FOREBAY__KAFKA__LANES", lanes.to_string());
    mesh.create_topics();
    mesh
}

fn start(mesh: &Mesh) -> Vec<Service> {
    let more =
        |stage: &str| if stage == "prediction" { vec![("FOREBAY__PREDICTION__INLINE_ROW", "0s")] } else { vec![] };
    let mut services: Vec<Service> = harness::STAGES.iter().map(|stage| mesh.start_with(stage, &more(stage))).collect();
    harness::wait_all(&mut services);
    services
}

fn registry(folder: &Path) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/model/sample/diabetes-rf-model/1");
    let registry = folder.join("registry");
    for model in ["fast", "slow"] {
        let version = registry.join(model).join("1");
        std::fs::create_dir_all(&version).unwrap();
        for file in std::fs::read_dir(&sample).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), version.join(file.file_name())).unwrap();
        }
        std::fs::write(registry.join(model).join("registered_model.yaml"), "stages:\n  1: Production\n").unwrap();
    }
    format!("file:{}", registry.display())
}

/// Requests over Kafka and their answers, which a thread collects.
struct Requests {
    mesh: String,
    writer: Writer,
    sent: HashMap<String, Instant>,
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    answers: Option<JoinHandle<HashMap<String, Answer>>>,
}

struct Answer {
    at: Instant,
    /// Empty for a prediction.
    code: String,
}

/// What became of a group of requests.
#[derive(Debug, Default)]
struct Outcomes {
    predicted: usize,
    codes: HashMap<String, usize>,
    unanswered: usize,
    /// Latencies of predictions, in order.
    latencies: Vec<Duration>,
}

impl Outcomes {
    fn p99(&self) -> Duration {
        let last = self.latencies.len().checked_sub(1).unwrap();
        self.latencies[last * 99 / 100]
    }
}

impl Requests {
    fn new(mesh: &Mesh) -> Self {
        let (stopping, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let reader = Reader::from_now(&mesh.topic("results_out"));
        let collect = {
            let (stopping, answered) = (stopping.clone(), answered.clone());
            move || {
                let mut answers = HashMap::new();
                while !stopping.load(Ordering::Relaxed) {
                    let Some(record) = reader.poll(Duration::from_millis(100)) else { continue };
                    let (at, json) = (Instant::now(), record.json());
                    let code = json["error"]["code"].as_str().unwrap_or_default().to_owned();
                    let id = record.request_id().unwrap();
                    assert!(answers.insert(id.clone(), Answer { at, code }).is_none(), "{id} was answered twice");
                    answered.store(answers.len(), Ordering::Relaxed);
                }
                answers
            }
        };
        Self {
            mesh: mesh.topic("requests_in"),
            writer: Writer::new(),
            sent: HashMap::new(),
            stopping,
            answered,
            answers: Some(std::thread::spawn(collect)),
        }
    }

    /// Sends a request; its id begins with `group`.
    fn send(&mut self, group: &str, lane: &str, fields: &str) {
        let id = format!("{group}-{}", self.sent.len());
        let body = format!(r#"{{"request_id":"{id}","features":{},{fields}}}"#, fresh_row());
        let topic = format!("{}{lane}", self.mesh);
        self.sent.insert(id, Instant::now());
        self.writer.hand_over(Out { topic: &topic, payload: body.as_bytes(), ..Out::default() }, 0);
        self.writer.reports();
    }

    /// Sends one request every `pause`.
    fn paced(&mut self, group: &str, fields: &str, count: usize, pause: Duration) {
        let start = Instant::now();
        for number in 0..count {
            std::thread::sleep((start + pause * number as u32).saturating_duration_since(Instant::now()));
            self.send(group, "", fields);
        }
    }

    /// Waits until everything sent so far is answered.
    #[track_caller]
    fn settle(&self, within: Duration) {
        self.writer.flush();
        wait_until(within, "all answers", || self.answered.load(Ordering::Relaxed) >= self.sent.len());
    }

    /// Ends, with the outcomes by group.
    fn finish(mut self) -> HashMap<String, Outcomes> {
        self.stopping.store(true, Ordering::Relaxed);
        let answers = self.answers.take().unwrap().join().unwrap();
        let mut groups: HashMap<String, Outcomes> = HashMap::new();
        for (id, sent_at) in &self.sent {
            let outcomes = groups.entry(id.rsplit_once('-').unwrap().0.to_owned()).or_default();
            match answers.get(id) {
                None => outcomes.unanswered += 1,
                Some(Answer { at, code }) if code.is_empty() => {
                    outcomes.predicted += 1;
                    outcomes.latencies.push(*at - *sent_at);
                }
                Some(Answer { code, .. }) => *outcomes.codes.entry(code.clone()).or_default() += 1,
            }
        }
        groups.values_mut().for_each(|outcomes| outcomes.latencies.sort_unstable());
        let mut names: Vec<_> = groups.keys().collect();
        names.sort();
        for name in names {
            let Outcomes { predicted, codes, unanswered, latencies } = &groups[name];
            let (p50, max) = (latencies.get(latencies.len() / 2), latencies.last());
            let p99 = (!latencies.is_empty()).then(|| groups[name].p99());
            println!(
                "{name}: {predicted} predicted, errors {codes:?}, {unanswered} without answer; P50 {p50:.1?}, P99 {p99:.1?}, longest {max:.1?}"
            );
        }
        groups
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// The P99 that is allowed beside a load; the machine may have other work before it or after it.
fn bound(before: &Outcomes, after: &Outcomes) -> Duration {
    3 * before.p99().max(after.p99()).max(LEAST)
}

fn predict(address: SocketAddr, body: &str) -> (http::HttpReply, Duration) {
    let sent_at = Instant::now();
    (http::predict(address, &[], body).unwrap(), sent_at.elapsed())
}

#[test]
fn a_slow_model_does_not_stand_before_a_fast_one() {
    let mesh = mesh("slow", false);
    let services = start(&mesh);
    let mut requests = Requests::new(&mesh);
    let (fast, slow) = (r#""model":"fast""#, r#""model":"slow""#);
    requests.paced("warm", fast, 50, Duration::from_millis(10));
    requests.paced("alone", fast, 200, Duration::from_millis(10));
    (0..2_000).for_each(|_| requests.send("slow", "", slow));
    requests.paced("beside", fast, 200, Duration::from_millis(10));
    assert!(requests.answered.load(Ordering::Relaxed) < 2_000, "the slow model was not slow");
    requests.settle(Duration::from_secs(60));
    requests.paced("after", fast, 200, Duration::from_millis(10));
    requests.settle(Duration::from_secs(60));

    // the same over HTTP
    let address = services[0].http;
    let fast_body = || format!(r#"{{"model":"fast","features":{}}}"#, fresh_row());
    let measure = |count: usize| {
        let mut latencies: Vec<Duration> = (0..count)
            .map(|_| {
                let (reply, latency) = predict(address, &fast_body());
                assert_eq!(reply.status, 200, "{}", reply.text());
                latency
            })
            .collect();
        latencies.sort_unstable();
        Outcomes { latencies, ..Outcomes::default() }
    };
    let alone = measure(100);
    let callers: Vec<JoinHandle<u16>> = (0..20)
        .map(|_| {
            let rows: Vec<String> = (0..100).map(|_| fresh_row()).collect();
            let body = format!(r#"{{"model":"slow","features":[{}]}}"#, rows.join(","));
            std::thread::spawn(move || predict(address, &body).0.status)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let beside = measure(100);
    assert!(callers.iter().any(|caller| !caller.is_finished()), "the slow model was not slow");
    let statuses: Vec<u16> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)) && statuses.contains(&200), "{statuses:?}");

    let after = measure(100);
    println!("over HTTP: P99 {:.1?} alone, {:.1?} beside the slow model; {statuses:?}", alone.p99(), beside.p99());
    assert!(beside.p99() <= bound(&alone, &after));
    let groups = requests.finish();
    assert!(groups.values().all(|group| group.unanswered == 0 && group.codes.is_empty()), "{groups:?}");
    assert!(groups["beside"].p99() <= bound(&groups["alone"], &groups["after"]), "{:.1?}", groups["beside"].p99());
    stop_all(services);
}

#[test]
fn a_high_request_overtakes_a_backlog_of_low_ones_in_kafka() {
    let mesh = mesh("backlog", true);
    let mut services = start(&mesh);
    let mut requests = Requests::new(&mesh);
    let (high, low) = (r#""model":"slow","priority":0"#, r#""model":"slow","timeout_ms":15000"#);
    requests.paced("warm", high, 50, Duration::from_millis(10));
    requests.paced("alone", high, 200, Duration::from_millis(20));
    requests.settle(Duration::from_secs(30));
    // the backlog grows while no service reads, and what is read fills every stage up to the model
    services[0].stop();
    let backlog: usize = std::env::var("REAL_BACKLOG").map_or(100_000, |text| text.parse().unwrap());
    (0..backlog).for_each(|_| requests.send("low", ".low", low));
    requests.writer.flush();
    services[0] = mesh.start("ingestion");
    services[0].wait_ready();
    let began = Instant::now();
    wait_until(Duration::from_secs(30), "low requests to be read", || requests.answered.load(Ordering::Relaxed) > 600);
    // by their priority, and over the lane of the clients' topic
    for _ in 0..100 {
        requests.send("high", "", high);
        requests.send("lane", ".high", r#""model":"slow""#);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(requests.answered.load(Ordering::Relaxed) < backlog, "no backlog was left");
    requests.settle(Duration::from_secs(180));
    let took = began.elapsed();
    requests.paced("after", high, 200, Duration::from_millis(20));
    requests.settle(Duration::from_secs(30));
    let groups = requests.finish();
    let low = &groups["low"];
    assert!(groups.values().all(|group| group.unanswered == 0), "{groups:?}");
    for name in ["high", "lane"] {
        assert_eq!(groups[name].predicted, 100);
        assert!(groups[name].p99() <= bound(&groups["alone"], &groups["after"]), "{name}: {:.1?}", groups[name].p99());
    }
    assert_eq!(low.codes.keys().collect::<Vec<_>>(), ["deadline_exceeded"]);
    // a row that is too late costs no inference: the predictions are those of the time the low ones had
    let possible = CAPACITY as f64 * took.as_secs_f64().min(17.0);
    assert!(low.predicted > 200 && (low.predicted as f64) < possible, "{} of {possible}", low.predicted);
    stop_all(services);
}

#[test]
fn under_twice_the_capacity_high_requests_keep_their_time_and_low_ones_move() {
    let mesh = mesh("twice", true);
    let services = start(&mesh);
    let mut requests = Requests::new(&mesh);
    let (high, low) = (r#""model":"slow","priority":0"#, r#""model":"slow","priority":5,"timeout_ms":4000"#);
    requests.paced("warm", high, 50, Duration::from_millis(10));
    requests.paced("alone", high, 300, Duration::from_millis(20));
    let seconds = 20;
    let start = Instant::now();
    for number in 0..2 * CAPACITY * seconds {
        let due = start + Duration::from_micros((number * ROW_TIME_US / 2) as u64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (group, fields) = if number % 20 == 0 { ("high", high) } else { ("low", low) };
        requests.send(group, "", fields);
    }
    requests.settle(Duration::from_secs(60));
    // recovered, without a restart
    requests.paced("after", high, 200, Duration::from_millis(20));
    requests.settle(Duration::from_secs(10));
    let groups = requests.finish();
    assert!(groups.values().all(|group| group.unanswered == 0), "{groups:?}");
    let [alone, high, low, after] = ["alone", "high", "low", "after"].map(|name| &groups[name]);
    assert_eq!((high.predicted, high.codes.len()), (CAPACITY * seconds / 10, 0));
    assert!(high.p99() <= bound(alone, after), "{:.1?}", high.p99());
    assert!(after.p99() <= 3 * alone.p99().max(LEAST), "{:.1?}", after.p99());
    // what the high ones leave of the capacity, if the machine is busy with other things as well
    assert!(low.predicted > CAPACITY * seconds / 4, "{} low predictions", low.predicted);
    assert_eq!(low.codes.keys().collect::<Vec<_>>(), ["deadline_exceeded"]);
    stop_all(services);
}

/// An answer over HTTP: status, whether it says when to come back, latency, and when its request was sent.
type Refusable = (u16, bool, Duration, Duration);

#[test]
fn ten_times_the_capacity_over_http_is_refused_early_and_what_is_accepted_keeps_its_time() {
    let mut mesh = mesh_with("shed", false, OVERLOADED_ROW_TIME_US);
    mesh.set("FOREBAY__HTTP__MAX_WAIT", "500ms");
    let services = start(&mesh);
    let address = services[0].http;
    let (seconds, stopping) = (overload_seconds(), Arc::new(AtomicBool::new(false)));
    let body = || format!(r#"{{"model":"slow","features":{}}}"#, fresh_row());
    let unloaded = |count: usize| {
        let mut latencies: Vec<Duration> = (0..count).map(|_| predict(address, &body()).1).collect();
        latencies.sort_unstable();
        Outcomes { latencies, ..Outcomes::default() }.p99()
    };
    let alone = unloaded(100);
    // callers that wait for no one: each sends at its own times
    let (callers, pause) = (5 * OVERLOADED_CAPACITY / 2, Duration::from_millis(250));
    let flooded = Instant::now();
    let threads: Vec<JoinHandle<Vec<Refusable>>> = (0..callers)
        .map(|_| {
            let stopping = stopping.clone();
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !stopping.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    let (reply, latency) = predict(address, &body());
                    let refused_kindly = reply.header("retry-after").is_some();
                    answers.push((reply.status, refused_kindly, latency, begin - flooded));
                    std::thread::sleep(pause.saturating_sub(begin.elapsed()));
                }
                answers
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(seconds));
    stopping.store(true, Ordering::Relaxed);
    let answers: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    // nothing is known of a queue before its first answers: those of the first moment all wait
    let later = answers.iter().filter(|it| it.0 == 200 && it.3 > Duration::from_secs(1));
    let mut latencies: Vec<Duration> = later.map(|it| it.2).collect();
    latencies.sort_unstable();
    let refused: Vec<_> = answers.iter().filter(|it| matches!(it.0, 429 | 503)).collect();
    let accepted = Outcomes { latencies, ..Outcomes::default() };
    let middle = accepted.latencies[accepted.latencies.len() / 2];
    let (answered, count, p99, after) = (accepted.latencies.len(), refused.len(), accepted.p99(), unloaded(100));
    println!("{answered} answered, P99 {p99:.1?}, {count} refused; P99 alone {alone:.1?}, afterwards {after:.1?}");
    assert!(answers.iter().all(|it| matches!(it.0, 200 | 429 | 503)), "only 200, 429 and 503");
    assert!(refused.iter().all(|it| it.1), "a refusal says when to come back");
    assert!(count > answered && answered > OVERLOADED_CAPACITY * seconds as usize / 4, "{answered} {count}");
    // http.max_wait, and a few times of it, as well as an estimate can hold it on a busy machine
    assert!(middle <= Duration::from_secs(1) + 3 * after.max(LEAST), "{middle:.1?}");
    assert!(p99 <= Duration::from_secs(3) + 3 * after.max(LEAST), "{p99:.1?}");
    assert!(after <= 3 * alone.max(LEAST), "{after:.1?}");
    stop_all(services);
}

#[test]
fn ten_times_the_capacity_over_kafka_and_rabbitmq_is_answered_and_leaves_nothing_behind() {
    let mut mesh = mesh_with("flood", false, OVERLOADED_ROW_TIME_US);
    let queue = format!("flood-{}", std::process::id());
    mesh.set("FOREBAY__RABBITMQ__URL", server().url());
    mesh.set("FOREBAY__RABBITMQ__QUEUE", &queue);
    mesh.set("FOREBAY__RABBITMQ__DEAD_LETTER_EXCHANGE", format!("{queue}.dead"));
    let services = start(&mesh);
    let mut requests = Requests::new(&mesh);
    let (patient, slow) = (r#""model":"slow""#, r#""model":"slow","timeout_ms":1500"#);
    requests.paced("warm", patient, 20, Duration::from_millis(50));
    requests.paced("alone", patient, 100, Duration::from_millis(50));
    requests.settle(Duration::from_secs(60));
    let flood = 10 * OVERLOADED_CAPACITY * overload_seconds() as usize;
    let pause = Duration::from_micros((OVERLOADED_ROW_TIME_US / 10) as u64);
    requests.paced("flood", slow, flood, pause);
    requests.settle(Duration::from_secs(60));
    requests.paced("after", patient, 100, Duration::from_millis(50));
    requests.settle(Duration::from_secs(60));

    let (client, replies) = (Client::new(), format!("{queue}.replies"));
    client.declare(&replies);
    let (body, begin) = (|| format!(r#"{{"features":{},{slow}}}"#, fresh_row()), Instant::now());
    for number in 0..flood {
        std::thread::sleep((begin + pause * number as u32).saturating_duration_since(Instant::now()));
        client.publish(&queue, body().as_bytes(), reply_to(&replies, &number.to_string())).unwrap();
    }
    wait_until(Duration::from_secs(60), "all replies", || client.count(&replies).unwrap() >= flood as u64);
    let mut codes: HashMap<String, usize> = HashMap::new();
    while let Some(reply) = client.get(&replies).unwrap() {
        let reply: serde_json::Value = serde_json::from_slice(&reply.data).unwrap();
        *codes.entry(reply["error"]["code"].as_str().unwrap_or("predicted").to_owned()).or_default() += 1;
    }
    println!("over RabbitMQ: {codes:?}");
    requests.paced("finally", patient, 100, Duration::from_millis(50));
    requests.settle(Duration::from_secs(60));
    assert_eq!(codes.values().sum::<usize>(), flood, "each once");
    let known = ["predicted", "deadline_exceeded", "overloaded"];
    assert!(codes.keys().all(|code| known.contains(&code.as_str())) && codes["predicted"] > 100, "{codes:?}");

    let groups = requests.finish();
    assert!(groups.values().all(|group| group.unanswered == 0), "{groups:?}");
    let flooded = &groups["flood"];
    assert_eq!(flooded.codes.keys().collect::<Vec<_>>(), ["deadline_exceeded"]);
    // what is past its deadline costs no inference: the others have the capacity to themselves
    assert!(flooded.predicted > OVERLOADED_CAPACITY * overload_seconds() as usize / 4, "{}", flooded.predicted);
    let unloaded = groups["alone"].p99().max(LEAST);
    for name in ["after", "finally"] {
        assert_eq!(groups[name].predicted, 100);
        assert!(groups[name].p99() <= 3 * unloaded, "{name}: {:.1?}", groups[name].p99());
    }
    stop_all(services);
}

/// How long an overload takes.
fn overload_seconds() -> u64 {
    std::env::var("REAL_OVERLOAD").map_or(20, |text| text.parse().unwrap())
}
