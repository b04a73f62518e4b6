//! A service binary: arguments, settings, then the system.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use super::{Command, ConfigCommand, Opened, SettingsArgs, check_health, open};
use crate::host::{Drain, Host, Process, StartError};
use crate::settings::{DefaultSettings, Layers, Problems};

/// Exit code of settings that cannot be used.
pub(crate) const EXIT_SETTINGS: u8 = 2;

/// What distinguishes one service binary from another.
#[derive(Debug, Clone, Copy)]
pub struct ServiceSpec {
    /// Folder name, `"caching"`: the binary is `forebay-caching`, and so is its `service.name`.
    pub name: &'static str,
    /// What it does, for `--help`.
    pub about: &'static str,
    /// Its own defaults.
    pub defaults: DefaultSettings,
}

#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The whole `main` of a service. `read` takes the service's settings from the layers, `start` wires its system inside
/// an actix system on the main thread and returns what to do at the end.
///
/// Exit codes: 0 ended as asked, 1 a component died or the drain took too long, 2 settings.
pub fn service<S, D, Started>(
    spec: ServiceSpec,
    read: impl FnOnce(&Layers, &mut Problems) -> Option<S>,
    start: impl FnOnce(S, Host) -> Started,
) -> ExitCode
where
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
        return say(&format!("forebay-{} {}\n", spec.name, env!("CARGO_PKG_VERSION")));
    }
    let opened = match open(&[spec.defaults], &arguments.settings, read) {
        Ok(opened) => opened,
        Err(error) => return complain(&error.to_string(), EXIT_SETTINGS),
    };
    act(&command, spec, opened, start)
}

fn act<S, D, Started>(
    command: &Command,
    spec: ServiceSpec,
    opened: Opened<S>,
    start: impl FnOnce(S, Host) -> Started,
) -> ExitCode
where
    Started: Future<Output = Result<D, StartError>>,
    D: Drain,
{
    match command {
        Command::Run => crate::launch(Process::service(spec.name), opened, start),
        Command::Config { action: ConfigCommand::Check } => {
            let mut text: String = opened.layers.warnings().iter().map(|it| format!("warning: {it}\n")).collect();
            text.push_str("the settings are in order\n");
            say(&text)
        }
        Command::Config { action: ConfigCommand::Show } => say(&opened.layers.show()),
        Command::Version => ExitCode::SUCCESS,
        Command::Health => match check_health(opened.shared.admin.listen) {
            Ok(report) => say(&format!("{report}\n")),
            Err(report) => complain(&format!("{report}\n"), 1),
        },
    }
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // a closed pipe: nobody is left to be told
    }
}

pub(crate) fn complain(text: &str, code: u8) -> ExitCode {
    // Standard error may be closed; the exit code still says what happened.
    drop(std::io::stderr().write_all(text.as_bytes()));
    ExitCode::from(code)
}
