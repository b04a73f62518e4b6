//! A process of the mesh whose failures fail the test.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use forebay_loadtest::mesh_under_test::{self, MeshProcess, bare_command};

/// How long a service may take to become ready when Kafka is there. The target is 3 s on an idle machine; one that
/// takes over from a killed replica waits for the end of its session as well.
pub const READY: Duration = Duration::from_secs(60);
/// How long it may take to end after SIGTERM; the drain deadline of the tests' settings is below it.
pub const STOP: Duration = Duration::from_secs(45);

/// A running process. Dropped, it is killed; after a failed test the end of its log is printed.
pub struct Service(pub(super) MeshProcess);

impl Deref for Service {
    type Target = MeshProcess;

    fn deref(&self) -> &MeshProcess {
        &self.0
    }
}

impl DerefMut for Service {
    fn deref_mut(&mut self) -> &mut MeshProcess {
        &mut self.0
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> std::net::SocketAddr {
    mesh_under_test::free_address().unwrap_or_else(|| panic!("no free port between 10000 and 19999"))
}

/// A command with an empty environment.
pub fn bare(binary: &Path) -> Command {
    bare_command(binary)
}

impl Service {
    /// Waits until it is ready; the time since its start.
    #[track_caller]
    pub fn wait_ready(&mut self) -> Duration {
        self.wait_ready_within(READY)
    }

    #[track_caller]
    pub fn wait_ready_within(&mut self, within: Duration) -> Duration {
        self.0.wait_ready(within).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub fn signal(&mut self, name: &str) {
        self.0.signal(name).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits for its end; the exit code, or `None` when a signal ended it.
    #[track_caller]
    pub fn wait_exit(&mut self, within: Duration) -> Option<i32> {
        self.0.wait_exit(within).unwrap_or_else(|error| panic!("{error}")).code()
    }

    /// SIGTERM, and the exit code must be 0 in time.
    #[track_caller]
    pub fn stop(&mut self) {
        self.0.stop(STOP).unwrap_or_else(|error| panic!("{error}"));
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.0.kill().unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let code = self.0.exit_status();
            eprintln!("--- {} (pid {}, {code:?}), end of its log:\n{}\n", self.name, self.pid(), self.tail(25));
        }
    }
}
