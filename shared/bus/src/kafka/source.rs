//! A member of a consumer group, on its own thread. It takes permits before records, gives each record an ack, and
//! stores the watermark that follows from those acks, which librdkafka commits.

mod attempts;
mod commits;
mod context;
mod ends;
mod errors;
mod holds;
mod intake;
mod intake_pace;
mod isolation;
mod lane_rounds;
mod lanes;
mod leaving;
mod member;
mod pause;
mod positions;
mod rebalance;
mod replacement;
mod taken_records;
mod topics;
mod unreadable;

pub(crate) use commits::{CommitsSlot, SourceCommits, names_transaction};
pub(crate) use context::{OnAssigned, OnLeaving, SourceContext};
pub(crate) use intake::{ENDS_PROCESS, Intake, RecordIntake, TypedIntake};
pub use intake::{RawSource, RecordGroup};
pub use intake_pace::IntakePace;
pub(crate) use rebalance::RevokeBudget;
pub(crate) use topics::SourceTopics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use context::SourceState;
use forebay_runtime::{Heartbeat, LONGEST_UNMARKED_WAIT};
use holds::Holds;
use isolation::Isolation;
use lanes::LaneQueues;
use member::Member;
use positions::Positions;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use unreadable::Unreadable;

use super::broker_contact::DeadClientCheck;
use super::dead_letters::DeadLetters;
use super::offset_tracker::OffsetTracker;
use super::rewind::RewindPause;
use crate::EdgeEvents;
use crate::permits::StagePermits;

/// Longest wait for the broker while leaving the group.
const CLOSE: Duration = Duration::from_secs(5);
const _: () = assert!(CLOSE.as_millis() <= LONGEST_UNMARKED_WAIT.as_millis());

/// The first record of a partition after it was assigned.
#[derive(Clone, Debug)]
pub struct FirstRecord {
    /// Its timestamp in milliseconds; -1 when it has none.
    pub timestamp_ms: i64,
    /// Number of the assignment in which the partition arrived.
    pub arrival: u64,
    /// Every partition of that assignment, its own included.
    pub partitions: Vec<u32>,
    /// The offset before which the group has ended its work, of those partitions of which it is known.
    pub done_up_to: Vec<(u32, u64)>,
}

/// Called on the source's thread before the first record of a partition is taken. It may block for at most a minute.
pub type OnFirst = Box<dyn FnMut(FirstRecord) + Send>;

/// What a source needs to start.
pub(crate) struct SourceSpec {
    pub(crate) config: ClientConfig,
    pub(crate) topics: SourceTopics,
    pub(crate) dead_client: DeadClientCheck,
    /// Whether a new group begins at the end of the topic: what is there already was not meant for it.
    pub(crate) from_latest: bool,
    /// Whether clients write the topic, so that its times are theirs.
    pub(crate) of_clients: bool,
    pub(crate) revoke_budget: RevokeBudget,
    pub(crate) pace: IntakePace,
    pub(crate) permits: StagePermits,
    /// A partition is held back while its oldest work is older than this.
    pub(crate) held_back_after: Duration,
    pub(crate) events: Arc<dyn EdgeEvents>,
    /// For batches that cannot be read.
    pub(crate) dead_letters: DeadLetters,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) on_assigned: OnAssigned,
    pub(crate) on_leaving: OnLeaving,
    /// Called once per partition and assignment, before its first record is taken, with the record's timestamp.
    pub(crate) on_first: Option<OnFirst>,
    /// Set if transactions commit the offsets, and not this consumer.
    pub(crate) commits: Option<CommitsSlot>,
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
        let in_transactions = spec.commits.is_some();
        let offsets = if in_transactions { OffsetTracker::transactional() } else { OffsetTracker::default() };
        let offsets = Arc::new(offsets);
        let generation = Arc::new(AtomicU64::new(0));
        let positions = Positions::new(&spec.topics, spec.from_latest, &spec.events).of_clients(spec.of_clients);
        let positions = Arc::new(if in_transactions { positions.in_transactions() } else { positions });
        let commits = spec.commits.map(|slot| {
            let group = spec.config.get("group.id").unwrap_or_default();
            let commits = SourceCommits::new(group, Arc::clone(&offsets), Arc::clone(&positions));
            Arc::clone(slot.get_or_init(|| Arc::new(commits)))
        });
        let context = SourceContext::new(SourceState {
            topics: spec.topics.clone(),
            offsets: Arc::clone(&offsets),
            generation: Arc::clone(&generation),
            positions: Arc::clone(&positions),
            events: Arc::clone(&spec.events),
            heartbeat: spec.heartbeat.clone(),
            on_assigned: spec.on_assigned,
            on_leaving: spec.on_leaving,
            revoke_budget: spec.revoke_budget,
        });
        let consumer: BaseConsumer<SourceContext> = spec.config.create_with_context(context)?;
        consumer.subscribe(&spec.topics.names())?;
        let control = Arc::new(Control::default());
        let member = Member {
            consumer: Arc::new(consumer),
            dead_client: spec.dead_client,
            config: spec.config,
            topic: Arc::clone(spec.topics.base()),
            lanes: spec.topics.has_lanes().then(LaneQueues::default),
            topics: spec.topics,
            offsets,
            generation,
            positions,
            permits: spec.permits,
            holds: Holds::new(spec.held_back_after),
            events: spec.events,
            heartbeat: spec.heartbeat,
            on_first: spec.on_first,
            commits,
            control: Arc::clone(&control),
            intake,
            rewind_pause: RewindPause::new(),
            isolation: Isolation::new(),
            ticked: Instant::now(),
            paused: false,
            forbidden: None,
            position_lost: false,
            topic_checked: Instant::now(),
            read: Vec::new(),
            unreadable: Unreadable::new(spec.dead_letters),
            ends: ends::Ends::default(),
            pace: spec.pace,
            taken: 0,
        };
        Self::run(member, control)
    }

    /// Runs a member on a thread of its own.
    fn run(mut member: Member<impl Intake>, control: Arc<Control>) -> Result<Self, KafkaError> {
        let topic = Arc::clone(&member.topic);
        let name = format!("source {topic}");
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || member.run())
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

#[cfg(test)]
mod tests;
