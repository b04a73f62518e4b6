//! Results that are older than what the dedupe window knows, against a result topic in memory.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use actix_rt::{Arbiter, System};
use forebay_bus::kafka::{DeadLetters, OutRecord, TailError};
use forebay_bus::{Ack, AckOutcome, Delivery, NoEvents, SchemaSettings};
use forebay_contract::wire::KafkaOrigin;
use forebay_contract::{Item, Origin, Outcome, RequestId, now_us};
use forebay_publishing::kafka_results::{REQUEST_ID_HEADER, ResultTopic, parse_request_id_header};
use forebay_publishing::result_log::{BEFORE, LogReach, LogRead, LoggedResult, ResultHistory, ResultLog};
use forebay_publishing::settings::{ErrorResults, ResultFormat, ResultSettings, Settings, TimestampFormat};
use forebay_publishing::system::{Outlets, PublishingStage, stage};
use forebay_testkit::{answer, kafka, probe, results as batch, settings, wait_until};
use parking_lot::Mutex;

const LONG: Duration = Duration::from_secs(10);
const SECOND: u64 = 1_000_000;
/// Partition of the request topic and its number of partitions on the result topic.
const SOURCE: u32 = 3;
const PARTITIONS: u32 = 4;

/// A result topic; partitions are the places in `results`.
#[derive(Debug, Default)]
struct Log {
    results: Mutex<Vec<LoggedResult>>,
    /// Everything written before has been removed.
    removed_before_us: Mutex<u64>,
    reads: Mutex<Vec<(Vec<u32>, u64)>>,
    /// A read waits until it gets something here.
    gate: Mutex<Option<Receiver<()>>>,
}

impl ResultLog for Log {
    fn read(
        &self,
        read: LogRead<'_>,
        see: &mut dyn FnMut(LoggedResult),
        proceed: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<LogReach>, TailError> {
        self.reads.lock().push((read.partitions.to_vec(), read.since_us));
        if let Some(gate) = &*self.gate.lock() {
            while gate.recv_timeout(Duration::from_millis(5)).is_err() {
                if !proceed(0) {
                    return Ok(None);
                }
            }
        }
        let partitions: Vec<u32> =
            if read.partitions.is_empty() { (0..PARTITIONS).collect() } else { read.partitions.to_vec() };
        let removed = *self.removed_before_us.lock();
        let mut reach = LogReach { partitions, whole: true, ..LogReach::default() };
        for partition in reach.partitions.clone() {
            let all = self.results.lock();
            let left: Vec<_> =
                all.iter().filter(|it| it.partition == partition && it.written_us >= removed).copied().collect();
            let since = left.iter().position(|it| it.written_us >= read.since_us).unwrap_or(left.len());
            let first = since.saturating_sub(BEFORE as usize);
            reach.whole &= removed == 0 && first == 0;
            if removed > 0 && since == 0 {
                reach.removed_until_us = Some(left.first().map_or(u64::MAX, |it| it.written_us));
            }
            for (at, result) in left.iter().enumerate().skip(first) {
                see(LoggedResult { before: at < since, ..*result });
                reach.records += 1;
            }
        }
        Ok(proceed(reach.records).then_some(reach))
    }
}

struct Bench {
    stage: PublishingStage,
    log: Arc<Log>,
    records: Receiver<(OutRecord, Ack)>,
    partitions: Arc<Mutex<u32>>,
    _arbiter: Arbiter,
    _system: actix_rt::SystemRunner,
}

/// The stage with a window of 20 s, which has read the result topic at its start.
fn bench(capacity: usize) -> Bench {
    let system = System::new();
    let arbiter = Arbiter::new();
    let sources = settings(&[]).flags(&["delivery.dedupe_window=20s"]);
    let host = sources.host();
    let (record, records) = channel();
    let (replies, _) = probe::outlet();
    let log = Arc::new(Log::default());
    let partitions = Arc::new(Mutex::new(PARTITIONS));
    let count = Arc::clone(&partitions);
    let outlets = Outlets {
        result_topic: Some(ResultTopic::new(
            "inference-results",
            move |_| Some(*count.lock()),
            move |out, ack, _| drop(record.send((out, ack))),
        )),
        history: Some(ResultHistory {
            log: Arc::clone(&log) as Arc<dyn ResultLog>,
            letters: DeadLetters::logged("publishing", Arc::new(NoEvents)),
        }),
        amqp_replies: None,
        replies,
    };
    let results = ResultSettings {
        transactions: false,
        format: ResultFormat::Json,
        schema_id: 0,
        transaction_interval: Duration::from_millis(10),
        errors: ErrorResults::Send,
        also_http: false,
        window_capacity: capacity,
        idempotent_answers: 10,
        idempotent_memory: 1 << 20,
        timestamp: TimestampFormat::Auto,
    };
    let stage = stage(
        &Settings { results, schemas: SchemaSettings::default() },
        &sources.bus(),
        &host,
        &arbiter.handle(),
        outlets,
    );
    Bench { stage, log, records, partitions, _arbiter: arbiter, _system: system }
}

/// A request: its offset, how long ago it was written and accepted, and its result partition.
#[derive(Clone, Copy)]
struct Sample {
    id: RequestId,
    offset: u64,
    written_us: u64,
    accepted_us: u64,
    partition: u32,
}

fn sample(offset: u64, age: Duration) -> Sample {
    let at = now_us() - age.as_micros() as u64;
    let mut id = [0; 16];
    id[..8].copy_from_slice(&offset.to_le_bytes());
    Sample { id: RequestId(id), offset, written_us: at, accepted_us: at, partition: 1 }
}

impl Sample {
    fn item(self) -> Item<Outcome> {
        let timestamp_ms = (self.written_us / 1000) as i64;
        let origin = KafkaOrigin { partition: SOURCE, offset: self.offset, timestamp_ms, ..KafkaOrigin::default() };
        let context = kafka(self.id).accepted_us(self.accepted_us).timeout(Duration::from_secs(10_000));
        context.origin(Origin::Kafka(origin)).result_partition(self.partition).item(answer(1.0))
    }

