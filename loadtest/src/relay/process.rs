//! `relay`: one process of the chain.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, ClientContext};

use super::{commit_tracker::CommitTracker, pack};
use crate::error::LoadtestError;
use crate::kafka::{ADMIN_TIMEOUT, BrokerArgs};

/// Offsets are committed this often, as the services do.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

/// What the process does with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RelayRole {
    /// Put the requests that have arrived into one record
    Pack,
    /// Forward records unchanged, to the same partition
    Fwd,
    /// Take packs apart and answer each request
    Unpack,
    /// Answer records that are not packed
    Answer,
}

/// One process of the bare relay. Prints READY once it has partitions. At least once: an offset is committed only after
/// everything made of it, and of all that came before it, is acknowledged by the broker.
#[derive(Debug, Clone, Args)]
pub struct RelayArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// What the process does with records
    #[arg(long)]
    pub(crate) role: RelayRole,
    /// Topic to read
    #[arg(long = "in", value_name = "TOPIC")]
    pub(crate) input: String,
    /// Topic to write
    #[arg(long = "out", value_name = "TOPIC")]
    pub(crate) output: String,
    /// Consumer group
    #[arg(long)]
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) pacing: PacingArgs,
    /// End when standard input ends, that is, when the parent process is gone
    #[arg(long)]
    pub(crate) until_stdin_ends: bool,
}

/// How much a relay packs and waits.
#[derive(Debug, Clone, Args)]
pub(crate) struct PacingArgs {
    /// Maximum number of requests in one pack
    #[arg(long, default_value_t = 32)]
    pub(crate) pack: usize,
    /// Milliseconds in which requests gather in front of the packing stage; 0 packs what has arrived
    #[arg(long, default_value_t = 0)]
    pub(crate) pack_wait_ms: u32,
    /// linger.ms of the producers
    #[arg(long, default_value = "0")]
    pub(crate) linger_ms: String,
}

struct DeliveryReports(Arc<Mutex<CommitTracker>>);

impl ClientContext for DeliveryReports {}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, opaque: usize) {
        let mut tracker = self.0.lock();
        match report {
            Ok(_) => tracker.acknowledged(opaque.saturating_sub(1)),
            Err((error, _)) => tracker.fail(error.to_string()),
        }
    }
}

struct Relay<'a> {
    args: &'a RelayArgs,
    consumer: BaseConsumer,
    producer: ThreadedProducer<DeliveryReports>,
    tracker: Arc<Mutex<CommitTracker>>,
    out_partitions: i32,
    /// The pack being gathered, the highest offset of each input partition in it, and how many requests it holds.
    open_pack: (Vec<u8>, Vec<(i32, i64)>, usize),
    next_partition: i32,
    committed: Vec<i64>,
    body: Vec<u8>,
}

impl RelayArgs {
    /// Relays until the process is ended.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        let stop = Arc::new(AtomicBool::new(false));
        if self.until_stdin_ends {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let _end = std::io::stdin().read_to_end(&mut Vec::new());
                stop.store(true, Ordering::Release);
            });
        }
        self.relay(&stop, || println!("READY"))?;
        Ok(true)
    }

    /// Relays until `stop` is set; calls `ready` once partitions are assigned.
    pub(crate) fn relay(&self, stop: &AtomicBool, ready: impl FnOnce()) -> Result<(), LoadtestError> {
        let mut relay = Relay::new(self)?;
        let (mut ready, mut last) = (Some(ready), Instant::now());
        while !stop.load(Ordering::Acquire) {
            relay.step()?;
            if last.elapsed() >= COMMIT_INTERVAL {
                last = Instant::now();
                if relay.consumer.assignment().is_ok_and(|list| list.count() > 0)
                    && let Some(ready) = ready.take()
                {
                    ready();
                }
                relay.commit(CommitMode::Async)?;
            }
        }
        relay.producer.flush(ADMIN_TIMEOUT).map_err(LoadtestError::kafka("flush"))?;
        relay.commit(CommitMode::Sync)
    }

    fn consumer_config(&self) -> Result<ClientConfig, LoadtestError> {
        let gathers = self.role == RelayRole::Pack && self.pacing.pack_wait_ms > 0;
        let (min, wait) = if gathers { (100_000, self.pacing.pack_wait_ms) } else { (1, 20) };
        let mut config = self.broker.config()?;
        config.set("group.id", &self.group).set("auto.offset.reset", "earliest").set("session.timeout.ms", "10000");
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false").set("check.crcs", "false");
        config.set("fetch.min.bytes", min.to_string()).set("fetch.wait.max.ms", wait.to_string());
        config
            .set("fetch.queue.backoff.ms", "2")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "32768");
        Ok(config)
    }
}

