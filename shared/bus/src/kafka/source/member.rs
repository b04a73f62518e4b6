//! The loop of a source: it polls its consumer, takes permits before records, stores the watermarks and reads failed work
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay_contract::Lane;
use forebay_runtime::Heartbeat;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset};

use super::ends::Ends;
use super::holds::Holds;
use super::isolation::Isolation;
use super::lanes::LaneQueues;
use super::positions::{Positions, ReadUpTo};
use super::replacement::note_read;
use super::topics::SourceTopics;
use super::unreadable::Unreadable;
use super::{CLOSE, Control, FirstRecord, Intake, IntakePace, OnFirst, SourceCommits, SourceContext};
use crate::kafka::broker_contact::DeadClientCheck;
use crate::kafka::ffi::{commit_within, member_id};
use crate::kafka::offset_tracker::OffsetTracker;
use crate::kafka::rewind::RewindPause;
use crate::permits::StagePermits;
use crate::{EdgeEvents, Permit};

/// Interval between checks of acks, rewinds and the clock.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// The same while no work is in flight.
pub(super) const IDLE_TICK: Duration = Duration::from_millis(100);
/// A source without permits keeps its prefetched records for this long; then it pauses, and still serves rebalances.
const PREFETCH_HOLD: Duration = Duration::from_secs(1);
/// The process ends when the watermark of work in flight has not moved for this long: an ack was lost, and only a restart
/// reads the record again. This is about work that does not flow; the heartbeat is about a loop that has stopped.
const LOST_ACK: Duration = Duration::from_secs(600);
/// Longest time that a call of [`OnFirst`] may take.
const FIRST: Duration = Duration::from_secs(60);

/// The consumer of a source, on its thread.
pub(super) struct Member<I: Intake> {
    pub(super) consumer: Arc<BaseConsumer<SourceContext>>,
    pub(super) topics: SourceTopics,
    /// The topic by which the source is known.
    pub(super) topic: Arc<str>,
    /// Where the topic has lanes.
    pub(super) lanes: Option<LaneQueues>,
    pub(super) offsets: Arc<OffsetTracker>,
    pub(super) generation: Arc<AtomicU64>,
    pub(super) permits: StagePermits,
    pub(super) holds: Holds,
    pub(super) events: Arc<dyn EdgeEvents>,
    pub(super) heartbeat: Heartbeat,
    pub(super) on_first: Option<OnFirst>,
    pub(super) commits: Option<Arc<SourceCommits>>,
    pub(super) control: Arc<Control>,
    pub(super) intake: I,
    pub(super) rewind_pause: RewindPause,
    pub(super) isolation: Isolation<I::Item>,
    pub(super) ticked: Instant,
    pub(super) paused: bool,
    /// When access to the topic or the group, which the broker has denied, was last tried again.
    pub(super) forbidden: Option<Instant>,
    pub(super) positions: Arc<Positions>,
    /// Whether the client has reported a position that the topic does not have, or the topic is another one.
    pub(super) position_lost: bool,
    /// When it was last checked whether the topic is still the same.
    pub(super) topic_checked: Instant,
    /// Reused by every round: what it has read of each partition.
    pub(super) read: Vec<(i32, ReadUpTo)>,
    pub(super) config: ClientConfig,
    pub(super) dead_client: DeadClientCheck,
    pub(super) unreadable: Unreadable,
    pub(super) ends: Ends,
    pub(super) pace: IntakePace,
    /// Records of the last round.
    pub(super) taken: usize,
}

impl<I: Intake> Member<I> {
    pub(super) fn run(&mut self) {
        while !self.control.closing.load(Ordering::Acquire) {
            let early = self.pace.left(Instant::now(), self.taken);
            if !early.is_zero() {
                std::thread::sleep(early);
            }
            self.tick();
            let held_back = self.control.intake_stopped.load(Ordering::Acquire)
                || !self.rewind_pause.left(Instant::now()).is_zero();
            if held_back {
                self.serve_paused(TICK);
            } else if self.positions.without_progress.isolates() {
                self.take_isolated();
            } else if self.lanes.is_some() {
                self.take_by_lane();
            } else {
                self.take();
            }
        }
        self.lanes.iter_mut().for_each(LaneQueues::clear);
        self.consumer.context().close();
        while !self.consumer.context().let_go(&self.consumer) {
            self.heartbeat.beat();
            self.offsets.wait_for_end(TICK);
        }
        self.store_moved();
        if self.commits.is_none()
            && let Err(error) = commit_within(self.consumer.client(), None, CLOSE / 2)
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
        {
            tracing::debug!(topic = &*self.topic, %error, "last commit failed");
        }
        self.leave_group();
    }

    /// Leaves the group before the client is closed. A static member does not leave its group when it is closed (KIP-345),
    /// and its partitions would wait for the end of its session. Any other member leaves then as well, but a client that is
    /// closed in the middle of a rebalance may crash: librdkafka 2.12 answers the end of the rebalance through a
    /// coordinator that it has already given up (confluentinc/librdkafka#5347).
    fn leave_group(&mut self) {
        self.consumer.unsubscribe();
        let deadline = Instant::now() + CLOSE / 2;
        // closed any sooner, a static member would not say that it leaves
        while member_id(self.consumer.client()).is_some() && Instant::now() < deadline {
            self.heartbeat.beat();
            self.pause();
            drop(self.consumer.poll(TICK));
        }
    }

