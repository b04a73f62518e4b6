//! The acknowledgement of a record, carried by the work that the record caused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Work and its acknowledgement.
#[derive(Debug)]
pub struct Delivery<T> {
    /// The work.
    pub payload: T,
    /// Answered when the work is safe elsewhere.
    pub ack: Ack,
}

impl<T> Delivery<T> {
    /// Other work under the same acknowledgement.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Delivery<U> {
        Delivery { payload: f(self.payload), ack: self.ack }
    }
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// Every part is safe.
    Done,
    /// At least one part is not; the source delivers the work again.
    Failed,
}

/// A record of a request topic, as [`KafkaOrigin`](forebay_contract::KafkaOrigin) names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// The number of its partition, which is that of its lane as well.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

/// A partition that a source was assigned, and the number of that assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourcePartition {
    pub(crate) partition: i32,
    pub(crate) assignment: u64,
}

/// What happens when an acknowledgement is answered.
pub(crate) trait OnEnd: Send {
    fn end(self: Box<Self>, outcome: AckOutcome);

    /// Where the work was taken from, if it came from a source of one partition.
    fn source(&self) -> Option<SourcePartition> {
        None
    }

    /// Whether the work of `record`, or all of it, has left this process; `None` if it is not part of it. See
    /// [`Ack::has_left`].
    fn has_left(&self, _record: Option<RequestRecord>) -> Option<bool> {
        None
    }
}

impl<F: FnOnce(AckOutcome) + Send> OnEnd for F {
    fn end(self: Box<Self>, outcome: AckOutcome) {
        self(outcome);
    }
}

struct State {
    open: AtomicUsize,
    failed: AtomicBool,
    on_end: Mutex<Option<Box<dyn OnEnd>>>,
}

impl State {
    fn has_left(&self, record: Option<RequestRecord>) -> Option<bool> {
        self.on_end.lock().as_ref()?.has_left(record)
    }

    fn close(&self, done: bool) {
        if !done {
            self.failed.store(true, Ordering::Release);
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let outcome = if self.failed.load(Ordering::Acquire) { AckOutcome::Failed } else { AckOutcome::Done };
            if let Some(on_end) = self.on_end.lock().take() {
                on_end.end(outcome);
            }
        }
    }
}

/// A share in an acknowledgement. The delivery is done when every share was acked, and failed when one was nacked or
/// dropped unanswered: silence is never success.
#[must_use = "an ack that is dropped counts as a nack"]
pub struct Ack {
    states: Shares,
}

/// One state inline: almost every ack has exactly one, and a vector would be an allocation per record.
enum Shares {
    None,
    One(Arc<State>),
    Many(Vec<Arc<State>>),
}

impl Ack {
    /// `on_end` runs once, on the thread that answers the last share.
    pub fn new(on_end: impl FnOnce(AckOutcome) + Send + 'static) -> Self {
        Self::of(on_end)
    }

    pub(crate) fn of(on_end: impl OnEnd + 'static) -> Self {
        let state = State {
            open: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
            on_end: Mutex::new(Some(Box::new(on_end))),
        };
        Self { states: Shares::One(Arc::new(state)) }
    }

    /// An ack without effect, for advisory messages.
    pub fn none() -> Self {
        Self { states: Shares::None }
    }

    /// Where the work was taken from; `None` once that is answered.
    pub(crate) fn source(&self) -> Option<SourcePartition> {
        let Shares::One(state) = &self.states else { return None };
        state.on_end.lock().as_ref()?.source()
    }

    /// Whether the partition that the work was taken from has left this process, so that another one does the work and
    /// answers it. With `record`, this is about that one of the records that share the acknowledgement; one that was read
    /// again since, by this process, has not left.
    pub fn has_left(&self, record: Option<RequestRecord>) -> bool {
        match &self.states {
            Shares::None => false,
            Shares::One(state) => state.has_left(record) == Some(true),
            Shares::Many(states) => {
                let known = states.iter().filter_map(|state| state.has_left(record));
                known.reduce(|one, other| one && other) == Some(true)
            }
        }
    }

    /// Ends this share of work that has left, see [`Ack::has_left`]: it is not done where it was taken from, and of what
    /// others share the acknowledgement nothing has to be delivered again.
    pub fn leave(mut self, record: Option<RequestRecord>) {
        let close = |state: &Arc<State>| state.close(state.has_left(record) != Some(true));
        match std::mem::replace(&mut self.states, Shares::None) {
            Shares::None => {}
            Shares::One(state) => close(&state),
            Shares::Many(states) => states.iter().for_each(close),
        }
    }

    /// One more share.
    pub fn share(&self) -> Self {
        let open = |state: &Arc<State>| {
            state.open.fetch_add(1, Ordering::AcqRel);
            Arc::clone(state)
        };
        let states = match &self.states {
            Shares::None => Shares::None,
            Shares::One(state) => Shares::One(open(state)),
            Shares::Many(states) => Shares::Many(states.iter().map(open).collect()),
        };
        Self { states }
    }

    /// One ack that answers all of `acks`: work of several deliveries leaves in one batch.
    pub fn join(acks: Vec<Ack>) -> Self {
        let mut states = Vec::with_capacity(acks.len());
        for mut ack in acks {
            match std::mem::replace(&mut ack.states, Shares::None) {
                Shares::None => {}
                Shares::One(state) => states.push(state),
                Shares::Many(more) => states.extend(more),
            }
        }
        let states = match states.len() {
            1 => states.pop().map_or(Shares::None, Shares::One),
            _ => Shares::Many(states),
        };
        Self { states }
    }

    /// The work of this share is safe.
    pub fn ack(mut self) {
        self.close(true);
    }

    /// The work of this share is not safe: it must be delivered again.
    pub fn nack(mut self) {
        self.close(false);
    }

    fn close(&mut self, done: bool) {
        match std::mem::replace(&mut self.states, Shares::None) {
            Shares::None => {}
            Shares::One(state) => state.close(done),
            Shares::Many(states) => states.iter().for_each(|state| state.close(done)),
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        self.close(false);
    }
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ack")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn ack() -> (Ack, Receiver<AckOutcome>) {
        let (tx, rx) = channel();
        (Ack::new(move |outcome| tx.send(outcome).unwrap()), rx)
    }

    #[test]
    fn done_only_when_every_share_is_acked() {
        let (ack, rx) = ack();
        let second = ack.share();
        ack.ack();
        assert!(rx.try_recv().is_err());
        second.ack();
        assert_eq!(rx.try_recv(), Ok(AckOutcome::Done));
    }

    #[test]
    fn one_nack_fails_all_but_only_at_the_end() {
        let (ack, rx) = ack();
        let second = ack.share();
        ack.nack();
        assert!(rx.try_recv().is_err());
        second.ack();
        assert_eq!(rx.try_recv(), Ok(AckOutcome::Failed));
    }

    #[test]
    fn dropped_is_nacked() {
        let (ack, rx) = ack();
        drop(ack);
        assert_eq!(rx.try_recv(), Ok(AckOutcome::Failed));
    }

    #[test]
    fn a_joined_ack_answers_all() {
        let (a, ra) = ack();
        let (b, rb) = ack();
        let rest = b.share();
        Ack::join(vec![a, b]).ack();
        assert_eq!(ra.try_recv(), Ok(AckOutcome::Done));
        assert!(rb.try_recv().is_err());
        rest.ack();
        assert_eq!(rb.try_recv(), Ok(AckOutcome::Done));
    }
}
