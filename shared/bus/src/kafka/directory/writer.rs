//! Writes what this process reports. At most one record of a key is in flight, so that records keep their order, and an
//! unreachable broker costs no memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay_contract::{DirectoryKey, LoadState, ReplicaState, VersionState, now_us};
use forebay_runtime::Heartbeat;
use prost::Message;

use crate::directory::HEARTBEAT;
use crate::kafka::producer::{OnUndelivered, RecordSink, Sent};
use crate::{Ack, EdgeEvents, ModelDirectory};

const LOOK: Duration = Duration::from_millis(500);
/// Interval after which unchanged views are written again.
const REPEAT: Duration = Duration::from_secs(600);
/// Interval between checks while a record waits for the one before it.
const SOON: Duration = Duration::from_millis(20);
/// After so long without an answer of the broker, the process says what it waits for.
const LATE: Duration = Duration::from_secs(5);
/// Longest time for removing this replica's records at the end.
const CLOSE: Duration = Duration::from_secs(1);

/// What a process writes.
#[derive(Clone)]
pub(in crate::kafka) enum DirectoryRecords {
    /// What its stages read from the registry and have loaded, and requests to load and unload models. The part of the
    /// process that the events belong to is ready once the topic says of a version that it is loaded here, since requests
    /// find it from then on.
    All(Arc<dyn EdgeEvents>),
    /// Such requests alone.
    Overrides,
}

/// The writer of one process.
pub(super) struct Writer {
    directory: ModelDirectory,
    sink: RecordSink,
    topic: Arc<str>,
    leaving: Arc<AtomicBool>,
    heartbeat: Heartbeat,
    records: DirectoryRecords,
    /// Whether the topic has said of a version that it is loaded here.
    reported: bool,
    /// When a version was first seen to be loaded.
    loaded_at: Option<Instant>,
    give_up: OnUndelivered,
    written: BTreeMap<String, Written>,
    /// The newest record to write for each key; `None` removes the key.
    waiting: BTreeMap<String, Option<Vec<u8>>>,
    in_flight: BTreeMap<String, Arc<AtomicBool>>,
}

/// A state as it was written last.
struct Written {
    state: Arc<ReplicaState>,
    at: Instant,
}

impl Writer {
    pub(super) fn new(
        directory: ModelDirectory,
        sink: RecordSink,
        topic: &str,
        leaving: Arc<AtomicBool>,
        (heartbeat, records): (Heartbeat, DirectoryRecords),
    ) -> Self {
        let name: Arc<str> = topic.into();
        let topic = Arc::clone(&name);
        let give_up: OnUndelivered = Arc::new(move |undelivered| {
            let error = undelivered.error;
            tracing::warn!(topic = &*name, error, "the broker does not take a record about a model");
            undelivered.ack.nack();
        });
        Self {
            directory,
            sink,
            topic,
            leaving,
            heartbeat,
            reported: !matches!(records, DirectoryRecords::All(_)),
            loaded_at: None,
            records,
            give_up,
            written: BTreeMap::new(),
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
        }
    }

    pub(super) fn spawn(mut self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("directory-writer".into()).spawn(move || self.run())
    }

    fn run(&mut self) {
        let (change, changes) = sync_channel(1); // one waiting change stands for all of them
        self.directory.changes().on_notify(move || _ = change.try_send(()));
        let mut repeated = Instant::now();
        while !self.leaving.load(Ordering::Acquire) {
            self.heartbeat.beat();
            if repeated.elapsed() > REPEAT {
                repeated = Instant::now();
                self.directory.repeat_records();
            }
            self.write();
            self.report_readiness();
            let settling = !self.reported && !self.in_flight.is_empty();
            let _ = changes.recv_timeout(if settling || !self.waiting.is_empty() { SOON } else { LOOK });
        }
        self.directory.leave();
        let until = Instant::now() + CLOSE;
        self.write();
        while !self.waiting.is_empty() && Instant::now() < until {
            std::thread::sleep(SOON);
            self.write();
        }
    }

    fn write(&mut self) {
        let out = self.directory.outgoing();
        self.waiting.extend(out.overrides.into_iter().map(|(key, record)| (key.to_string(), record)));
        if matches!(self.records, DirectoryRecords::All(_)) {
            self.waiting.extend(out.views.into_iter().map(|(key, record)| (key.to_string(), record)));
            self.waiting.extend(out.dead.into_iter().map(|key| (key.to_string(), None)));
            self.queue_states(&out.states);
        }
        self.send_waiting();
    }

    /// Queues states that are new or whose heartbeat is due, and removes the records of those that have ended.
    fn queue_states(&mut self, states: &[Arc<ReplicaState>]) {
        let mut gone: Vec<String> = self.written.keys().cloned().collect();
        for state in states {
            let key = DirectoryKey::Replica { replica: state.replica.clone(), model: state.model.clone() }.to_string();
            gone.retain(|known| *known != key);
            let written = self.written.get(&key);
            if written.is_some_and(|written| Arc::ptr_eq(&written.state, state) && written.at.elapsed() < HEARTBEAT) {
                continue;
            }
            let record = ReplicaState { at_ms: now_us() / 1000, ..(**state).clone() };
            self.waiting.insert(key.clone(), Some(record.encode_to_vec()));
            self.written.insert(key, Written { state: Arc::clone(state), at: Instant::now() });
        }
        for key in gone {
            self.written.remove(&key);
            self.waiting.insert(key, None);
        }
    }

    /// Reports readiness once a version is loaded and every record is settled, which one that is too large for the topic is
    /// as well.
    fn report_readiness(&mut self) {
        let DirectoryRecords::All(events) = &self.records else { return };
        let is_ready = |version: &VersionState| version.state() == LoadState::Ready;
        if self.reported || !self.written.values().any(|written| written.state.versions.iter().any(is_ready)) {
            return;
        }
        let loaded_at = *self.loaded_at.get_or_insert_with(Instant::now);
        if self.waiting.is_empty() && self.in_flight.values().all(|unsettled| !unsettled.load(Ordering::Acquire)) {
            self.reported = true;
            events.ready();
        } else if loaded_at.elapsed() > LATE {
            events.unready(&format!("topic {}: the broker does not take what is loaded here, see the log", self.topic));
        }
    }

    fn send_waiting(&mut self) {
        self.in_flight.retain(|_, unsettled| unsettled.load(Ordering::Acquire));
        let ready: Vec<String> =
            self.waiting.keys().filter(|key| !self.in_flight.contains_key(*key)).cloned().collect();
        for key in ready {
            let Some(record) = self.waiting.remove(&key) else { continue };
            let unsettled = Arc::new(AtomicBool::new(true));
            self.in_flight.insert(key.clone(), Arc::clone(&unsettled));
            let ack = Ack::new(move |_| unsettled.store(false, Ordering::Release));
            let sent = Sent::once(ack, self.sink.counter(&self.topic), Arc::clone(&self.give_up));
            self.sink.produce(&self.topic, None, Some(key.as_bytes()), record.as_deref(), None, sent);
        }
    }
}

#[cfg(test)]
mod tests;
