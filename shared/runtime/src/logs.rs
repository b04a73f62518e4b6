//! Log lines on standard error: JSON for machines, pretty for people.

use std::io::IsTerminal as _;
use std::sync::Once;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::settings::{LogFormat, LogSettings};
use crate::telemetry::Telemetry;

/// Said at every start and of no use to an operator, or said with the bodies of messages and said again by our own lines;
/// `log.level` may still name the target to get them.
const QUIET: &str = "actix_server=warn,lapin=off";

/// Reads the directives of `log.level`.
pub(crate) fn directives(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{QUIET},{level}"))
}

/// Starts logging and the export of control-plane spans. A second call, as in tests, changes nothing.
pub(crate) fn start(settings: &LogSettings, telemetry: &Telemetry) {
    let filter = directives(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        lines.compact().boxed()
    };
    let started =
        tracing_subscriber::registry().with(telemetry.span_layer()).with(lines.with_filter(filter)).try_init();
    if started.is_ok() {
        log_panics();
    }
}

/// A panic becomes a log line like any other, so that it is found where the rest of the story is.
fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let text = info.payload_as_str().unwrap_or("no text");
            let place = info.location().map(ToString::to_string);
            let thread = std::thread::current();
            tracing::error!(panic = text, place, thread = thread.name(), "a thread panicked");
        }));
    });
}
