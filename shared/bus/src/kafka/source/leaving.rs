//! How partitions leave: their work ends or is given up, what was sent for it is settled, and only then they go.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::SourceContext;
use crate::kafka::producer::PassedSends;

/// Partitions that are being let go.
pub(super) struct Leaving {
    list: TopicPartitionList,
    since: Instant,
    /// What was sent before their work was over, once it is.
    settling: Option<PassedSends>,
    reported: bool,
}

impl SourceContext {
    /// Partitions that were lost are gone already. Others are let go by [`SourceContext::let_go`] once their work is done;
    /// until then the loop keeps polling, and the client reads no other partition either.
    pub(super) fn leave(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        (self.state.on_leaving)();
        if consumer.assignment_lost() {
            self.joined.store(false, Ordering::Release);
            self.state.events.unready("the group was lost, joining it again");
            self.part(consumer, list, None);
        } else {
            if let Err(error) = consumer.pause(list) {
                tracing::debug!(topic = self.topic(), %error, "partitions that leave are not paused");
            }
            let (list, since) = (list.clone(), Instant::now());
            *self.leaving.lock() = Some(Leaving { list, since, settling: None, reported: false });
            while self.closing.load(Ordering::Acquire) && !self.let_go(consumer) {
                self.state.offsets.wait_for_end(Duration::from_millis(20));
            }
        }
    }

    /// Lets the partitions go that are leaving, if their work is done or has had its time. `true` when none is left.
    pub(super) fn let_go(&self, consumer: &BaseConsumer<Self>) -> bool {
        let mut leaving = self.leaving.lock();
        let Some(Leaving { list, since, settling, reported }) = &mut *leaving else { return true };
        let (budget, elapsed) = (&self.state.revoke_budget, since.elapsed());
        let keys = self.state.topics.keys(list);
        if settling.is_none() && self.state.offsets.busy(&keys) && elapsed < budget.work {
            return false;
        }
        let sends = settling.get_or_insert_with(|| {
            // from here on the stage that answers drops what is left, see `Ack::has_left`
            self.state.offsets.give_up(&keys);
            budget.barrier.raise()
        });
        let settled = sends.are_settled();
        let closing = self.closing.load(Ordering::Acquire);
        if !settled && (elapsed < budget.sends || !closing) {
            // the partitions stay with this process until it has ended: the new owner must not write beside it
            if elapsed >= budget.sends && !std::mem::replace(reported, true) {
                self.fail(&format!("results of revoked partitions are unsettled after {:?}", budget.sends));
            }
            return false;
        }
        let list = list.clone();
        *leaving = None;
        drop(leaving);
        self.part(consumer, &list, Some(&self.state.offsets.revoke(&keys)));
        true
    }

    /// Whether the partition of `key` is being let go.
    pub(super) fn is_leaving(&self, key: i32) -> bool {
        let leaving = self.leaving.lock();
        leaving.as_ref().is_some_and(|leaving| self.state.topics.find(&leaving.list, key).is_some())
    }

    /// From now on partitions that are revoked are let go in the callback, as the loop does not come back to them.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}
