//! Writes log lines to standard error, as JSON or in a form for people.

use std::io::IsTerminal as _;
use std::sync::Once;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::settings::{LogFormat, LogSettings, directives};
use crate::telemetry::Telemetry;

/// Starts logging and the export of control-plane spans. A second call, which tests make, has no effect.
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

/// Logs panics like any other event, so that they are found beside the lines that led to them.
fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let text = info.payload_as_str().unwrap_or("no text");
            let location = info.location().map(ToString::to_string);
            let thread = std::thread::current();
            tracing::error!(panic = text, location, thread = thread.name(), "a thread panicked");
        }));
    });
}
