//! `forebay config` and `forebay health`.

use std::process::ExitCode;

use forebay_runtime::{ConfigCommand, SettingsArgs, check_health};

use super::{eprint, open, open_to_serve, print};

pub(crate) fn run(args: &SettingsArgs, action: &ConfigCommand) -> ExitCode {
    let opened = match action {
        ConfigCommand::Check => open_to_serve(args),
        ConfigCommand::Show => open(args),
    };
    match (opened, action) {
        (Err(code), _) => code,
        (Ok(_), ConfigCommand::Check) => print("the settings are in order\n"),
        (Ok(opened), ConfigCommand::Show) => print(&opened.layers.show()),
    }
}

pub(crate) fn health(args: &SettingsArgs) -> ExitCode {
    match open(args).map(|opened| check_health(opened.shared.admin.listen)) {
        Err(code) => code,
        Ok(Ok(report)) => print(&format!("{report}\n")),
        Ok(Err(report)) => eprint(&report, 1),
    }
}
