//! Settings in layers: embedded defaults, a file, the environment, flags. Every value remembers where it came from.

mod bundle;
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
mod shared;
mod show;
pub mod size;
mod sources;
mod text;

pub use bundle::{Bundle, SHARED_BUNDLE};
pub use event_hubs::EventHubs;
pub(crate) use kafka::readable;
pub use kafka::{KafkaSettings, SecurityProtocol};
pub use layers::Layers;
pub use mask::{shown, without_password};
pub use models::ModelSettings;
pub use origin::Origin;
pub use problems::{Problem, Problems, SettingsError};
pub use rabbitmq::RabbitSettings;
pub use secret::Secret;
pub use shared::{AdminSettings, DeliverySettings, LogFormat, LogSettings, Shared, TelemetrySettings, TopicSettings};
