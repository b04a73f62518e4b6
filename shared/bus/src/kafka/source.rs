//! A member of a consumer group, on its own thread. It takes permits before records, gives each record an ack, and
//! commits the watermark that follows from those acks.

mod context;
mod intake;

pub(crate) use context::{OnAssigned, OnLeaving, SourceContext};
pub use intake::RawSource;
pub(crate) use intake::{Intake, RecordIntake, TypedIntake};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay_runtime::{Heartbeat, LONGEST_UNMARKED_WAIT};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::auth_failure::AuthFailure;
use super::offset_tracker::OffsetTracker;
use super::rewind::RewindPause;
use crate::{EdgeEvents, Permits};

/// Interval between checks of acks, rewinds and the clock.
const TICK: Duration = Duration::from_millis(50);
/// A source without permits keeps its prefetched records for this long; then it pauses, and still serves rebalances.
const PREFETCH_HOLD: Duration = Duration::from_secs(1);
/// The process ends when the watermark of work in flight has not moved for this long: an ack was lost, and only a restart
/// reads the record again. This is about work that does not flow; the heartbeat is about a loop that has stopped.
const LOST_ACK: Duration = Duration::from_secs(600);
/// Interval between retries after an authorization failure.
const RETRY_ACCESS: Duration = Duration::from_secs(1);
/// Longest wait for the broker while leaving the group.
const CLOSE: Duration = Duration::from_secs(5);
const _: () = assert!(CLOSE.as_millis() <= LONGEST_UNMARKED_WAIT.as_millis());
/// Longest time that a call of [`OnFirst`] may take.
const FIRST: Duration = Duration::from_secs(60);

/// The first record of a partition after it was assigned.
#[derive(Clone, Debug)]
pub struct FirstRecord {
    /// Its timestamp in milliseconds; -1 when it has none.
    pub timestamp_ms: i64,
    /// Number of the assignment in which the partition arrived.
    pub arrival: u64,
    /// Every partition of that assignment, its own included.
    pub partitions: Vec<u32>,
}

/// Called on the source's thread before the first record of a partition is taken. It may block for at most a minute.
pub type OnFirst = Box<dyn FnMut(FirstRecord) + Send>;

/// What a source needs to start.
pub(crate) struct SourceSpec {
    pub(crate) config: ClientConfig,
    pub(crate) topic: Arc<str>,
    /// Commit the resolved position at the first assignment: a group that starts at the end must not skip what arrives
    /// between its first poll and its first commit.
    pub(crate) from_latest: bool,
    pub(crate) permits: Permits,
    pub(crate) events: Arc<dyn EdgeEvents>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) on_assigned: OnAssigned,
    pub(crate) on_leaving: OnLeaving,
    /// Called once per partition and assignment, before its first record is taken, with the record's timestamp.
    pub(crate) on_first: Option<OnFirst>,
}

/// The running source.
#[derive(Debug)]
pub(crate) struct Source {
    topic: Arc<str>,
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Control {
    intake_stopped: AtomicBool,
    closing: AtomicBool,
}

impl Source {
    pub(crate) fn start(spec: SourceSpec, intake: impl Intake) -> Result<Self, KafkaError> {
        let offsets = Arc::new(OffsetTracker::default());
        let generation = Arc::new(AtomicU64::new(0));
        let context = SourceContext {
            topic: Arc::clone(&spec.topic),
            offsets: Arc::clone(&offsets),
            generation: Arc::clone(&generation),
            from_latest: spec.from_latest,
            events: Arc::clone(&spec.events),
            heartbeat: spec.heartbeat.clone(),
            on_assigned: spec.on_assigned,
            on_leaving: spec.on_leaving,
            auth_failure: AuthFailure::default(),
            joined: AtomicBool::new(false),
        };
        let consumer: BaseConsumer<SourceContext> = spec.config.create_with_context(context)?;
        consumer.subscribe(&[&spec.topic])?;
        let control = Arc::new(Control::default());
        let topic = Arc::clone(&spec.topic);
        let mut running = Running {
            consumer,
            topic: spec.topic,
            offsets,
            generation,
            permits: spec.permits,
            events: spec.events,
            heartbeat: spec.heartbeat,
            on_first: spec.on_first,
            control: Arc::clone(&control),
            intake,
            rewind_pause: RewindPause::new(),
            ticked: Instant::now(),
            paused: false,
            forbidden: None,
        };
        let name = format!("source {topic}");
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || running.run())
            .map_err(|error| KafkaError::ClientCreation(format!("source thread: {error}")))?;
        Ok(Self { topic, control, thread: Some(thread) })
    }

