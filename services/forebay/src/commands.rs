//! One file per command.

pub(crate) mod config;
pub(crate) mod dead_letters;
pub(crate) mod keys;
pub(crate) mod models;
pub(crate) mod predict;
pub(crate) mod score;
pub(crate) mod topics;
pub(crate) mod train;
pub(crate) mod up;

use std::io::Write as _;
use std::process::ExitCode;

use forebay_bus::Stages;
use forebay_runtime::{LoadedSettings, SettingsArgs};

use crate::settings::Settings;

/// Exit code of settings or arguments that cannot be used.
const UNUSABLE: u8 = 2;

/// Prints to standard output; a closed pipe is a failure, not a panic.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints to standard error.
fn eprint(text: &str, code: u8) -> ExitCode {
    // standard error may be closed; the exit code still says what happened
    drop(writeln!(std::io::stderr(), "{}", text.trim_end()));
    ExitCode::from(code)
}

/// Reads the settings. On failure every problem is printed and the exit code is returned.
fn open(args: &SettingsArgs) -> Result<LoadedSettings<Settings>, ExitCode> {
    Settings::open(args).map_err(|error| eprint(&error.to_string(), UNUSABLE))
}

/// As [`open`], for a process in which `stages` run.
fn open_to_serve(args: &SettingsArgs, stages: &Stages, kafka: bool) -> Result<LoadedSettings<Settings>, ExitCode> {
    Settings::open_to_serve(args, stages, kafka).map_err(|error| eprint(&error.to_string(), UNUSABLE))
}

/// Reads the settings, with another registry if one is given.
fn open_with(args: &SettingsArgs, registry: Option<&str>) -> Result<LoadedSettings<Settings>, ExitCode> {
    let mut args = args.clone();
    args.set.extend(registry.map(|location| format!("models.registry={location}")));
    open(&args)
}
