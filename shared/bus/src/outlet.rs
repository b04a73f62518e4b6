//! The two ends of an edge. Behind an outlet is the next stage's inlet or a Kafka topic.

use std::fmt;
use std::sync::Arc;

use forebay_contract::Batch;

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