    /// Stops taking records; rebalances and acks are still served.
    pub(crate) fn stop_intake(&self) {
        self.control.intake_stopped.store(true, Ordering::Release);
    }

    /// Commits finished work and leaves the group, within a bound. A close that hangs is abandoned: correctness does
    /// not depend on it.
    pub(crate) fn close(mut self) {
        self.control.closing.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + CLOSE;
        while !thread.is_finished() {
            if Instant::now() > deadline {
                tracing::warn!(topic = &*self.topic, "leaving the group takes too long, closing without it");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Running<I> {
    consumer: BaseConsumer<SourceContext>,
    topic: Arc<str>,
    offsets: Arc<OffsetTracker>,
    generation: Arc<AtomicU64>,
    permits: Permits,
    events: Arc<dyn EdgeEvents>,
    heartbeat: Heartbeat,
    on_first: Option<OnFirst>,
    control: Arc<Control>,
    intake: I,
    rewind_pause: RewindPause,
    ticked: Instant,
    paused: bool,
    /// When access to the topic or the group, which the broker has denied, was last tried again.
    forbidden: Option<Instant>,
}

impl<I: Intake> Running<I> {
    fn run(&mut self) {
        while !self.control.closing.load(Ordering::Acquire) {
            self.tick();
            let held_back = self.control.intake_stopped.load(Ordering::Acquire)
                || !self.rewind_pause.left(Instant::now()).is_zero()
                || self.offsets.full();
            if held_back {
                self.serve_paused(TICK);
            } else {
                self.take();
            }
        }
        self.store_moved();
        if let Err(error) = self.consumer.commit_consumer_state(CommitMode::Sync)
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
        {
            tracing::debug!(topic = &*self.topic, %error, "last commit failed");
        }
    }

    /// Takes permits, then records.
    fn take(&mut self) {
        let waiting = Instant::now();
        let permit = loop {
            if let Some(permit) = self.permits.take_within(I::RESERVE, TICK) {
                break permit;
            }
            self.tick();
            if self.control.intake_stopped.load(Ordering::Acquire) || self.control.closing.load(Ordering::Acquire) {
                return;
            }
            if waiting.elapsed() > PREFETCH_HOLD {
                self.serve_paused(Duration::ZERO);
            }
        };
        let waited = waiting.elapsed();
        if waited > Duration::from_micros(100) {
            self.events.waited(waited);
        }
        self.resume();
        let mut wait = TICK;
        let mut round = self.intake.round(permit);
        // the first poll may wait, the others only empty the local queue
        while self.intake.wants_more(&round) {
            match self.consumer.poll(wait) {
                None => break,
                Some(Err(error)) => {
                    self.note(&error);
                    break;
                }
                Some(Ok(message)) => {
                    if self.forbidden.take().is_some() {
                        self.events.ready();
                    }
                    // only with a hook, because it locks the offsets for every record
                    if let Some(first) = &mut self.on_first
                        && let Some((arrival, partitions)) = self.offsets.take_fresh(message.partition())
                    {
                        let timestamp_ms = message.timestamp().to_millis().unwrap_or(-1);
                        let _waiting = self.heartbeat.waiting(FIRST);
                        first(FirstRecord { timestamp_ms, arrival, partitions });
                    }
                    self.intake.add(&mut round, &message, &self.offsets);
                }
            }
            wait = Duration::ZERO;
        }
        self.intake.finish(round, &self.offsets);
    }

    fn tick(&mut self) {
        self.heartbeat.beat();
        if self.ticked.elapsed() < TICK {
            return;
        }
        self.ticked = Instant::now();
        self.store_moved();
        self.rewind_failed();
        self.refresh_metadata();
        let oldest = self.offsets.stalled();
        self.events.oldest(oldest);
        self.events.in_flight(self.permits.in_use());
        if oldest > LOST_ACK {
            self.events.fail(&format!(
                "topic {}: work has been in flight for {oldest:?} without an acknowledgement",
                self.topic
            ));
        }
    }

    /// A member without access checks its topic only every 30 s; a request for the metadata of all topics makes it
    /// check at once.
    fn refresh_metadata(&mut self) {
        let Some(last_try) = &mut self.forbidden else { return };
        if last_try.elapsed() > RETRY_ACCESS && self.offsets.assigned().is_empty() {
            *last_try = Instant::now();
            if let Err(error) = self.consumer.fetch_metadata(None, RETRY_ACCESS) {
                tracing::debug!(topic = &*self.topic, %error, "topics cannot be listed");
            }
        }
    }

    /// Stores the watermarks in librdkafka, which commits them on its interval and whenever partitions are revoked.
    fn store_moved(&mut self) {
        let moved = self.offsets.take_moved();
        if moved.is_empty() {
            return;
        }
        if self.rewind_pause.left(Instant::now()).is_zero() && self.rewind_pause.recovered() {
            self.events.ready();
        }
        for (partition, offset) in moved {
            // a partition that has just left refuses the store; its watermark was stored when it was revoked
            if let Err(error) = self.consumer.store_offset(&self.topic, partition, offset - 1) {
                tracing::debug!(topic = &*self.topic, partition, offset, %error, "offset not stored");
            }
        }
    }

    fn rewind_failed(&mut self) {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        let rewinds = self.offsets.take_rewinds(generation);
        if rewinds.is_empty() {
            return;
        }
        self.rewind_pause.failed(Instant::now());
        self.events.unready("work could not be passed on, reading it again");
        for (partition, offset) in rewinds {
            tracing::warn!(topic = &*self.topic, partition, offset, "work failed, reading again from the watermark");
            self.heartbeat.beat();
            if let Err(error) = self.consumer.seek(&self.topic, partition, Offset::Offset(offset), CLOSE) {
                if !self.offsets.assigned().contains(&partition) {
                    continue;
                }
                self.events.fail(&format!("topic {} partition {partition}: cannot seek: {error}", self.topic));
            }
        }
    }

    /// Polls without taking records, so that rebalances are served and the member stays in the group.
    fn serve_paused(&mut self, wait: Duration) {
        if !self.paused {
            self.paused = true;
            self.on_assignment(|consumer, list| consumer.pause(list));
        }
        match self.consumer.poll(wait.max(Duration::from_millis(1))) {
            Some(Ok(message)) => {
                // fetched before the pause took effect: read again after it
                let (partition, offset) = (message.partition(), message.offset());
                drop(message);
                let _ = self.consumer.seek(&self.topic, partition, Offset::Offset(offset), CLOSE);
                self.on_assignment(|consumer, list| consumer.pause(list));
            }
            Some(Err(error)) => self.note(&error),
            None => {}
        }
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.on_assignment(|consumer, list| consumer.resume(list));
        }
    }

    fn on_assignment(
        &self,
        change: impl Fn(&BaseConsumer<SourceContext>, &TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        if let Ok(list) = self.consumer.assignment()
            && let Err(error) = change(&self.consumer, &list)
        {
            tracing::debug!(topic = &*self.topic, %error, "pause or resume refused");
        }
    }

    fn note(&mut self, error: &KafkaError) {
        use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed};
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                let why = format!("topic {} does not exist; `forebay topics create` makes it", self.topic);
                self.events.unready(&why);
            }
            Some(code @ (TopicAuthorizationFailed | GroupAuthorizationFailed)) => {
                self.forbidden.get_or_insert_with(Instant::now);
                self.events.unready(&format!("no right to read topic {} in this group: {code}", self.topic));
            }
            Some(RDKafkaErrorCode::PollExceeded) => {
                self.events.unready("this member was too slow and lost its partitions")
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                self.events.fail(&format!("consumer of {}: {error}", self.topic));
            }
            _ => tracing::debug!(topic = &*self.topic, %error, "consumer reports an error"),
        }
    }
}

#[cfg(test)]
mod tests;
