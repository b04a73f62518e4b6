//! The trainer.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    forebay_train::TrainingArguments::parse().run()
}