    /// Takes permits, then records, where there is only one topic.
    fn take(&mut self) {
        let waiting = Instant::now();
        let permit = loop {
            if let Some(permit) = self.permits.of(Lane::Normal).take_within(I::RESERVE, TICK) {
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
        // the first poll may wait, the others only empty the local queue
        let mut wait = if self.offsets.is_busy() { TICK } else { IDLE_TICK };
        let consumer = Arc::clone(&self.consumer);
        self.take_round(permit, Lane::Normal, || consumer.poll(std::mem::take(&mut wait)));
    }

    /// Takes records of `lane` until the round is full or `next` has none; whether there was one.
    pub(super) fn take_round<'m>(
        &mut self,
        permit: Permit,
        lane: Lane,
        mut next: impl FnMut() -> Option<KafkaResult<BorrowedMessage<'m>>>,
    ) -> bool {
        let mut round = self.intake.round(permit, lane);
        let mut failed = None;
        self.taken = 0;
        while self.intake.wants_more(&round) {
            match next() {
                None => break,
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
                Some(Ok(message)) => {
                    self.taken += 1;
                    let key = self.topics.key_of(&message);
                    self.before(key, &message);
                    self.intake.add(&mut round, &message, key, &self.offsets);
                }
            }
        }
        self.positions.has_read(&self.read);
        self.read.clear();
        self.intake.finish(round, &self.offsets);
        if let Some(error) = failed {
            self.note(&error);
        }
        self.taken > 0
    }

    /// What has to happen before the work on a record of the partition with this key begins.
    pub(super) fn before(&mut self, key: i32, message: &BorrowedMessage<'_>) {
        if self.forbidden.take().is_some() {
            self.events.ready();
        }
        // only with a hook, because it locks the offsets for every record
        if let Some(first) = &mut self.on_first
            && let Some((arrival, partitions)) = self.offsets.take_fresh(key)
        {
            let timestamp_ms = message.timestamp().to_millis().unwrap_or(-1);
            let keys: Vec<i32> = partitions.iter().map(|partition| partition.cast_signed()).collect();
            let done = |(key, next): (i32, i64)| {
                (key.unsigned_abs(), self.offsets.watermark(key).unwrap_or(next).unsigned_abs())
            };
            let done_up_to = self.positions.next_of(&keys).into_iter().map(done).collect();
            let _waiting = self.heartbeat.waiting(FIRST);
            first(FirstRecord { timestamp_ms, arrival, partitions, done_up_to });
        }
        let without_progress = &self.positions.without_progress;
        if !without_progress.is_empty()
            && let Some(offset) = without_progress.before_record(key, message.offset())
            && let Err(error) = self.note_attempt(key, offset)
        {
            // one start less is counted, as in the middle of a rebalance
            tracing::debug!(topic = message.topic(), partition = message.partition(), %error, "the start of work is not noted");
        }
        if self.read.is_empty() {
            // before a record of a new assignment can be answered
            self.commits.iter().for_each(|commits| commits.note_membership(&self.consumer));
        }
        note_read(&mut self.read, key, message);
    }

    fn tick(&mut self) {
        self.heartbeat.beat();
        if self.ticked.elapsed() < TICK {
            return;
        }
        self.ticked = Instant::now();
        self.commits.iter().for_each(|commits| commits.note_membership(&self.consumer));
        self.store_moved();
        self.rewind_failed();
        // a new position is an assignment, which the client would take for the end of a revocation that waits
        if self.consumer.context().let_go(&self.consumer) {
            self.check_topic();
            self.recover_positions();
        }
        self.settle_unreadable();
        self.settle_ends();
        self.replace_dead_client();
        self.refresh_metadata();
        self.holds.update(&self.consumer, &self.topics, &self.offsets, self.events.as_ref());
        let oldest = self.offsets.stalled();
        self.events.oldest(oldest);
        self.events.in_flight(self.permits.in_use(), self.permits.bytes_in_use());
        if oldest > LOST_ACK {
            self.events.fail(&format!(
                "topic {}: work has been in flight for {oldest:?} without an acknowledgement",
                self.topic
            ));
        }
    }

    /// Stores the watermarks in librdkafka, which commits them on its interval and whenever partitions are revoked, unless
    /// transactions do.
    fn store_moved(&mut self) {
        let moved = self.offsets.take_moved();
        if moved.is_empty() {
            return;
        }
        if self.rewind_pause.left(Instant::now()).is_zero() && self.rewind_pause.recovered() {
            self.events.ready();
        }
        self.positions.without_progress.progressed(&moved);
        // a partition that has just left refuses the store; its watermark was stored when it was revoked
        if let Err(error) = self.consumer.store_offsets(&self.positions.to_commit(&moved)) {
            tracing::debug!(topic = &*self.topic, %error, "offsets not stored");
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
        for (key, offset) in rewinds {
            let (topic, partition) = self.topics.of(key);
            tracing::warn!(topic, partition, offset, "work failed, reading again from the watermark");
            self.heartbeat.beat();
            if let Err(error) = self.consumer.seek(topic, partition, Offset::Offset(offset), CLOSE) {
                if !self.offsets.assigned().contains(&key) {
                    continue;
                }
                self.events.fail(&format!("topic {topic} partition {partition}: cannot seek: {error}"));
            }
        }
    }
}