impl<'a> Relay<'a> {
    fn new(args: &'a RelayArgs) -> Result<Self, LoadtestError> {
        let consumer: BaseConsumer =
            args.consumer_config()?.create().map_err(LoadtestError::kafka("create consumer"))?;
        let tracker = Arc::new(Mutex::new(CommitTracker::default()));
        let mut config = args.broker.config()?;
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", &args.pacing.linger_ms);
        config.set("queue.buffering.max.messages", "100000");
        let producer = config
            .create_with_context(DeliveryReports(Arc::clone(&tracker)))
            .map_err(LoadtestError::kafka("create producer"))?;
        let out_partitions = crate::kafka::partitions(&consumer, &args.output)?;
        consumer.subscribe(&[&args.input]).map_err(LoadtestError::kafka(format!("subscribe to {}", args.input)))?;
        let open_pack = (Vec::new(), Vec::new(), 0);
        let (next_partition, committed, body) = (0, Vec::new(), Vec::new());
        Ok(Self { args, consumer, producer, tracker, out_partitions, open_pack, next_partition, committed, body })
    }

    fn step(&mut self) -> Result<(), LoadtestError> {
        let wait = if self.open_pack.2 > 0 { Duration::ZERO } else { Duration::from_millis(100) };
        let Self { consumer, producer, tracker, args, .. } = self;
        let polled = consumer.poll(wait);
        let idle = polled.is_none();
        match polled {
            Some(Ok(message)) if args.role == RelayRole::Pack => gather(&mut self.open_pack, &message),
            Some(Ok(message)) => {
                let sender =
                    Sender { producer, topic: &args.output, partition: message.partition() % self.out_partitions };
                forward(args.role, &sender, tracker, &message, &mut self.body)?;
            }
            Some(Err(error)) => eprintln!("relay {:?}: {error}", args.role),
            None => {}
        }
        if self.open_pack.2 > 0 && (idle || self.open_pack.2 >= self.args.pacing.pack) {
            self.send_pack()?;
        }
        Ok(())
    }

    fn send_pack(&mut self) -> Result<(), LoadtestError> {
        let (pack, offsets, count) = &mut self.open_pack;
        let unit = self.tracker.lock().open(1, std::mem::take(offsets));
        let sender = Sender { producer: &self.producer, topic: &self.args.output, partition: self.next_partition };
        sender.send(pack, None, unit)?;
        self.next_partition = (self.next_partition + 1) % self.out_partitions;
        pack.clear();
        *count = 0;
        Ok(())
    }

    fn commit(&mut self, mode: CommitMode) -> Result<(), LoadtestError> {
        let next = {
            let tracker = self.tracker.lock();
            if let Some(why) = tracker.failure() {
                return Err(LoadtestError::Input(format!(
                    "the relay could not deliver to {}: {why}",
                    self.args.output
                )));
            }
            tracker.committable().to_vec()
        };
        let mut list = TopicPartitionList::new();
        for (partition, offset) in next.iter().enumerate() {
            if *offset >= 0 && self.committed.get(partition) != Some(offset) {
                let partition = i32::try_from(partition).unwrap_or(i32::MAX);
                let added = list.add_partition_offset(&self.args.input, partition, Offset::Offset(*offset));
                added.map_err(LoadtestError::kafka("offsets"))?;
            }
        }
        if list.count() > 0 {
            self.consumer.commit(&list, mode).map_err(LoadtestError::kafka("commit"))?;
            self.committed = next;
        }
        Ok(())
    }
}

fn gather((pack, offsets, count): &mut (Vec<u8>, Vec<(i32, i64)>, usize), message: &BorrowedMessage<'_>) {
    pack::push(pack, message.payload().unwrap_or_default());
    *count += 1;
    match offsets.iter_mut().find(|(partition, _)| *partition == message.partition()) {
        Some((_, highest)) => *highest = message.offset(),
        None => offsets.push((message.partition(), message.offset())),
    }
}

fn forward(
    role: RelayRole,
    sender: &Sender<'_>,
    tracker: &Mutex<CommitTracker>,
    message: &BorrowedMessage<'_>,
    body: &mut Vec<u8>,
) -> Result<(), LoadtestError> {
    let (payload, offset) = (message.payload().unwrap_or_default(), vec![(message.partition(), message.offset())]);
    if role == RelayRole::Unpack {
        let count = u32::try_from(pack::requests(payload).count()).unwrap_or(u32::MAX);
        let unit = tracker.lock().open(count, offset);
        return pack::requests(payload).try_for_each(|request| {
            pack::answer(request, body);
            sender.send(body, None, unit)
        });
    }
    let unit = tracker.lock().open(1, offset);
    if role == RelayRole::Answer {
        pack::answer(payload, body);
        return sender.send(body, message.key(), unit);
    }
    sender.send(payload, message.key(), unit)
}

struct Sender<'a> {
    producer: &'a ThreadedProducer<DeliveryReports>,
    topic: &'a str,
    partition: i32,
}

impl Sender<'_> {
    fn send(&self, payload: &[u8], key: Option<&[u8]>, unit: usize) -> Result<(), LoadtestError> {
        loop {
            // An opaque of 0 is a null pointer, which the client takes for "none": hence + 1.
            let mut record =
                BaseRecord::<[u8], [u8], usize>::with_opaque_to(self.topic, unit + 1).partition(self.partition);
            if let Some(key) = key {
                record = record.key(key);
            }
            match self.producer.send(record.payload(payload)) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err((error, _)) => return Err(LoadtestError::kafka(format!("produce to {}", self.topic))(error)),
            }
        }
    }
}
