//! The ends of a stage under test: outlets whose batches a test receives, and deliveries whose outcome it receives.
//!
//! Threads wait on the receivers of [`std::sync::mpsc`], tasks on those of tokio.

use std::sync::mpsc::{Receiver, channel};

use forebay_bus::{Ack, AckOutcome, Delivery, Inlet, Outlet};
use forebay_contract::{Batch, Item};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

/// An outlet, and the batches that are sent over it with the acknowledgement that each waits for.
pub fn outlet<P: Send + 'static>() -> (Outlet<P>, Receiver<(Batch<P>, Ack)>) {
    let (sender, batches) = channel();
    (Outlet::new(move |batch, ack| _ = sender.send((batch, ack))), batches)
}

/// An outlet that acknowledges every batch at once, and the batches.
pub fn acking_outlet<P: Send + 'static>() -> (Outlet<P>, Receiver<Batch<P>>) {
    let (sender, batches) = channel();
    let outlet = Outlet::new(move |batch, ack: Ack| {
        ack.ack();
        _ = sender.send(batch);
    });
    (outlet, batches)
}

/// As [`outlet`], for a test that awaits.
pub fn async_outlet<P: Send + 'static>() -> (Outlet<P>, UnboundedReceiver<(Batch<P>, Ack)>) {
    let (sender, batches) = unbounded_channel();
    (Outlet::new(move |batch, ack| _ = sender.send((batch, ack))), batches)
}

/// An inlet that acknowledges every batch at once, and the batches.
pub fn acking_inlet<P: Send + 'static>() -> (Inlet<P>, UnboundedReceiver<Batch<P>>) {
    let (sender, batches) = unbounded_channel();
    let inlet = Inlet::new(move |Delivery { payload, ack }| {
        ack.ack();
        _ = sender.send(payload);
    });
    (inlet, batches)
}

/// An acknowledgement, and how the delivery that holds it ends.
pub fn ack() -> (Ack, Receiver<AckOutcome>) {
    let (sender, outcome) = channel();
    (Ack::new(move |outcome| _ = sender.send(outcome)), outcome)
}

/// As [`ack`], for a test that awaits.
pub fn async_ack() -> (Ack, oneshot::Receiver<AckOutcome>) {
    let (sender, outcome) = oneshot::channel();
    (Ack::new(move |outcome| _ = sender.send(outcome)), outcome)
}

/// A batch of these items for `partition` that has passed no stage yet, and how its delivery ends.
pub fn delivery<P>(partition: u32, items: Vec<Item<P>>) -> (Delivery<Batch<P>>, Receiver<AckOutcome>) {
    let (ack, outcome) = ack();
    (Delivery { payload: Batch { batch_partition: partition, stages: Vec::new(), items }, ack }, outcome)
}
