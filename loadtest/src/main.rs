//! `forebay-loadtest`: exit code 0 clean, 1 the system under test lost, duplicated or failed something, 2 the run could
//! not be done.

use std::process::ExitCode;

use clap::Parser as _;
use forebay_loadtest::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("forebay-loadtest: {error}");
            ExitCode::from(2)
        }
    }
}
