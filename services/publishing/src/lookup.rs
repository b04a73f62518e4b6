//! Results that are older than what the dedupe window knows: before they are judged, the result topic is read further
//! back, on a thread of its own. Younger results pass meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_bus::kafka::{DeadLetter, DeadLetters, RawRecord};
use forebay_contract::{ErrorCode, ItemId, now_us};
use forebay_runtime::Component;
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;

use crate::dedupe::{Placement, SharedDeduplicator, clock_slack, micros};
use crate::format::{Times, document};
use crate::kafka_results::{ORIGIN_HEADER, REQUEST_ID_HEADER, origin_header, request_id_header};
use crate::metrics::PublishingMetrics;
use crate::pending::PendingResult;
use crate::rebuild::{ReadBack, read_back};
use crate::result_log::{LogRead, ResultLog};
use crate::result_schema::ResultEncoding;

/// Interval between log lines of a long read.
const PROGRESS: Duration = Duration::from_secs(5);
/// Longest calls to the broker before the records flow: three, and one for each partition.
const OPENING: Duration = Duration::from_secs(75);
/// Pause after a read that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A result that has to be looked up, and where.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) result: PendingResult,
    pub(crate) placement: Placement,
}

/// What a lookup needs.
pub(crate) struct LookupSpec {
    pub(crate) log: Arc<dyn ResultLog>,
    /// Name of the result topic.
    pub(crate) topic: Arc<str>,
    pub(crate) letters: DeadLetters,
    pub(crate) deduplicator: SharedDeduplicator,
    pub(crate) window: Duration,
    pub(crate) times: Times,
    pub(crate) encoding: ResultEncoding,
    pub(crate) metrics: PublishingMetrics,
    /// Dispatches results that were looked up.
    pub(crate) redispatch: Box<dyn Fn(Vec<PendingResult>) + Send + Sync>,
}

/// Takes results that have to be looked up. The thread behind it ends with the last handle's drop.
#[derive(Debug)]
pub(crate) struct AnswerLookup(Arc<Queue>);

/// Drops results that wait, so that the next owner of their partitions reads them.
#[derive(Clone, Debug)]
pub struct ParkedResults(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    /// Bounded by the permits of unfinished work.
    parked: Mutex<Vec<Parked>>,
    arrived: Condvar,
    /// Counts revocations: what was parked before one is not judged after it.
    revocations: AtomicU64,
    closed: AtomicBool,
}

impl ParkedResults {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Queue::default()))
    }

    /// Partitions leave this process. Results that wait are refused; those of partitions that stay are delivered again.
    pub fn release(&self) {
        self.0.revocations.fetch_add(1, Ordering::AcqRel);
        drop(std::mem::take(&mut *self.0.parked.lock()));
    }
}

impl AnswerLookup {
    /// Starts the thread.
    pub(crate) fn start(parked: &ParkedResults, spec: LookupSpec, component: Component) -> std::io::Result<Self> {
        let queue = Arc::clone(&parked.0);
        let lookup = Self(Arc::clone(&queue));
        let run = move || Lookup { queue, spec, component }.run();
        std::thread::Builder::new().name("answer-lookup".into()).spawn(run)?;
        Ok(lookup)
    }

    /// Looks `results` up and dispatches them again.
    pub(crate) fn park(&self, results: Vec<Parked>) {
        self.0.parked.lock().extend(results);
        self.0.arrived.notify_one();
    }
}

impl Drop for AnswerLookup {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.arrived.notify_one();
    }
}

/// The thread.
struct Lookup {
    queue: Arc<Queue>,
    spec: LookupSpec,
    component: Component,
}

/// What becomes of results after a read.
#[derive(Default)]
struct Judged {
    known: Vec<Parked>,
    /// Their answers may lie further back.
    open: Vec<Parked>,
    /// Their answers may have been removed.
    unknowable: Vec<Parked>,
}

impl Lookup {
    fn run(self) {
        let heartbeat = self.component.heartbeat();
        self.component.ready();
        while !self.queue.closed.load(Ordering::Acquire) {
            heartbeat.beat();
            let revocations = self.queue.revocations.load(Ordering::Acquire);
            let parked = {
                let mut parked = self.queue.parked.lock();
                if parked.is_empty() {
                    self.queue.arrived.wait_for(&mut parked, heartbeat.interval());
                }
                std::mem::take(&mut *parked)
            };
            // what arrives meanwhile is in the next pass
            let mut by_partition: BTreeMap<Option<u32>, Vec<Parked>> = BTreeMap::new();
            let scattered = self.spec.deduplicator.lock().is_scattered();
            for parked in parked {
                let partition = Some(parked.placement.partition).filter(|it| !scattered && *it != u32::MAX);
                by_partition.entry(partition).or_default().push(parked);
            }
            for (partition, parked) in by_partition {
                self.pass(partition, parked, revocations);
            }
            self.show_waiting(0);
        }
    }

