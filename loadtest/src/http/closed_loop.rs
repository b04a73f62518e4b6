//! Closed loop over HTTP: N callers that send as soon as they have their answer. Finds capacity; its latencies are service times and
//! say nothing about a fixed load.
use super::exchange::{Weighed, weigh};
use super::wire::{self, Target};
use crate::answer::Verdict;
use crate::error::LoadtestError;
use crate::feed::Feed;
use crate::latency::Latencies;
use crate::report::Report;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What all callers share.
#[derive(Debug)]
struct Shared {
    feed: Arc<Feed>,
    target: Target,
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

/// Lets `callers` callers go for `warmup + measured`.
pub(crate) async fn run(
    feed: Arc<Feed>,
    target: Target,
    callers: usize,
    warmup: Duration,
    measured: Duration,
) -> Result<Report, LoadtestError> {
    let measure_from = Instant::now() + warmup;
    let (next, counts, end) = (AtomicU64::new(0), Mutex::new(Counts::default()), measure_from + measured);
    let shared = Arc::new(Shared { feed, target, next, measure_from, end, counts });
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(call_again_and_again(Arc::clone(&shared)));
    }
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.map_err(io::Error::other).and_then(|ended| ended);
        ended.map_err(LoadtestError::system(format!("call {}", shared.target.address)))?;
    }
    let counts = shared.counts.lock();
    Ok(Report {
        kind: format!("http closed, {callers} callers"),
        run: shared.feed.run().to_string(),
        rows: shared.feed.batch(),
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

async fn call_again_and_again(shared: Arc<Shared>) -> io::Result<()> {
    let mut stream = TcpStream::connect(shared.target.address).await?;
    stream.set_nodelay(true)?;
    let (mut body, mut request, mut buffer) = (Vec::new(), Vec::new(), Vec::with_capacity(16 * 1024));
    loop {
        let sent = Instant::now();
        if sent >= shared.end {
            return Ok(());
        }
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        body.clear();
        shared.feed.write_body(index, &mut body);
        shared.target.write_request(&body, &mut request);
        stream.write_all(&request).await?;
        let close = loop {
            if let Some(response) = wire::response(&buffer).map_err(io::Error::other)? {
                let weighed = weigh(&shared.feed, index, response, &buffer[response.body..response.end]);
                shared.count(sent, Some(weighed));
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
            stream = TcpStream::connect(shared.target.address).await?;
            stream.set_nodelay(true)?;
        }
    }
}

impl Shared {
    fn count(&self, sent: Instant, weighed: Option<Weighed>) {
        let now = Instant::now();
        let mut counts = self.counts.lock();
        counts.sent += 1;
        match weighed {
            None => counts.lost += 1,
            Some(Weighed::Strange) => counts.unknown += 1,
            Some(Weighed::Answer(verdict)) => {
                counts.answered += 1;
                match verdict {
                    Verdict::Predicted { cached } => counts.cached += u64::from(cached),
                    Verdict::Failed(code) => *counts.errors.entry(code).or_default() += 1,
                }
                if now >= self.measure_from && now < self.end {
                    counts.measured += 1;
                    counts.latencies.record(now - sent);
                }
            }
        }
    }
}
