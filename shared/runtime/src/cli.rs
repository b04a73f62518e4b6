//! The command line that every binary shares.

mod args;
mod health;
mod open;
mod service;

pub use args::{Command, ConfigCommand, SettingsArgs};
pub use health::check_health;
pub use open::{Opened, open};
pub(crate) use service::{EXIT_SETTINGS, complain};
pub use service::{ServiceSpec, service, service_from};
