//! The two ends of an edge. Behind an outlet is the next stage's inlet or a Kafka topic.

use std::fmt;
use std::sync::Arc;

use forebay_contract::{Batch, Item, Lane};

use crate::{Ack, Delivery};

/// Takes deliveries of a stage's work. Must not block: permits bound what can be waiting behind it.
pub struct Inlet<P>(Arc<dyn Fn(Delivery<Batch<P>>) + Send + Sync>);

impl<P> Inlet<P> {
    /// An inlet that hands every delivery to `take`.
    pub fn new(take: impl Fn(Delivery<Batch<P>>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Hands a delivery to the stage.
    pub fn deliver(&self, delivery: Delivery<Batch<P>>) {
        (self.0)(delivery);
    }
}

impl<P> Clone for Inlet<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> fmt::Debug for Inlet<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inlet")
    }
}

/// Sends a stage's work on. The ack is answered when the work is safe at the other end: over Kafka by the delivery
/// report, in memory by the next stage, which inherits it.
pub struct Outlet<P>(Arc<dyn Fn(Batch<P>, Ack) + Send + Sync>);

impl<P: 'static> Outlet<P> {
    /// An outlet over anything that takes a batch and its ack.
    pub fn new(send: impl Fn(Batch<P>, Ack) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Sends a batch; an empty one is done at once.
    pub fn send(&self, batch: Batch<P>, ack: Ack) {
        if batch.items.is_empty() {
            return ack.ack();
        }
        (self.0)(batch, ack);
    }
}

/// An outlet that sends each item over the outlet of the lane of its priority; `lanes` are in the order of [`Lane::ALL`].
pub(crate) fn by_lane<P: 'static>(lanes: [Outlet<P>; 3]) -> Outlet<P> {
    Outlet::new(move |mut batch: Batch<P>, ack| {
        let lane = |item: &Item<P>| Lane::of_priority(item.context.priority());
        let Some(first) = batch.items.first().map(lane) else { return ack.ack() };
        // from the second stage on they are all of one lane
        if batch.items.iter().all(|item| lane(item) == first) {
            return lanes[first.index()].send(batch, ack);
        }
        let mut items = std::mem::take(&mut batch.items);
        for (of_lane, outlet) in Lane::ALL.into_iter().zip(&lanes) {
            let items = items.extract_if(.., |item| lane(item) == of_lane).collect();
            let (batch_partition, stages) = (batch.batch_partition, batch.stages.clone());
            outlet.send(Batch { batch_partition, stages, items }, ack.share());
        }
        ack.ack();
    })
}

impl<P> Clone for Outlet<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> fmt::Debug for Outlet<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outlet")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use forebay_contract::Request;
    use forebay_testkit::context;

    use super::*;
    use crate::AckOutcome;

    type Sent = Receiver<(Batch<Request>, Ack)>;

    fn lanes() -> (Outlet<Request>, [Sent; 3]) {
        let channels = Lane::ALL.map(|_| channel());
        let outlet = by_lane(channels.each_ref().map(|(sender, _)| {
            let sender = sender.clone();
            Outlet::new(move |batch, ack| _ = sender.send((batch, ack)))
        }));
        (outlet, channels.map(|(_, sent)| sent))
    }

    fn batch(priorities: &[i32]) -> Batch<Request> {
        let items = priorities.iter().map(|priority| context().priority(*priority).item(Request::default())).collect();
        Batch { batch_partition: 3, stages: Vec::new(), items }
    }

    fn priorities(batch: &Batch<Request>) -> Vec<i32> {
        batch.items.iter().map(|item| item.context.priority()).collect()
    }

    #[test]
    fn items_go_over_the_lane_of_their_priority_and_are_done_together() {
        let ((outlet, sent), (outcome, outcomes)) = (lanes(), channel());
        outlet.send(batch(&[5, 1, -1, 1]), Ack::new(move |ended| _ = outcome.send(ended)));
        let batches = sent.map(|batches| batches.try_recv().unwrap());
        assert_eq!(batches.each_ref().map(|(batch, _)| priorities(batch)), [vec![-1], vec![1, 1], vec![5]]);
        for (batch, ack) in batches {
            assert!(outcomes.try_recv().is_err());
            assert_eq!(batch.batch_partition, 3);
            ack.ack();
        }
        assert_eq!(outcomes.try_recv(), Ok(AckOutcome::Done));
    }

    #[test]
    fn a_batch_of_one_lane_stays_whole() {
        let (outlet, [high, normal, low]) = lanes();
        outlet.send(batch(&[2, 9]), Ack::none());
        assert!(high.try_recv().is_err() && normal.try_recv().is_err());
        assert_eq!(low.try_recv().map(|(batch, _)| priorities(&batch)), Ok(vec![2, 9]));
    }
}
