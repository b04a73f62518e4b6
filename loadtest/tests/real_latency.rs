//! Finding out why requests are slow, with a Redis made slow on purpose: the example of `docs/latency.md`.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::disallowed_methods,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::proxy::SlowProxy;
use harness::spans::{Seen, Spans, hex};
use harness::{Mesh, Service, http, redis, row, stop_all, wait_until};

const HEALTHY: Duration = Duration::ZERO;
/// How many rows all tests have sent: each row is new to Redis, which they share.
static SENT: AtomicUsize = AtomicUsize::new(0);

/// Five services whose Redis is behind a proxy, and a collector for their spans.
struct Example {
    redis: SlowProxy,
    spans: Spans,
    services: Vec<Service>,
    /// Topics by name, as settings call them: these tests have topics of their own.
    topics: String,
    /// Its folder holds the services' logs.
    _mesh: Mesh,
}

/// Calls in a row: what callers saw, and the trace of each.
struct Calls {
    latencies_ms: Vec<f64>,
    traces: Vec<String>,
}

impl Calls {
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.latencies_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * share).round() as usize]
    }
}

impl Example {
    fn start(name: &str, more: &[(&str, &str)]) -> Self {
        let (redis, spans) = (SlowProxy::start(&redis()), Spans::collect());
        let mut mesh = Mesh::with_topics(name);
        mesh.set("FOREBAY__REDIS__URL", format!("redis://{}", redis.address));
        mesh.set("OTEL_EXPORTER_OTLP_ENDPOINT", spans.endpoint.clone());
        mesh.set("OTEL_BSP_SCHEDULE_DELAY", "200");
        for (key, value) in more {
            mesh.set(key, *value);
        }
        let services = mesh.start_all();
        let topics = mesh.topic("requests").trim_end_matches("requests").to_owned();
        Self { redis, spans, services, topics, _mesh: mesh }
    }

    fn ingestion(&self) -> SocketAddr {
        self.services[0].http
    }

