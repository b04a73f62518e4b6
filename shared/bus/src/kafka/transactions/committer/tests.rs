//! Transactions against a broker in memory that fails at chosen steps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, channel};

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::ack::{OnEnd, SourcePartition};
use crate::kafka::offset_tracker::InFlightRecord;
use crate::kafka::transactions::TransactionAcks;
use crate::{AckOutcome, NoEvents};

/// Where the next transaction fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Open,
    Begin,
    WriteAborts,
    WriteBreaks,
    Membership,
    OffsetsAbort,
    OffsetsBreak,
    CommitAborts,
    /// The commit is not confirmed, and has taken effect or not.
    CommitUnknown(bool),
    AbortBreaks,
    Question,
}

/// The partitions leave at this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaveAt {
    Write,
    AddOffsets,
}

#[derive(Default)]
struct Broker {
    /// What a reader of committed records sees.
    visible: Vec<Vec<u8>>,
    /// What is written in the open transaction, and the offsets in it under their name.
    open: Vec<Vec<u8>>,
    added: Vec<(ConsumedOffset, String)>,
    /// The offsets of the group.
    group: BTreeMap<i32, (i64, String)>,
    faults: VecDeque<Fault>,
    leave: Option<LeaveAt>,
    /// Payloads longer than this are refused, and all that are written together with them.
    largest: usize,
    opened: usize,
    written: Vec<usize>,
}

#[derive(Clone)]
struct FakeClient {
    broker: Arc<Mutex<Broker>>,
    offsets: Arc<OffsetTracker>,
}

impl FakeClient {
    fn fails(&self, faults: &[Fault]) -> Option<Fault> {
        let mut broker = self.broker.lock();
        let next = broker.faults.front().copied().filter(|fault| faults.contains(fault))?;
        broker.faults.pop_front();
        Some(next)
    }

    fn leave(&self, at: LeaveAt) {
        if self.broker.lock().leave == Some(at) {
            self.offsets.revoke(&self.offsets.assigned());
        }
    }

    fn take_effect(&self) {
        let mut broker = self.broker.lock();
        let (mut open, added) = (std::mem::take(&mut broker.open), std::mem::take(&mut broker.added));
        broker.visible.append(&mut open);
        for (offset, transaction) in added {
            broker.group.insert(offset.source.partition, (offset.offset, transaction));
        }
    }

    fn roll_back(&self) {
        let mut broker = self.broker.lock();
        broker.open.clear();
        broker.added.clear();
    }
}

fn abort() -> StepError {
    StepError::Abort("aborts".into())
}

fn broken() -> StepError {
    StepError::Broken("breaks".into())
}

impl TransactionClient for FakeClient {
    fn open(&mut self) -> Result<(), String> {
        if self.fails(&[Fault::Open]).is_some() {
            return Err("closed".into());
        }
        self.roll_back();
        self.broker.lock().opened += 1;
        Ok(())
    }

    fn begin(&mut self) -> Result<(), StepError> {
        assert!(self.broker.lock().open.is_empty(), "the last transaction is still open");
        self.fails(&[Fault::Begin]).map_or(Ok(()), |_| Err(broken()))
    }

    fn write(&mut self, records: &[&OutRecord]) -> Result<Vec<(i32, i64)>, WriteError> {
        self.leave(LeaveAt::Write);
        let mut broker = self.broker.lock();
        broker.written.push(records.len());
        if records.iter().any(|record| record.payload.len() > broker.largest) {
            let all = (0..records.len()).map(|number| (number, Reason::TooLarge, "too large".into())).collect();
            return Err(WriteError::Refused(all));
        }
        broker.open.extend(records.iter().map(|record| record.payload.clone()));
        drop(broker);
        match self.fails(&[Fault::WriteAborts, Fault::WriteBreaks]) {
            Some(Fault::WriteAborts) => Err(WriteError::Step(abort())),
            Some(_) => Err(WriteError::Step(broken())),
            None => Ok((0..records.len() as i64).map(|offset| (0, offset)).collect()),
        }
    }

    fn take_membership(&mut self) -> Result<(), StepError> {
        self.fails(&[Fault::Membership]).map_or(Ok(()), |_| Err(abort()))
    }

    fn add_offsets(&mut self, offsets: &[ConsumedOffset], transaction: &str) -> Result<(), StepError> {
        self.leave(LeaveAt::AddOffsets);
        match self.fails(&[Fault::OffsetsAbort, Fault::OffsetsBreak]) {
            Some(Fault::OffsetsAbort) => return Err(abort()),
            Some(_) => return Err(broken()),
            // a new generation: the broker refuses the old one
            None if offsets.iter().any(|offset| !self.offsets.owns(offset.source)) => return Err(abort()),
            None => {}
        }
        self.broker.lock().added = offsets.iter().map(|offset| (*offset, transaction.to_owned())).collect();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        match self.fails(&[Fault::CommitAborts, Fault::CommitUnknown(true), Fault::CommitUnknown(false)]) {
            None => {
                self.take_effect();
                Ok(())
            }
            Some(Fault::CommitUnknown(true)) => {
                self.take_effect();
                Err(CommitError::Unknown("timed out".into()))
            }
            Some(Fault::CommitUnknown(false)) => Err(CommitError::Unknown("timed out".into())),
            Some(_) => Err(CommitError::Abort("refused".into())),
        }
    }

