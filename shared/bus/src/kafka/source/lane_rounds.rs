//! The rounds of a source whose topic has lanes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;

use super::isolation::seek_back;
use super::lanes::LaneQueues;
use super::member::{Member, TICK};
use super::{Intake, SourceContext};

/// How long a source waits for a record while a lane has no permits, which come back without a word.
const STARVED: Duration = Duration::from_millis(2);

impl<I: Intake> Member<I> {
    /// Takes the records of one lane, that whose turn it is of those with records and permits.
    pub(super) fn take_by_lane(&mut self) {
        // the client's messages borrow the consumer or one of the queues
        let (consumer, Some(mut lanes)) = (Arc::clone(&self.consumer), self.lanes.take()) else { return };
        self.serve_common_queue(&consumer, &mut lanes);
        // not if a partition has just come whose items are to be taken one at a time
        if !self.positions.without_progress.isolates() {
            self.resume();
            lanes.assign(&consumer, &self.topics, self.offsets.assigned());
            self.take_next(&mut lanes);
        }
        self.lanes = Some(lanes);
    }

    fn take_next(&mut self, lanes: &mut LaneQueues) {
        let mut starved = false;
        for lane in lanes.order() {
            let Some(permit) = self.permits.of(lane).try_take(I::RESERVE) else {
                starved = true;
                continue;
            };
            if self.take_round(permit, lane, || lanes.poll(lane)) {
                return lanes.took(lane);
            }
        }
        let waiting = Instant::now();
        lanes.wait(if starved { STARVED } else { TICK });
        if starved {
            self.events.waited(waiting.elapsed());
        }
    }

    /// Serves rebalances and errors. A record in the client's common queue came before its partition had a queue of its
    /// own: it is read again from there.
    fn serve_common_queue(&mut self, consumer: &BaseConsumer<SourceContext>, lanes: &mut LaneQueues) {
        match consumer.poll(Duration::ZERO) {
            None => {}
            Some(Err(error)) => self.note(&error),
            Some(Ok(message)) => {
                lanes.clear();
                seek_back(consumer, &message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
