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

/// What a service binary can be asked to do.
#[derive(Debug, Clone, Default, clap::Subcommand)]
pub enum Command {
    /// Run the service (the default)
    #[default]
    Run,
    /// Look at the settings without starting
    Config {
        /// What to do with them.
        #[command(subcommand)]
        action: ConfigCommand,
    },
    /// Ask the running service whether it is ready; exit code 0 if so, else 1
    Health,
    /// Print the version
    Version,
}

/// `config ...`
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ConfigCommand {
    /// Report everything that is wrong with the settings; exit code 2 if anything is
    Check,
    /// Print the effective settings and where each came from, secrets masked
    Show,
}
