//! `forebay train`: hands over to `forebay-train`, a program of its own because of what training needs to be built.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::{UNUSABLE, eprint};

const PROGRAM: &str = "forebay-train";

/// Arguments that are passed to the trainer unchanged.
#[derive(Debug, clap::Args)]
pub(crate) struct Train {
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(train: &Train) -> ExitCode {
    let own = std::env::current_exe().ok();
    let program = beside(own.as_deref()).unwrap_or_else(|| PathBuf::from(PROGRAM));
    match hand_over(Command::new(&program).args(&train.arguments)) {
        Ok(code) => code,
        Err(error) if error.kind() == ErrorKind::NotFound => eprint(&absent(), UNUSABLE),
        Err(error) => eprint(&format!("{}: {error}", program.display()), 1),
    }
}

/// The trainer becomes this process: signals reach it and its exit code is ours.
#[cfg(unix)]
fn hand_over(command: &mut Command) -> std::io::Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec())
}

#[cfg(not(unix))]
fn hand_over(command: &mut Command) -> std::io::Result<ExitCode> {
    let code = command.status()?.code();
    Ok(code.map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
}

/// The trainer in the same folder as this program, if it is there.
fn beside(own: Option<&Path>) -> Option<PathBuf> {
    let path = own?.with_file_name(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX));
    path.is_file().then_some(path)
}

fn absent() -> String {
    format!(
        "{PROGRAM} is neither beside this program nor in PATH. It is built on its own:\n  \
         cargo build --release --manifest-path services/train/Cargo.toml\n\
         and found at services/train/target/release/{PROGRAM}; put it beside forebay or into PATH."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trainer_beside_this_program_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("forebay");
        assert_eq!(beside(Some(&own)), None);
        let trainer = folder.path().join(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX));
        std::fs::write(&trainer, "").unwrap();
        assert_eq!(beside(Some(&own)), Some(trainer));
        assert!(absent().contains("--manifest-path services/train/Cargo.toml"));
    }
}