    fn show_waiting(&self, in_pass: usize) {
        let waiting = in_pass + self.queue.parked.lock().len();
        self.spec.metrics.looking_up.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Looks results of one partition up, or of all of them.
    fn pass(&self, partition: Option<u32>, mut open: Vec<Parked>, revocations: u64) {
        let began = Instant::now();
        let (results, mut records) = (open.len(), 0);
        let partitions: Vec<u32> = partition.into_iter().collect();
        let margin = micros(clock_slack(self.spec.window) + self.spec.window / 4);
        let earliest = open.iter().map(|parked| parked.placement.earliest_us()).min().unwrap_or_default();
        let mut since_us = earliest.saturating_sub(margin);
        while !open.is_empty() {
            self.show_waiting(open.len());
            let mut wanted: FxHashMap<ItemId, bool> = open.iter().map(|it| (it.result.id(), false)).collect();
            let start = Instant::now();
            let Some(read) = self.read(&partitions, since_us, &mut wanted, revocations) else { return };
            records += read.reach.records;
            if read.complete {
                let until = start + self.spec.window;
                self.spec.deduplicator.lock().extended(&read.reach.partitions, &read.coverage, until);
            }
            let judged = self.judge(open, &read, &wanted, since_us == 0);
            self.redispatch(judged.known, &read, &wanted);
            judged.unknowable.into_iter().for_each(|parked| self.bury(parked));
            open = judged.open;
            let reach = now_us().saturating_sub(since_us).max(micros(self.spec.window));
            since_us = since_us.saturating_sub(reach);
        }
        self.spec.metrics.looked_up.inc_by(results as u64);
        tracing::info!(?partition, results, records, took = ?began.elapsed(), "results looked up in the result topic");
    }

    /// Reads until it succeeds. `None` if the process ends or a partition has left: the results are dropped, and so
    /// delivered again.
    fn read(
        &self,
        partitions: &[u32],
        since_us: u64,
        wanted: &mut FxHashMap<ItemId, bool>,
        revocations: u64,
    ) -> Option<ReadBack> {
        let heartbeat = self.component.heartbeat();
        let current = || {
            !self.queue.closed.load(Ordering::Acquire) && self.queue.revocations.load(Ordering::Acquire) == revocations
        };
        let (mut shown, results) = (Instant::now(), wanted.len());
        loop {
            let mut proceed = |records| {
                heartbeat.beat();
                if shown.elapsed() > PROGRESS {
                    shown = Instant::now();
                    tracing::info!(?partitions, records, results, "still reading the result topic");
                }
                current()
            };
            let _waiting = heartbeat.waiting(OPENING);
            let read = LogRead { partitions, since_us };
            match read_back(self.spec.log.as_ref(), &self.spec.deduplicator, read, wanted, &mut proceed) {
                Ok(Some(read)) if current() => {
                    self.component.ready();
                    return Some(read);
                }
                Ok(_) => return None,
                Err(error) => self.component.unready(format!("the result topic cannot be read back: {error}")),
            }
            std::thread::sleep(PAUSE);
            if !current() {
                return None;
            }
        }
    }

    fn judge(&self, open: Vec<Parked>, read: &ReadBack, wanted: &FxHashMap<ItemId, bool>, at_start: bool) -> Judged {
        let mut judged = Judged::default();
        let nothing_earlier = at_start || read.reach.removed_until_us.is_some();
        for parked in open {
            let answered = wanted.get(&parked.result.id()).copied().unwrap_or_default();
            let coverage = &read.coverage;
            if answered || read.reach.whole || coverage.decides(&parked.placement, self.spec.window) {
                judged.known.push(parked);
            } else if !nothing_earlier {
                judged.open.push(parked);
            } else if coverage.reaches_acceptance(&parked.placement, self.spec.window) {
                // a backlog of requests that is older than every result: most of them were never read before
                judged.known.push(parked);
            } else {
                judged.unknowable.push(parked);
            }
        }
        judged
    }

    fn redispatch(&self, known: Vec<Parked>, read: &ReadBack, wanted: &FxHashMap<ItemId, bool>) {
        if known.is_empty() {
            return;
        }
        if !read.complete {
            let mut deduplicator = self.spec.deduplicator.lock();
            let answered = known.iter().map(|it| it.result.id()).filter(|id| wanted.get(id) == Some(&true));
            answered.for_each(|id| deduplicator.restore(id, None));
        }
        let looked_up = |parked: Parked| PendingResult { looked_up: true, ..parked.result };
        (self.spec.redispatch)(known.into_iter().map(looked_up).collect());
    }

    /// A result that may have been sent before, which cannot be found out any more, goes to the dead letters: as the
    /// record that it would have been, so that a replay sends it.
    fn bury(&self, Parked { result, placement }: Parked) {
        let PendingResult { item, ack, scope, .. } = result;
        let context = &item.context;
        let id = Bytes::copy_from_slice(&request_id_header(context.item()));
        let headers =
            vec![(REQUEST_ID_HEADER.to_owned(), id), (ORIGIN_HEADER.to_owned(), origin_header(context).into())];
        let document = document(context, &item.payload, scope.answered_us(), self.spec.times);
        let payload = self.spec.encoding.encode(document).into();
        let partition = placement.partition;
        let record = RawRecord { payload, key: None, partition, offset: 0, timestamp_ms: -1, headers };
        let message =
            "the request may have been answered before: results of its time were removed from the result topic";
        let (code, topic) = (ErrorCode::Internal.as_str(), Arc::clone(&self.spec.topic));
        self.spec.letters.send(DeadLetter { code, message: message.to_owned(), topic, record }, ack);
    }
}