    /// As the result topic has it, a moment after the request.
    fn logged(self) -> LoggedResult {
        let id = kafka(self.id).build().item();
        let source = Some((SOURCE, self.offset));
        let partition = self.partition % PARTITIONS;
        LoggedResult { id, partition, source, written_us: self.written_us + 5_000, before: false }
    }
}

impl Bench {
    fn deliver(&self, samples: &[Sample]) -> Receiver<AckOutcome> {
        let (ack, report) = probe::ack();
        self.stage.inlet.deliver(Delivery { payload: batch(samples.iter().map(|it| it.item()).collect()), ack });
        report
    }

    fn logged(&self, samples: &[Sample]) {
        self.log.results.lock().extend(samples.iter().map(|it| it.logged()));
    }

    /// Acknowledges what is sent until `report` comes; returns what was sent.
    fn sent_until(&self, report: &Receiver<AckOutcome>) -> BTreeSet<RequestId> {
        let (mut sent, deadline) = (BTreeSet::new(), Instant::now() + LONG);
        loop {
            while let Ok((record, ack)) = self.records.try_recv() {
                let header = &record.headers.iter().find(|(name, _)| *name == REQUEST_ID_HEADER).unwrap().1;
                assert!(sent.insert(parse_request_id_header(header).unwrap().request_id), "sent twice");
                ack.ack();
            }
            match report.recv_timeout(Duration::from_millis(5)) {
                Ok(outcome) => {
                    assert_eq!(outcome, AckOutcome::Done);
                    return sent;
                }
                Err(_) => assert!(Instant::now() < deadline, "not judged in time"),
            }
        }
    }

    fn sent(&self, samples: &[Sample]) -> usize {
        self.sent_until(&self.deliver(samples)).len()
    }

