//! The memory of edges, and of the process that they are in.

use forebay_contract::Stage;
use forebay_runtime::{DeliverySettings, DividesMemory, Host, Layers, MemoryBudget, MemoryPart, Problems, UsesMemory};

use super::BusSettings;
use crate::Stages;
use crate::kafka::ClientQueues;

const MIB: u64 = 1 << 20;
/// The program itself with its threads and connections to other services.
const PROCESS: u64 = 48 * MIB;
/// What each further stage in the process adds to that.
const FURTHER_STAGE: u64 = 4 * MIB;
/// The least queue of a client: a few records of the largest size.
const LEAST_QUEUE: u64 = 4 * MIB;

/// One part in so many of the memory for work in flight is for what is read without a group.
const READ_ALONE: u64 = 4;

const IN_FLIGHT: &str = "kafka_in_flight";
const CONSUMER_QUEUES: &str = "kafka_consumers";
const PRODUCER_QUEUES: &str = "kafka_producers";
const AMQP_MESSAGES: &str = "rabbitmq_messages";
/// Requests from RabbitMQ where there is no Kafka that would count them.
const AMQP_IN_FLIGHT: &str = "rabbitmq_in_flight";

impl BusSettings {
    /// As [`BusSettings::with`], for a process of one stage, whose memory is divided.
    pub fn for_stage<S: UsesMemory>(
        stage: Stage,
        read: impl FnOnce(&Layers, &mut Problems) -> Option<S>,
    ) -> impl FnOnce(&Layers, &mut Problems) -> Option<(Self, S)> {
        move |layers, problems| {
            let (mut bus, mut settings) = Self::with(read)(layers, problems)?;
            bus.divide_memory(&Stages::one(stage), true, &mut [&mut settings], layers, problems);
            Some((bus, settings))
        }
    }

    /// Divides the memory of a process in which `stages` run, with Kafka or without, among its edges and what `users` bound.
    /// What is not set is lowered to fit; what does not fit is added to `problems`.
    pub fn divide_memory(
        &mut self,
        stages: &Stages,
        kafka: bool,
        users: &mut [&mut dyn UsesMemory],
        layers: &Layers,
        problems: &mut Problems,
    ) {
        let further = (stages.iter().count() as u64).saturating_sub(1);
        let mut parts = vec![MemoryPart::fixed("process", "", PROCESS + further * FURTHER_STAGE)];
        let clients = KafkaClients::of(stages);
        if kafka {
            parts.extend(self.kafka_parts(&clients, layers));
        }
        if self.rabbitmq.enabled() && stages.has(Stage::Ingestion) {
            let message = self.rabbitmq.broker_max_message as u64;
            let bounds = (message, message.saturating_mul(self.rabbitmq.prefetch.into()));
            parts.push(MemoryPart::share(AMQP_MESSAGES, "rabbitmq.broker_max_message", 4, bounds));
            if !kafka {
                parts.extend(in_flight_part(AMQP_IN_FLIGHT, 1, layers));
            }
        }
        for user in &*users {
            parts.extend(user.memory_parts(layers));
        }
        let Some(budget) = MemoryBudget::read(layers, parts, problems) else { return };
        self.fit(&clients, &budget);
        users.iter_mut().for_each(|user| user.fit(&budget));
        self.memory = budget;
    }

    /// Bytes that the work in flight of one stage may count for.
    pub(crate) fn bytes_in_flight(&self, host: &Host) -> u64 {
        let all = self.bytes_in_flight.unwrap_or(host.settings().delivery.in_flight_memory as u64);
        all - all / READ_ALONE
    }

    /// Bytes that replies or advice which a stage reads without a group may count for.
    pub(crate) fn bytes_read_alone(&self, host: &Host) -> u64 {
        self.bytes_in_flight(host) / (READ_ALONE - 1)
    }

    fn kafka_parts(&self, clients: &KafkaClients, layers: &Layers) -> Vec<MemoryPart> {
        let usual = ClientQueues::default();
        let mut parts = Vec::new();
        for (name, property, count, kbytes) in [
            (PRODUCER_QUEUES, ClientQueues::PRODUCER, clients.producers, usual.producer_kbytes),
            (CONSUMER_QUEUES, ClientQueues::CONSUMER, clients.consumers, usual.consumer_kbytes),
        ] {
            let bytes = |kbytes: u64| kbytes.saturating_mul(count << 10);
            let set = self.kafka.options.get(property).and_then(|value| value.expose().trim().parse::<u64>().ok());
            parts.push(match set {
                Some(kbytes) => MemoryPart::fixed(name, "kafka.options", bytes(kbytes)),
                None => MemoryPart::share(
                    name,
                    "kafka.options",
                    2 * clients.producers,
                    (LEAST_QUEUE * count, bytes(kbytes.into())),
                ),
            });
        }
        parts.extend(in_flight_part(IN_FLIGHT, clients.sources, layers));
        parts
    }

    fn fit(&mut self, clients: &KafkaClients, budget: &MemoryBudget) {
        let kbytes = |part, count: u64| u32::try_from((budget.of(part)? >> 10) / count).ok();
        let queues = &mut self.kafka.queues;
        let producer = kbytes(PRODUCER_QUEUES, clients.producers);
        let consumer = kbytes(CONSUMER_QUEUES, clients.consumers);
        queues.producer_kbytes = producer.unwrap_or(queues.producer_kbytes);
        queues.consumer_kbytes = consumer.unwrap_or(queues.consumer_kbytes);
        let in_flight = budget.of(IN_FLIGHT).map(|bytes| bytes / clients.sources);
        self.bytes_in_flight = in_flight.or_else(|| budget.of(AMQP_IN_FLIGHT));
        if let Some(bytes) = budget.of(AMQP_MESSAGES) {
            self.rabbitmq.prefetch = self.rabbitmq.prefetch_within(bytes);
        }
    }
}

impl DividesMemory for BusSettings {
    fn memory(&self) -> &MemoryBudget {
        &self.memory
    }
}

/// The part of `sources` that each have `delivery.in_flight_memory` at most.
fn in_flight_part(name: &'static str, sources: u64, layers: &Layers) -> Option<MemoryPart> {
    let delivery = layers.section::<DeliverySettings>("delivery", &mut layers.problems())?;
    let least = DeliverySettings::MIN_IN_FLIGHT_MEMORY as u64 * sources;
    let bounds = (least, (delivery.in_flight_memory as u64).saturating_mul(sources));
    Some(MemoryPart::of_setting(layers, name, "delivery.in_flight_memory", 4 * sources, bounds))
}

/// How many clients of Kafka a process has.
struct KafkaClients {
    producers: u64,
    consumers: u64,
    /// Consumers that bring work.
    sources: u64,
}

impl KafkaClients {
    /// Each stage has a producer, the consumer of its group, and one that reads replies, predictions, earlier results or the
    /// model directory. The whole mesh has only those of its ends, and the directory's.
    fn of(stages: &Stages) -> Self {
        match stages.is_whole() {
            true => Self { producers: 3, consumers: 3, sources: 1 },
            false => {
                let count = stages.iter().count() as u64;
                Self { producers: count, consumers: 2 * count, sources: count }
            }
        }
    }
}
