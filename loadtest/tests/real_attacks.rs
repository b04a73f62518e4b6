//! Every attack of `forebay-loadtest attacks`, over services of its own. Binaries without optimisation are attacked with a
//! tenth of the connections, so that this shows memory, answers and losses, and no processor time.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]
#![allow(clippy::disallowed_methods, reason = "what a test reads from the environment is no setting")]

use std::path::Path;
use std::process::Command;

#[test]
fn attacks_harm_no_normal_request_and_no_process_passes_its_limit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-loadtest"));
    command.current_dir(root).args(["attacks", "--seconds", "2", "--share", "0.1"]);
    command.args(std::env::var("REAL_KEEP").map(|folder| format!("--keep={folder}/attacks")).ok());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    println!("{text}");
    assert!(output.status.success(), "{}", output.status);
}
