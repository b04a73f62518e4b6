//! The rows of `forebay-loadtest faults` that hold reliably, over services of their own. `real.sh faults` runs this alone;
//! the full table is the command's.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]
#![allow(clippy::disallowed_methods, reason = "what a test reads from the environment is no setting")]

use std::process::Command;

#[test]
fn faults_that_ci_has_time_for_lose_double_and_falsify_nothing() {
    let seed = std::env::var("REAL_SEED").unwrap_or_else(|_| "1".to_owned());
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-loadtest"));
    command.args(["faults", "--ci", "--quick", "--seconds", "15", "--seed", &seed]);
    command.args(std::env::var("REAL_KEEP").map(|folder| format!("--keep={folder}/faults")).ok());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    println!("{text}");
    assert!(output.status.success(), "{}", output.status);
}
