//! The command line that every binary shares.

mod args;
mod health;
mod load;
mod service;

pub use args::{Command, ConfigCommand, SettingsArgs};
pub use health::check_health;
pub use load::{LoadedSettings, load_settings};
pub(crate) use service::{EXIT_SETTINGS, print_stderr};
pub use service::{ServiceSpec, service, service_from};