    fn abort(&mut self) -> Result<(), StepError> {
        if self.fails(&[Fault::AbortBreaks]).is_some() {
            return Err(broken());
        }
        self.roll_back();
        Ok(())
    }

    fn has_committed(&mut self, offsets: &[ConsumedOffset], transaction: &str) -> Result<bool, String> {
        if self.fails(&[Fault::Question]).is_some() {
            return Err("no answer".into());
        }
        let broker = self.broker.lock();
        let named =
            |it: &ConsumedOffset| broker.group.get(&it.source.partition).is_some_and(|(_, by)| by == transaction);
        Ok(offsets.iter().any(named))
    }

    fn consumed(&self) -> Option<Arc<OffsetTracker>> {
        Some(Arc::clone(&self.offsets))
    }
}

/// The acknowledgement of a record of the source.
struct Taken(InFlightRecord, Arc<OffsetTracker>);

impl OnEnd for Taken {
    fn end(self: Box<Self>, outcome: AckOutcome) {
        self.1.end(self.0, outcome);
    }

    fn source(&self) -> Option<SourcePartition> {
        Some(self.0.source())
    }
}

struct Bench {
    committer: Committer<FakeClient>,
    client: FakeClient,
    next: i64,
}

/// A committer whose source is assigned partition 0 and whose broker fails like this.
fn bench(faults: &[Fault]) -> Bench {
    let offsets = Arc::new(OffsetTracker::transactional());
    offsets.assign(&[0], 1);
    let broker = Broker { faults: faults.iter().copied().collect(), largest: 100, ..Broker::default() };
    let client = FakeClient { broker: Arc::new(Mutex::new(broker)), offsets };
    let shorten: Shorten = Box::new(|payload, _| payload.starts_with(b"s").then(|| b"short".to_vec()));
    let letters = DeadLetters::logged("test", Arc::new(NoEvents));
    let committer = Committer::new(client.clone(), shorten, letters, [Counter::default(), Counter::default()]);
    Bench { committer, client, next: 0 }
}

impl Bench {
    /// The answer to the next record of the source; what became of it.
    fn add(&mut self, payload: &[u8]) -> Receiver<AckOutcome> {
        let record = self.client.offsets.begin(0, self.next, self.next).unwrap();
        self.next += 1;
        let (sender, outcome) = channel();
        let committed = Ack::new(move |outcome| _ = sender.send(outcome));
        let written = Ack::of(Taken(record, Arc::clone(&self.client.offsets)));
        let (topic, payload) = ("results".into(), payload.to_vec());
        let record = OutRecord { topic, partition: Some(0), key: None, payload, headers: Vec::new() };
        let entry = Entry::new(record, TransactionAcks { written, committed }, Vec::new(), Counter::default());
        self.committer.add(&mut vec![entry]);
        outcome
    }

    fn visible(&self) -> Vec<String> {
        let broker = self.client.broker.lock();
        broker.visible.iter().map(|it| String::from_utf8(it.clone()).unwrap()).collect()
    }

    fn offset(&self) -> Option<i64> {
        self.client.broker.lock().group.get(&0).map(|(offset, _)| *offset)
    }

    /// Turns until there is nothing left to do.
    fn finish(&mut self) {
        for _ in 0..100 {
            if self.committer.turn() == Turn::Idle {
                return;
            }
        }
        panic!("it does not come to an end");
    }
}

#[test]
fn answers_and_their_offsets_are_committed_together() {
    let mut bench = bench(&[]);
    assert_eq!(bench.committer.turn(), Turn::Idle);
    let (one, two) = (bench.add(b"one"), bench.add(b"two"));
    assert_eq!(bench.committer.turn(), Turn::Committed);
    assert_eq!((bench.visible(), bench.offset()), (vec!["one".into(), "two".into()], Some(2)));
    assert_eq!((one.try_recv(), two.try_recv()), (Ok(AckOutcome::Done), Ok(AckOutcome::Done)));
    assert_eq!(bench.committer.turn(), Turn::Idle);
}

#[test]
fn an_offset_without_an_answer_is_committed_as_well() {
    let mut bench = bench(&[]);
    let duplicate = bench.client.offsets.begin(0, 0, 0).unwrap();
    bench.client.offsets.end(duplicate, AckOutcome::Done);
    assert_eq!(bench.committer.turn(), Turn::Committed);
    assert_eq!((bench.visible().len(), bench.offset()), (0, Some(1)));
}

