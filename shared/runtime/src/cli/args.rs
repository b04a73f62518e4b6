//! Arguments and subcommands.

use std::path::PathBuf;

/// Where settings come from besides the environment. Flatten it into a binary's own arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsArgs {
    /// File of settings (TOML), laid over the built-in defaults
    #[arg(long, value_name = "FILE", env = "FOREBAY_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Sets one value, over everything else; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

/// Subcommands of a service binary.
#[derive(Debug, Clone, Default, clap::Subcommand)]
pub enum Command {
    /// Run the service (the default)
    #[default]
    Run,
    /// Inspect the settings without starting
    Config {
        /// What to do with the settings.
        #[command(subcommand)]
        action: ConfigCommand,
    },
    /// Check whether the running service is ready; exit code 0 if it is, else 1
    Health,
    /// Print the version
    Version,
}

/// Subcommands of `config`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ConfigCommand {
    /// Report every problem of the settings; exit code 2 if there is one
    Check,
    /// Print the effective settings with their origins, secrets masked
    Show,
}
