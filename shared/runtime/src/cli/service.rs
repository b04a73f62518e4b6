//! The `main` of a service binary: arguments, settings, then the system.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use super::{Command, ConfigCommand, LoadedSettings, SettingsArgs, check_health, load_settings};
use crate::host::{Drain, Host, StartError};
use crate::memory_budget::DividesMemory;
use crate::process::Process;
use crate::settings::{DefaultSettings, Layers, Problems};

/// Exit code when the settings cannot be used.
pub(crate) const EXIT_SETTINGS: u8 = 2;

/// Describes one service binary.
#[derive(Debug, Clone, Copy)]
pub struct ServiceSpec {
    /// Folder name, `"caching"`: the binary is `forebay-caching`, and so is its `service.name`.
    pub name: &'static str,
    /// Description of the service, for `--help`.
    pub about: &'static str,
    /// Defaults of the service's settings, besides the common ones.
    pub defaults: &'static [DefaultSettings],
}

#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Runs a service: the whole `main` of its binary. `read` takes the service's settings from the layers, `start` wires
/// its system inside an actix system on the main thread and returns the drain to run at the end.
///
/// Exit codes: 0 after an orderly shutdown, 1 when a component died or the drain took too long, 2 for unusable
/// settings.
pub fn service<S, D, Started>(
    spec: ServiceSpec,
    read: impl FnOnce(&Layers, &mut Problems) -> Option<S>,
    start: impl FnOnce(S, Host) -> Started,
) -> ExitCode
where
    S: DividesMemory,
    Started: Future<Output = Result<D, StartError>>,
    D: Drain,
{
    service_from(std::env::args_os(), spec, read, start)
}

/// [`service`] with given arguments, the first of which is the program's name.
pub fn service_from<S, D, Started>(
    arguments: impl IntoIterator<Item = OsString>,
    spec: ServiceSpec,
    read: impl FnOnce(&Layers, &mut Problems) -> Option<S>,
    start: impl FnOnce(S, Host) -> Started,
) -> ExitCode
where
    S: DividesMemory,
    Started: Future<Output = Result<D, StartError>>,
    D: Drain,
{
    let binary = format!("forebay-{}", spec.name);
    let command = Arguments::command().display_name(binary.clone()).bin_name(binary).about(spec.about);
    let matches = command.version(env!("CARGO_PKG_VERSION")).get_matches_from(arguments);
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let command = arguments.command.unwrap_or_default();
    if let Command::Version = command {
        return print_stdout(&format!("forebay-{} {}\n", spec.name, env!("CARGO_PKG_VERSION")));
    }
    let loaded = match load_settings(spec.defaults, &arguments.settings, read) {
        Ok(loaded) => loaded,
        Err(error) => return print_stderr(&error.to_string(), EXIT_SETTINGS),
    };
    act(&command, spec, loaded, start)
}

fn act<S, D, Started>(
    command: &Command,
    spec: ServiceSpec,
    loaded: LoadedSettings<S>,
    start: impl FnOnce(S, Host) -> Started,
) -> ExitCode
where
    S: DividesMemory,
    Started: Future<Output = Result<D, StartError>>,
    D: Drain,
{
    match command {
        Command::Run => crate::launch(Process::service(spec.name), loaded, start),
        Command::Config { action: ConfigCommand::Check } => {
            let mut text: String = loaded.layers.warnings().iter().map(|it| format!("warning: {it}\n")).collect();
            text.push_str("the settings are in order\n");
            text.push_str(&loaded.settings.memory().table());
            print_stdout(&text)
        }
        Command::Config { action: ConfigCommand::Show } => print_stdout(&loaded.layers.show()),
        Command::Version => ExitCode::SUCCESS,
        Command::Health => match check_health(loaded.shared.admin.listen) {
            Ok(report) => print_stdout(&format!("{report}\n")),
            Err(report) => print_stderr(&format!("{report}\n"), 1),
        },
    }
}

fn print_stdout(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // a closed pipe
    }
}

pub(crate) fn print_stderr(text: &str, code: u8) -> ExitCode {
    // Standard error may be closed; the exit code still says what happened.
    drop(std::io::stderr().write_all(text.as_bytes()));
    ExitCode::from(code)
}
