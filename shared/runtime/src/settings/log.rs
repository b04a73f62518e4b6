//! `[log]`: which lines are logged, and their form.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::Problems;

/// Targets whose lines are of no use to an operator, or repeat with message bodies what our own lines say. A directive
/// in `log.level` that names the target shows them.
const QUIET: &str = "actix_server=warn,lapin=off";

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A level or directives, such as `info,forebay_bus=debug`.
    pub level: String,
    /// Form of a line.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// Text for people.
    Pretty,
}

impl LogSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Err(error) = directives(&self.level) {
            problems
                .add("log.level", format!("{error}, expected a level such as \"info\" or \"info,forebay_bus=debug\""));
        }
    }
}

/// Parses the directives of `log.level`.
///
/// # Errors
/// When the text has no level or directive of the right form.
pub(crate) fn directives(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{QUIET},{level}"))
}