    /// Closes the gate of the log.
    fn hold_reads(&self) -> Sender<()> {
        let (open, gate) = channel();
        *self.log.gate.lock() = Some(gate);
        open
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const NONE: Duration = Duration::ZERO;

#[test]
fn what_an_earlier_owner_answered_is_silent() {
    let bench = bench(1000);
    bench.logged(&[sample(1, Duration::from_secs(3))]);
    bench.stage.rebuild.read(&[1], now_us() - 10 * SECOND);
    assert_eq!(bench.sent(&[sample(1, Duration::from_secs(3))]), 0);
    assert_eq!(bench.sent(&[sample(2, NONE)]), 1);
    assert_eq!(bench.log.reads.lock().len(), 1, "neither had to be looked up");
}

#[test]
fn a_copy_older_than_the_window_is_looked_up_and_silent() {
    let bench = bench(1000);
    let (answered, lost) = (sample(1, MINUTE * 3), sample(2, MINUTE * 3));
    let newer: Vec<_> = (3..6000).map(|offset| sample(offset, MINUTE)).collect();
    bench.logged(&[answered]);
    bench.logged(&newer);
    bench.stage.rebuild.read(&[1], now_us() - 10 * SECOND);
    assert_eq!(bench.sent_until(&bench.deliver(&[answered, lost])), BTreeSet::from([lost.id]));
    assert_eq!(bench.sent(&[answered, lost]), 0, "the window knows them now");
}

#[test]
fn a_record_that_ingestion_reads_again_is_looked_up_although_it_was_accepted_again() {
    let bench = bench(100_000);
    let earlier: Vec<_> = (0..9000).map(|offset| sample(offset, MINUTE * 3)).collect();
    bench.logged(&earlier);
    bench.stage.rebuild.read(&[1], now_us() - 10 * SECOND);
    let again: Vec<_> = (8_000..9_000).map(|offset| Sample { accepted_us: now_us(), ..earlier[offset] }).collect();
    assert_eq!(bench.sent(&again), 0);
}

#[test]
fn a_backlog_is_not_looked_up() {
    let bench = bench(10_000);
    let earlier: Vec<_> = (0..9000).map(|offset| sample(offset, MINUTE * 3)).collect();
    bench.logged(&earlier);
    bench.stage.rebuild.read(&[1], now_us() - 10 * SECOND);
    let backlog: Vec<_> =
        (9_000..9_200).map(|offset| Sample { accepted_us: now_us(), ..sample(offset, MINUTE * 2) }).collect();
    assert_eq!(bench.sent(&backlog), 200);
    assert_eq!(bench.log.reads.lock().len(), 1);
}

#[test]
fn a_client_whose_clock_is_ahead_gets_no_second_answer() {
    let bench = bench(100_000);
    let ahead = |offset| {
        let sample = sample(offset, MINUTE);
        Sample { written_us: sample.written_us + 15 * SECOND, ..sample }
    };
    let answered = ahead(1);
    bench.logged(&[Sample { written_us: answered.accepted_us, ..answered }]);
    bench.logged(&(2..5000).map(|offset| sample(offset, MINUTE - Duration::from_secs(4))).collect::<Vec<_>>());
    bench.stage.rebuild.read(&[1], now_us() - 10 * SECOND);
    assert_eq!(bench.sent(&[Sample { accepted_us: now_us(), ..answered }]), 0);
}

#[test]
fn fresh_results_pass_while_old_ones_are_looked_up() {
    let bench = bench(100_000);
    bench.logged(&[sample(1, MINUTE)]);
    bench.logged(&(2..4000).map(|offset| sample(offset, MINUTE / 2)).collect::<Vec<_>>());
    bench.stage.rebuild.read(&[0, 1, 2, 3], now_us() - 10 * SECOND);
    let open = bench.hold_reads();
    let old = bench.deliver(&[sample(1, MINUTE)]);
    for partition in 0..PARTITIONS {
        let fresh = Sample { partition, ..sample(5000 + u64::from(partition), NONE) };
        assert_eq!(bench.sent(&[fresh]), 1, "partition {partition}");
    }
    assert!(old.try_recv().is_err(), "judged without a look");
    open.send(()).unwrap();
    assert_eq!(bench.sent_until(&old).len(), 0);
}

#[test]
fn what_cannot_be_known_any_more_is_never_sent() {
    let bench = bench(1000);
    let (left, removed) = (sample(2, MINUTE * 5), sample(1, MINUTE * 10));
    bench.logged(&[removed, left]);
    *bench.log.removed_before_us.lock() = now_us() - 6 * 60 * SECOND;
    bench.stage.rebuild.read(&[1], now_us() - 10 * SECOND);
    assert_eq!(bench.sent(&[removed]), 0);
    let never = Sample { id: RequestId([9; 16]), ..sample(3, MINUTE * 4) };
    assert_eq!(bench.sent_until(&bench.deliver(&[left, never])), BTreeSet::from([never.id]));
    // its record is older than every result that is left, but it was read a moment ago
    let backlog = Sample { accepted_us: now_us(), ..sample(4, MINUTE * 20) };
    assert_eq!(bench.sent(&[backlog]), 1);
}

#[test]
fn another_number_of_partitions_makes_all_of_them_be_read() {
    let bench = bench(1000);
    let answered = Sample { partition: 6, ..sample(1, MINUTE) };
    bench.stage.rebuild.read(&[0, 1, 2, 3], now_us() - 10 * SECOND);
    bench.logged(&[answered]);
    assert_eq!(bench.sent(&[sample(5, NONE)]), 1);
    *bench.partitions.lock() = 3;
    assert_eq!(bench.sent(&[answered]), 0, "on partition 2 of 4, and now it would be on 0 of 3");
    assert_eq!(bench.log.reads.lock().last().unwrap().0, Vec::<u32>::new());
}

#[test]
fn results_that_wait_are_dropped_when_partitions_leave() {
    let bench = bench(1000);
    let _open = bench.hold_reads();
    let report = bench.deliver(&[sample(1, MINUTE)]);
    wait_until(LONG, "a read", || !bench.log.reads.lock().is_empty());
    bench.stage.parked.release();
    assert_eq!(report.recv_timeout(LONG), Ok(AckOutcome::Failed));
    assert!(bench.records.try_recv().is_err());
}

#[test]
fn a_look_far_back_leaves_room_in_the_window() {
    let bench = bench(2_000);
    let earlier: Vec<_> = (0..20_000).map(|offset| sample(offset, MINUTE * 3)).collect();
    bench.logged(&earlier);
    bench.stage.rebuild.read(&[1], now_us() - 10 * SECOND);
    assert_eq!(bench.sent(&earlier[..256]), 0);
    assert_eq!(bench.sent(&(30_000..30_500).map(|offset| sample(offset, NONE)).collect::<Vec<_>>()), 500);
}
