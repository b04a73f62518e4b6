//! Settings in layers: embedded defaults, a file, the environment, flags. Every value remembers where it came from.

mod common;
mod defaults;
pub mod duration;
mod event_hubs;
mod kafka;
mod layers;
mod legacy;
mod mask;
mod models;
mod origin;
mod problems;
mod rabbitmq;
mod schema;
mod secret;
mod show;
pub mod size;
mod sources;
mod text;

pub use common::{
    AdminSettings, CommonSettings, DeliverySettings, LogFormat, LogSettings, TelemetrySettings, TopicSettings,
};
pub use defaults::{COMMON_DEFAULTS, DefaultSettings};
pub use event_hubs::EventHubs;
pub(crate) use kafka::readable;
pub use kafka::{KafkaSettings, SecurityProtocol};
pub use layers::Layers;
pub use mask::{shown, without_password};
pub use models::ModelSettings;
pub use origin::Origin;
pub use problems::{Problem, Problems, SettingsError};
pub use rabbitmq::RabbitMqSettings;
pub use secret::Secret;