    /// Sends `count` requests, one after the other, with rows that no cache has.
    fn call(&mut self, count: usize) -> Calls {
        let mut calls = Calls { latencies_ms: Vec::new(), traces: Vec::new() };
        for _ in 0..count {
            let number = std::process::id() as usize * 10_000 + SENT.fetch_add(1, Ordering::Relaxed);
            let body = format!(r#"{{"features":{}}}"#, row(number));
            let reply = http::predict(self.ingestion(), &[], body).unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            calls.latencies_ms.push(reply.json()["latency_ms"].as_f64().unwrap());
            calls.traces.push(reply.json()["trace_id"].as_str().unwrap_or_default().to_owned());
        }
        calls
    }

    /// The complete traces of calls.
    fn traces(&mut self, calls: &Calls) -> Vec<Vec<Seen>> {
        // services send their spans when they have time for it: wait for those of these requests
        let topic = |name: &str| format!("process {}{name}", self.topics);
        let words = ["POST /v1/predict", "redis", "infer"].map(str::to_owned).into_iter();
        let wanted: Vec<String> = words.chain(["requests", "features", "predict", "results"].map(topic)).collect();
        calls.traces.iter().map(|id| self.spans.of_trace(id, &wanted)).collect()
    }

    /// A span's name with the service in front and without this test's prefix of topics.
    fn name(&self, span: &Seen) -> String {
        let service = span.service.trim_start_matches("forebay-");
        format!("{service}: {}", span.span.name.replace(&self.topics, "forebay."))
    }

    /// The median own time of every kind of span in `traces`, milliseconds.
    fn own_times(&self, traces: &[Vec<Seen>]) -> BTreeMap<String, f64> {
        let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for trace in traces {
            for span in trace {
                times.entry(self.name(span)).or_default().push(own_ms(span, trace));
            }
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        times.into_iter().map(|(name, times)| (name, median(times))).collect()
    }

    fn caching(&self, metric: &str, labels: &[&str]) -> f64 {
        self.services[2].metric(metric, labels)
    }
}

/// The part of a span that no span below it accounts for.
fn own_ms(span: &Seen, trace: &[Seen]) -> f64 {
    let (start, end) = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
    let mut below: HashSet<String> = HashSet::from([span.id()]);
    let mut parts = Vec::new();
    loop {
        let found: Vec<&Seen> =
            trace.iter().filter(|it| below.contains(&it.parent()) && !below.contains(&it.id())).collect();
        if found.is_empty() {
            break;
        }
        for it in found {
            below.insert(it.id());
            parts.push((it.span.start_time_unix_nano.clamp(start, end), it.span.end_time_unix_nano.clamp(start, end)));
        }
    }
    parts.sort_unstable();
    let (mut covered, mut until) = (0, start);
    for (from, to) in parts {
        covered += to.max(until) - from.max(until).min(to.max(until));
        until = until.max(to);
    }
    (end - start).saturating_sub(covered) as f64 / 1e6
}

/// Tells the person who runs `loadtest/suites/slow_redis.sh`.
fn tell(file: &str, text: &str) {
    println!("{text}");
    if let Ok(folder) = std::env::var("REAL_KEEP") {
        std::fs::write(std::path::Path::new(&folder).join(file), text).unwrap();
    }
}

#[test]
fn slow_redis_is_named_by_the_traces() {
    let mut example = Example::start("slow-redis", &[("FOREBAY__REDIS__TIMEOUT", "2s")]);
    example.call(30); // connections and caches of all kinds
    let well = example.call(100);
    example.redis.delay(Duration::from_millis(200));
    let slow = example.call(100);
    example.redis.delay(HEALTHY);
    let (well_traces, slow_traces) = (example.traces(&well), example.traces(&slow));
    let (before, after) = (example.own_times(&well_traces), example.own_times(&slow_traces));

    let mut text = format!(
        "callers see                                 p50 {:.1} ms, p95 {:.1} ms; with Redis slowed by 200 ms: p50 {:.1} ms, p95 {:.1} ms\n\n",
        well.quantile(0.5),
        well.quantile(0.95),
        slow.quantile(0.5),
        slow.quantile(0.95)
    );
    text.push_str("own time of each span, median of 100 traces      well ms   slow ms\n");
    for (name, ms) in &after {
        let _ = writeln!(text, "{name:<46} {:>9.2} {ms:>9.2}", before.get(name).copied().unwrap_or_default());
    }
    let slowest = |trace: &Vec<Seen>| {
        trace.iter().max_by(|a, b| own_ms(a, trace).total_cmp(&own_ms(b, trace))).map(|span| example.name(span))
    };
    let mut blamed: HashMap<String, usize> = HashMap::new();
    slow_traces.iter().filter_map(slowest).for_each(|name| *blamed.entry(name).or_default() += 1);
    let _ = writeln!(text, "\nslowest span of the {} slow traces: {blamed:?}", slow_traces.len());
    let _ = writeln!(text, "one of them: trace {}", slow.traces[0]);
    tell("slow-redis.txt", &text);

    let redis = "caching: redis";
    assert!(before[redis] < 50.0, "Redis is well at first: {text}");
    assert!((200.0..1_000.0).contains(&after[redis]), "the span shows what Redis took: {text}");
    assert!(blamed.get(redis).copied().unwrap_or(0) >= 90, "the traces name the slow one: {text}");
    assert!(slow.quantile(0.5) >= 200.0 && well.quantile(0.5) < 200.0, "{text}");
    stop_all(example.services);
}

#[test]
fn slow_redis_is_left_alone() {
    // the default time-out is 20 ms; a machine that does much else reaches that with a Redis that is well
    let settings = [("FOREBAY__REDIS__BREAKER_OPEN", "60s"), ("FOREBAY__REDIS__TIMEOUT", "1s")];
    let mut example = Example::start("left-alone", &settings);
    example.call(30);
    let well = example.call(50);
    let bypassed = example.caching("forebay_cache_bypassed_total", &[]);
    assert!(bypassed < 5.0, "Redis is well: {bypassed}");
    example.redis.delay(Duration::from_secs(10));
    let mut calls = Vec::new();
    wait_until(Duration::from_secs(60), "the breaker to open", || {
        calls.push(example.call(1));
        example.caching("forebay_cache_redis_breaker", &[]) == 2.0
    });
    let without = example.call(50);
    let timed_out = |spans: &[Seen]| {
        let redis = spans.iter().filter(|it| it.span.name == "redis");
        redis.filter(|it| it.attribute("error.type").as_deref() == Some("timeout")).cloned().collect::<Vec<_>>()
    };
    // stores that fail count towards the breaker as well
    example.spans.until("the spans of time-outs", |spans| timed_out(spans).len() >= 2);
    let spans = timed_out(&example.spans.seen);
    for span in &spans {
        assert_eq!(span.span.status.clone().unwrap_or_default().code, 2, "{span:?}");
        assert_eq!(span.span.events[0].name, "exception", "{span:?}");
        assert!((950.0..8_000.0).contains(&span.took_ms()), "redis.timeout is 1 s: {span:?}");
    }
    let (timeouts, open) = (
        example.caching("forebay_cache_bypassed_total", &["reason=\"timeout\""]),
        example.caching("forebay_cache_bypassed_total", &["reason=\"open\""]),
    );
    tell(
        "left-alone.txt",
        &format!(
            "p50 {:.1} ms well; while Redis takes 10 s: {} calls until it is left alone, {:.1} ms at most; then p50 {:.1} ms\n\
             forebay_cache_bypassed_total: {timeouts} timeout, {open} open\n",
            well.quantile(0.5),
            calls.len(),
            calls.iter().map(|call| call.latencies_ms[0]).fold(0.0, f64::max),
            without.quantile(0.5),
        ),
    );
    assert!(timeouts >= 2.0 && open >= 50.0, "{timeouts} {open}");
    assert!(without.quantile(0.5) < well.quantile(0.5) + 500.0, "no request waits for it any more");
    stop_all(example.services);
}

#[test]
fn slow_and_failed_requests_are_seen_at_one_percent() {
    let settings = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        ("FOREBAY__TELEMETRY__SLOW", "250ms"),
        ("FOREBAY__REDIS__TIMEOUT", "1s"),
    ];
    let mut example = Example::start("one-percent", &settings);
    let quick = example.call(300);
    let sampled = quick.traces.iter().filter(|trace| !trace.is_empty()).count();
    assert!(sampled < 20, "about three of 300: {sampled}");

    example.redis.delay(Duration::from_millis(400));
    example.call(12);
    example.redis.delay(HEALTHY);
    let bad = |body: &str| http::predict(example.services[0].http, &[], body).unwrap();
    let mut failed: Vec<String> = Vec::new();
    for body in ["not json", r#"{"features":[1,2,3]}"#] {
        let mut unsampled = 0;
        while unsampled < 5 {
            let reply = bad(body);
            assert_eq!(reply.status, 400, "{}", reply.text());
            // one in a hundred is sampled by chance and has its usual spans; an answer names a span of such a trace
            if reply.header("traceparent").is_some() {
                continue;
            }
            failed.push(reply.json()["trace_id"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned());
            unsampled += 1;
        }
    }

    // the slow ones: at most one of twelve was sampled by chance
    let features = format!("process {}features", example.topics);
    let slow = |spans: &[Seen]| {
        let found = spans.iter().filter(|it| it.span.name == features && it.took_ms() > 300.0);
        found.map(|it| hex(&it.span.trace_id)).collect::<HashSet<_>>()
    };
    example.spans.until("the traces of slow requests", |spans| slow(spans).len() >= 12);
    let whole: Vec<_> = slow(&example.spans.seen).into_iter().collect();
    for trace in &whole {
        let of: Vec<&Seen> = example.spans.seen.iter().filter(|it| hex(&it.span.trace_id) == *trace).collect();
        let longest =
            of.iter().filter(|it| !it.span.name.starts_with("POST")).max_by(|a, b| a.took_ms().total_cmp(&b.took_ms()));
        assert_eq!(longest.unwrap().service, "forebay-caching", "the stage that waited stands out: {of:?}");
    }
    let lines = example.services[4].output();
    let logged =
        |trace: &&String| lines.contains(&format!("\"trace_id\":\"{trace}\"")) && lines.contains("request was slow");
    assert!(whole.iter().filter(logged).count() >= 8, "ten lines a second at most: {lines}");

    // the failed ones, with status and event, in the stage that refused them
    let errors = |spans: &[Seen], trace: &str| {
        let of = spans.iter().filter(|it| hex(&it.span.trace_id) == trace);
        of.filter(|it| it.span.status.clone().unwrap_or_default().code == 2).cloned().collect::<Vec<_>>()
    };
    example.spans.until("the traces of failed requests", |spans| failed.iter().all(|it| !errors(spans, it).is_empty()));
    for (index, trace) in failed.iter().enumerate() {
        let span = &errors(&example.spans.seen, trace)[0];
        let service = if index < 5 { "forebay-ingestion" } else { "forebay-preprocessing" };
        assert_eq!(span.service, service, "{span:?}");
        assert_eq!(span.span.events[0].name, "exception", "{span:?}");
    }
    let (first, last) = (example.services[0].output(), example.services[4].output());
    assert!(failed[..5].iter().all(|trace| first.contains(trace)), "the log of ingestion names them: {first}");
    assert!(failed[5..].iter().any(|trace| last.contains(trace)), "publishing's log names them: {last}");
    stop_all(example.services);
}