#[test]
fn after_a_failure_the_same_records_are_in_the_next_transaction() {
    use Fault::*;
    for faults in [
        vec![Open],
        vec![Begin],
        vec![WriteAborts],
        vec![WriteBreaks],
        vec![Membership],
        vec![OffsetsAbort],
        vec![OffsetsAbort, AbortBreaks, Open],
        vec![OffsetsBreak],
        vec![CommitAborts],
        vec![CommitUnknown(true)],
        vec![CommitUnknown(false)],
        vec![CommitUnknown(true), Open, Question],
        vec![CommitUnknown(false), Question],
    ] {
        let mut bench = bench(&faults);
        let one = bench.add(b"one");
        assert!(matches!(bench.committer.turn(), Turn::Failed(_)), "{faults:?}");
        assert!(one.try_recv().is_err(), "{faults:?}: it is neither committed nor given up");
        let two = bench.add(b"two");
        bench.finish();
        assert_eq!(bench.visible(), ["one", "two"], "{faults:?}");
        assert_eq!(bench.offset(), Some(2), "{faults:?}");
        assert_eq!((one.try_recv(), two.try_recv()), (Ok(AckOutcome::Done), Ok(AckOutcome::Done)), "{faults:?}");
        assert!(bench.client.broker.lock().faults.is_empty(), "{faults:?}: not every fault was met");
    }
}

#[test]
fn a_producer_whose_step_timed_out_is_replaced_and_another_is_not() {
    for (fault, opened) in [(Fault::OffsetsAbort, 1), (Fault::OffsetsBreak, 2), (Fault::CommitUnknown(false), 2)] {
        let mut bench = bench(&[fault]);
        bench.add(b"one");
        bench.finish();
        assert_eq!(bench.client.broker.lock().opened, opened, "{fault:?}");
    }
}

#[test]
fn a_record_of_a_partition_that_was_lost_is_never_committed() {
    for leave in [None, Some(LeaveAt::Write), Some(LeaveAt::AddOffsets)] {
        let mut bench = bench(&[]);
        let one = bench.add(b"one");
        bench.client.broker.lock().leave = leave;
        if leave.is_none() {
            bench.client.offsets.revoke(&[0]);
        }
        bench.finish();
        assert_eq!((bench.visible().len(), bench.offset()), (0, None), "{leave:?}");
        assert_eq!(one.try_recv(), Ok(AckOutcome::Failed), "{leave:?}");
    }
}

#[test]
fn a_record_of_an_earlier_assignment_of_the_same_partition_is_not_committed() {
    let mut bench = bench(&[Fault::OffsetsAbort]);
    let one = bench.add(b"one");
    assert!(matches!(bench.committer.turn(), Turn::Failed(_)));
    bench.client.offsets.revoke(&[0]);
    bench.client.offsets.assign(&[0], 2);
    let again = bench.add(b"one again");
    bench.finish();
    assert_eq!((bench.visible(), one.try_recv()), (vec!["one again".to_owned()], Ok(AckOutcome::Failed)));
    assert_eq!(again.try_recv(), Ok(AckOutcome::Done));
}

#[test]
fn a_record_that_is_too_large_is_shortened_or_kept_and_its_neighbours_are_committed() {
    let mut bench = bench(&[]);
    bench.client.broker.lock().largest = 10;
    let outcomes =
        [&b"one"[..], b"s: far too large", b"two", b"x: far too large", b"three"].map(|payload| bench.add(payload));
    for _ in 0..20 {
        bench.committer.turn();
    }
    assert_eq!(bench.visible(), ["one", "short", "two", "three"]);
    assert_eq!(bench.offset(), Some(5));
    assert!(outcomes.iter().all(|outcome| outcome.try_recv() == Ok(AckOutcome::Done)));
    bench.add(b"four");
    bench.add(b"five");
    bench.finish();
    assert_eq!(bench.client.broker.lock().written.last(), Some(&2), "together again");
}

proptest! {
    /// Whatever fails and in whatever order, each record is seen once and each offset is committed.
    #[test]
    fn every_record_is_committed_once(faults in proptest::collection::vec(0usize..12, 0..30), together in 1usize..4) {
        use Fault::*;
        let all = [Open, Begin, WriteAborts, WriteBreaks, Membership, OffsetsAbort, OffsetsBreak, CommitAborts,
            CommitUnknown(true), CommitUnknown(false), AbortBreaks, Question];
        let faults: Vec<Fault> = faults.into_iter().filter_map(|number| all.get(number).copied()).collect();
        let mut bench = bench(&faults);
        let mut sent = Vec::new();
        for round in 0..6 {
            for number in 0..together {
                let payload = format!("{round}-{number}");
                bench.add(payload.as_bytes());
                sent.push(payload);
            }
            bench.committer.turn();
        }
        bench.client.broker.lock().faults.retain(|fault| *fault != AbortBreaks);
        bench.finish();
        prop_assert_eq!(bench.visible(), sent.clone());
        prop_assert_eq!(bench.offset(), Some(sent.len() as i64));
    }
}
