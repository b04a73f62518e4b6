//! `[kafka]` and `[rabbitmq]`, and what the variables of Event Hubs make of them.

mod event_hubs;
mod kafka;
mod memory;
mod rabbitmq;
mod schemas;

use forebay_runtime::{DefaultSettings, Layers, MemoryBudget, Problems};

pub use event_hubs::EventHubs;
pub use kafka::{KafkaSettings, SecurityProtocol};
pub use rabbitmq::{QueueType, RabbitMqSettings};
pub use schemas::SchemaSettings;

/// Defaults of the sections `[kafka]` and `[rabbitmq]`.
pub const DEFAULTS: DefaultSettings =
    DefaultSettings { name: "bus", toml: include_str!("../settings.toml"), environment: Some(event_hubs::read) };

/// The settings of `shared/bus/settings.toml`, checked. That file describes each of them.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// The broker and how this process behaves towards it.
    pub kafka: KafkaSettings,
    /// RabbitMQ, for requests and results.
    pub rabbitmq: RabbitMqSettings,
    /// Azure Event Hubs, if it is the broker.
    pub event_hubs: EventHubs,
    /// What takes memory in this process; empty where nothing is divided.
    pub memory: MemoryBudget,
    /// What it leaves to the records in flight of each stage, in bytes.
    bytes_in_flight: Option<u64>,
}

impl BusSettings {
    /// Reads and checks the sections, and adds what is wrong to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let kafka = layers.section::<KafkaSettings>("kafka", problems);
        let rabbitmq = layers.section::<RabbitMqSettings>("rabbitmq", problems);
        let event_hubs: EventHubs = layers.extension().cloned().unwrap_or_default();
        kafka.iter().for_each(|kafka| kafka.check(&event_hubs, problems));
        rabbitmq.iter().for_each(|rabbitmq| rabbitmq.check(problems));
        let (memory, bytes_in_flight) = (MemoryBudget::default(), None);
        Some(Self { kafka: kafka?, rabbitmq: rabbitmq?, event_hubs, memory, bytes_in_flight })
    }

    /// Reads these settings and those that `read` adds.
    pub fn with<S>(
        read: impl FnOnce(&Layers, &mut Problems) -> Option<S>,
    ) -> impl FnOnce(&Layers, &mut Problems) -> Option<(Self, S)> {
        |layers, problems| {
            let bus = Self::read(layers, problems);
            bus.zip(read(layers, problems))
        }
    }
}
