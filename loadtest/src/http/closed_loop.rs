//! Closed loop over HTTP: N callers that send as soon as they have their answer. Finds capacity; its latencies are
//! service times and say nothing about a fixed load.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::exchange::{Classified, classify};
use super::wire::{self, Endpoint};
use crate::error::LoadtestError;
use crate::latency::Latencies;
use crate::received_result::ResultStatus;
use crate::report::Report;
use crate::request_generator::RequestGenerator;

/// What all callers share.
#[derive(Debug)]
struct CallerContext {
    requests: Arc<RequestGenerator>,
    endpoint: Endpoint,
    next: AtomicU64,
    measure_from: Instant,
    end: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    answered: u64,
    measured: u64,
    unknown: u64,
    lost: u64,
    cached: u64,
    errors: BTreeMap<String, u64>,
    latencies: Latencies,
}

/// Runs `callers` callers for `warmup + measured` and reports what they saw.
pub(crate) async fn run(
    requests: Arc<RequestGenerator>,
    endpoint: Endpoint,
    callers: usize,
    warmup: Duration,
    measured: Duration,
) -> Result<Report, LoadtestError> {
    let measure_from = Instant::now() + warmup;
    let (next, counts, end) = (AtomicU64::new(0), Mutex::new(Counts::default()), measure_from + measured);
    let shared = Arc::new(CallerContext { requests, endpoint, next, measure_from, end, counts });
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(call_again_and_again(Arc::clone(&shared)));
    }
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.map_err(io::Error::other).and_then(|ended| ended);
        ended.map_err(LoadtestError::system(format!("call {}", shared.endpoint.address)))?;
    }
    let counts = shared.counts.lock();
    Ok(Report {
        kind: format!("http closed, {callers} callers"),
        run: shared.requests.run().to_string(),
        rows: shared.requests.batch(),
        sent: counts.sent,
        answered: counts.answered,
        lost: counts.lost,
        unknown: counts.unknown,
        cached: counts.cached,
        errors: counts.errors.clone(),
        answered_per_s: counts.measured as f64 / measured.as_secs_f64(),
        latency_ms: counts.latencies.percentiles(),
        counted_from: "the end of the warm-up".to_owned(),
        ..Report::default()
    })
}

async fn call_again_and_again(shared: Arc<CallerContext>) -> io::Result<()> {
    let mut stream = TcpStream::connect(shared.endpoint.address).await?;
    stream.set_nodelay(true)?;
    let (mut body, mut request, mut buffer) = (Vec::new(), Vec::new(), Vec::with_capacity(16 * 1024));
    loop {
        let sent = Instant::now();
        if sent >= shared.end {
            return Ok(());
        }
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        body.clear();
        shared.requests.write_body(index, &mut body);
        shared.endpoint.write_request(&body, &mut request);
        stream.write_all(&request).await?;
        let close = loop {
            if let Some(response) = wire::response(&buffer).map_err(io::Error::other)? {
                let classified = classify(&shared.requests, index, response, &buffer[response.body..response.end]);
                shared.count(sent, Some(classified));
                buffer.drain(..response.end);
                break response.close;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                shared.count(sent, None);
                break true;
            }
        };
        if close {
            buffer.clear();
            stream = TcpStream::connect(shared.endpoint.address).await?;
            stream.set_nodelay(true)?;
        }
    }
}

impl CallerContext {
    fn count(&self, sent: Instant, classified: Option<Classified>) {
        let now = Instant::now();
        let mut counts = self.counts.lock();
        counts.sent += 1;
        match classified {
            None => counts.lost += 1,
            Some(Classified::Foreign) => counts.unknown += 1,
            Some(Classified::Answer(status)) => {
                counts.answered += 1;
                match status {
                    ResultStatus::Predicted { cached } => counts.cached += u64::from(cached),
                    ResultStatus::Failed(code) => *counts.errors.entry(code).or_default() += 1,
                }
                if now >= self.measure_from && now < self.end {
                    counts.measured += 1;
                    counts.latencies.record(now - sent);
                }
            }
        }
    }
}
