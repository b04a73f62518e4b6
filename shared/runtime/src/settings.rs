//! Settings in layers: embedded defaults, a file, the environment, flags. Every value remembers which of them it came
//! from.

mod common;
mod environment;
mod implied;
mod layer;
mod layers;
mod log;
mod problems;
mod schema;
mod secret;
mod units;
mod value;

pub use common::{AdminSettings, CommonSettings, DeliverySettings, MemorySettings, TelemetrySettings, TopicSettings};
pub use implied::{EnvironmentReader, ImpliedSettings};
pub use layers::Layers;
pub(crate) use log::directives;
pub use log::{LogFormat, LogSettings};
pub use problems::{Problems, SettingOrigin, SettingProblem, SettingsError, check_pem};
pub use schema::{COMMON_DEFAULTS, DefaultSettings};
pub use secret::{Secret, shown, without_password};
pub use units::{address, duration, size};
