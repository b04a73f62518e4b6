//! The lanes of a source. Each partition has a queue of its own in the client, so that a backlog of one lane does not
//! stand before the records of another, and the lanes have turns by weight.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use forebay_contract::Lane;
use parking_lot::{Condvar, Mutex};
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;

use super::SourceContext;
use super::topics::SourceTopics;

/// The queues of the assigned partitions by lane.
#[derive(Default)]
pub(super) struct LaneQueues {
    lanes: [LaneQueue; 3],
    /// The keys that have a queue, in order.
    keys: Vec<i32>,
    turns: LaneTurns,
    arrival: Arc<Arrival>,
}

#[derive(Default)]
struct LaneQueue {
    partitions: Vec<PartitionQueue<SourceContext>>,
    /// The partition that is polled first; they take turns.
    first: Cell<usize>,
}

/// Set by the client when a queue is no longer empty.
#[derive(Default)]
struct Arrival {
    arrived: Mutex<bool>,
    changed: Condvar,
}

impl LaneQueues {
    /// Gives every assigned partition its queue. What came before that is in the client's common queue.
    pub(super) fn assign(
        &mut self,
        consumer: &Arc<BaseConsumer<SourceContext>>,
        topics: &SourceTopics,
        mut keys: Vec<i32>,
    ) {
        keys.sort_unstable();
        if keys == self.keys {
            return;
        }
        // before the new ones: the end of a queue ends the callback of its partition
        self.clear();
        for key in &keys {
            let (topic, partition) = topics.of(*key);
            let Some(mut queue) = consumer.split_partition_queue(topic, partition) else { continue };
            let arrival = Arc::clone(&self.arrival);
            queue.set_nonempty_callback(move || arrival.set());
            self.lanes[topics.lane(*key).index()].partitions.push(queue);
        }
        self.keys = keys;
        self.arrival.set();
    }

    /// Forgets the queues; [`LaneQueues::assign`] makes them again.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.lanes.iter_mut().for_each(|lane| lane.partitions.clear());
    }

    /// The next record of a lane, if one is there.
    pub(super) fn poll(&self, lane: Lane) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        let LaneQueue { partitions, first } = &self.lanes[lane.index()];
        let start = first.get();
        for step in 0..partitions.len() {
            let index = (start + step) % partitions.len();
            if let Some(polled) = partitions[index].poll(Duration::ZERO) {
                first.set(index + 1);
                return Some(polled);
            }
        }
        None
    }

    /// The next record of any lane, or what else the client reports, after at most `limit`. What came before its partition
    /// had a queue of its own comes first.
    pub(super) fn poll_any<'a>(
        &'a self,
        consumer: &'a BaseConsumer<SourceContext>,
        limit: Duration,
    ) -> Option<KafkaResult<BorrowedMessage<'a>>> {
        let polled =
            consumer.poll(Duration::ZERO).or_else(|| self.order().into_iter().find_map(|lane| self.poll(lane)));
        if polled.is_none() {
            self.wait(limit);
        }
        polled
    }

    /// The lanes in the order in which they are tried now.
    pub(super) fn order(&self) -> [Lane; 3] {
        self.turns.order()
    }

    /// A lane had a round.
    pub(super) fn took(&mut self, lane: Lane) {
        self.turns.took(lane);
    }

    /// Waits until records arrive, for at most `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        let mut arrived = self.arrival.arrived.lock();
        if !*arrived {
            self.arrival.changed.wait_for(&mut arrived, limit);
        }
        *arrived = false;
    }
}

impl Arrival {
    fn set(&self) {
        *self.arrived.lock() = true;
        self.changed.notify_one();
    }
}

/// Rounds that each lane has left of its weight. A lane that is empty leaves its rounds to the others.
#[derive(Debug)]
struct LaneTurns {
    left: [u32; 3],
}

impl Default for LaneTurns {
    fn default() -> Self {
        Self { left: Lane::ALL.map(Lane::weight) }
    }
}

impl LaneTurns {
    /// The most urgent lane first among those that have rounds left, then among the others.
    fn order(&self) -> [Lane; 3] {
        let mut lanes = Lane::ALL;
        lanes.sort_by_key(|lane| (self.left[lane.index()] == 0, *lane));
        lanes
    }

    fn took(&mut self, lane: Lane) {
        if self.left[lane.index()] == 0 {
            // every lane with rounds left was empty
            *self = Self::default();
        }
        self.left[lane.index()] -= 1;
        if self.left == [0; 3] {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of each lane of `rounds` while those in `full` have a backlog.
    fn rounds(turns: &mut LaneTurns, full: &[Lane], rounds: u32) -> [u32; 3] {
        let mut had = [0; 3];
        for _ in 0..rounds {
            let lane = turns.order().into_iter().find(|lane| full.contains(lane)).unwrap();
            turns.took(lane);
            had[lane.index()] += 1;
        }
        had
    }

    #[test]
    fn lanes_are_read_by_weight_while_all_have_a_backlog() {
        let mut turns = LaneTurns::default();
        assert_eq!(rounds(&mut turns, &Lane::ALL, 13), [8, 4, 1]);
        assert_eq!(rounds(&mut turns, &Lane::ALL, 26), [16, 8, 2]);
    }

    #[test]
    fn an_empty_lane_leaves_its_rounds_and_an_urgent_record_is_next() {
        let mut turns = LaneTurns::default();
        assert_eq!(rounds(&mut turns, &[Lane::Low], 100), [0, 0, 100]);
        assert_eq!(rounds(&mut turns, &[Lane::High, Lane::Low], 1), [1, 0, 0]);
        let [high, normal, low] = rounds(&mut turns, &[Lane::High, Lane::Low], 900);
        assert!(normal == 0 && (99..=101).contains(&low) && high == 900 - low, "{high} {low}");
    }
}
