//! `forebay config` and `forebay health`.

use std::process::ExitCode;

use forebay_bus::Stages;
use forebay_runtime::{ConfigCommand, SettingsArgs, check_health};

use super::{eprint, open, open_to_serve, print};

pub(crate) fn run(args: &SettingsArgs, action: &ConfigCommand) -> ExitCode {
    match action {
        ConfigCommand::Check => open_to_serve(args, &Stages::all(), false)
            .map(|opened| format!("the settings are in order\n{}", opened.settings.bus.memory.table())),
        ConfigCommand::Show => open(args).map(|opened| opened.layers.show()),
    }
    .map_or_else(|code| code, |text| print(&text))
}

pub(crate) fn health(args: &SettingsArgs) -> ExitCode {
    match open(args).map(|opened| check_health(opened.shared.admin.listen)) {
        Err(code) => code,
        Ok(Ok(report)) => print(&format!("{report}\n")),
        Ok(Err(report)) => eprint(&report, 1),
    }
}
