//! The embedded defaults of one part of the program.

/// A `settings.toml` compiled into the binary. It is the schema as well: a key that no bundle has does not exist.
#[derive(Debug, Clone, Copy)]
pub struct DefaultSettings {
    /// Folder name of the part, for messages.
    pub name: &'static str,
    /// Text of its `settings.toml`: every key with its default.
    pub toml: &'static str,
}

/// The sections that all services share.
pub const COMMON_DEFAULTS: DefaultSettings =
    DefaultSettings { name: "runtime", toml: include_str!("../../settings.toml") };

/// Sections of other Forebay binaries. One file or ConfigMap fits all of them, so each ignores what is not its own.
pub(super) const PROJECT_SECTIONS: &[&str] = &[
    "http",
    "auth",
    "ingestion",
    "preprocessing",
    "cache",
    "redis",
    "prediction",
    "publishing",
    "results",
    "rabbitmq",
    "up",
];
