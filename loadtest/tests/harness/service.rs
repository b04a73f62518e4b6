//! One process of the mesh: started with an environment of its own, watched over its admin port, stopped by signals.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{http, wait_until};

/// How long a service may take to become ready when Kafka is there. The target is 3 s on an idle machine; one that
/// takes over from a killed replica waits for the end of its session as well.
pub const READY: Duration = Duration::from_secs(60);
/// How long it may take to end after SIGTERM; the drain deadline of the tests' settings is below it.
pub const STOP: Duration = Duration::from_secs(45);

/// A running process. Dropped, it is killed; after a failed test the end of its log is printed.
pub struct Service {
    pub name: String,
    pub admin: SocketAddr,
    /// The address of the HTTP server, in services that have one.
    pub http: SocketAddr,
    pub started: Instant,
    child: Child,
    ended: Option<ExitStatus>,
    log: PathBuf,
}

/// What to start.
pub struct Launch<'a> {
    pub name: &'a str,
    pub binary: &'a Path,
    pub arguments: &'a [&'a str],
    pub environment: &'a [(String, String)],
    pub log: PathBuf,
}

/// A port that was free a moment ago. Below the range from which outgoing connections take theirs, which would take it
/// before the service does, and below the one that the scripts use.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10_000 {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + (turn % 10_000) as u16));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between 10000 and 19999");
}

impl Service {
    pub fn start(launch: Launch<'_>) -> Self {
        let (admin, http) = (free_address(), free_address());
        let mut command = bare(launch.binary);
        command.env("FOREBAY__ADMIN__LISTEN", admin.to_string()).env("FOREBAY__HTTP__LISTEN", http.to_string());
        command.envs(launch.environment.iter().map(|(name, value)| (name, value))).args(launch.arguments);
        let file = File::create(&launch.log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", launch.binary.display()));
        // an address that the test chose itself wins
        let chosen = |key: &str| launch.environment.iter().find(|(name, _)| name == key)?.1.parse().ok();
        Self {
            name: launch.name.to_owned(),
            admin: chosen("FOREBAY__ADMIN__LISTEN").unwrap_or(admin),
            http: chosen("FOREBAY__HTTP__LISTEN").unwrap_or(http),
            started: Instant::now(),
            child,
            ended: None,
            log: launch.log,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed and logged so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What `/health/ready` says.
    pub fn health(&self) -> Option<(u16, Value)> {
        let reply = http::get(self.admin, "/health/ready").ok()?;
        Some((reply.status, reply.json()))
    }

    pub fn is_ready(&self) -> bool {
        self.health().is_some_and(|(status, _)| status == 200)
    }

    pub fn is_live(&self) -> bool {
        http::get(self.admin, "/health/live").is_ok_and(|reply| reply.status == 200)
    }

    /// Waits until it is ready; the time since its start.
    #[track_caller]
    pub fn wait_ready(&mut self) -> Duration {
        self.wait_ready_within(READY)
    }

    #[track_caller]
    pub fn wait_ready_within(&mut self, within: Duration) -> Duration {
        let deadline = Instant::now() + within;
        while !self.is_ready() {
            if let Some(status) = self.exit_status() {
                panic!("{} ended with {status} before it was ready:\n{}", self.name, self.tail(30));
            }
            assert!(Instant::now() < deadline, "{} is not ready after {within:?}: {:?}", self.name, self.health());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.started.elapsed()
    }

    /// The sum of the samples of a metric whose line contains every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let Ok(reply) = http::get(self.admin, "/metrics") else { return 0.0 };
        let text = reply.text();
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let own = series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label));
            own.then(|| value.parse::<f64>().ok()).flatten()
        };
        text.lines().filter_map(sample).sum()
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits for its end; the exit code, or `None` when a signal ended it.
    #[track_caller]
    pub fn wait_exit(&mut self, within: Duration) -> Option<i32> {
        let name = self.name.clone();
        wait_until(within, &format!("{name} to end"), || self.exit_status().is_some());
        self.ended.unwrap().code()
    }

    /// SIGTERM, and the exit code must be 0 in time.
    #[track_caller]
    pub fn stop(&mut self) {
        if self.exit_status().is_none() {
            self.signal("TERM");
        }
        let code = self.wait_exit(STOP);
        assert_eq!(code, Some(0), "{} after SIGTERM:\n{}", self.name, self.tail(30));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.ended = Some(self.child.wait().unwrap());
    }

    pub fn tail(&self, lines: usize) -> String {
        let output = self.output();
        let all: Vec<&str> = output.lines().collect();
        let cut = |line: &str| line.chars().take(600).collect::<String>();
        all[all.len().saturating_sub(lines)..].iter().map(|line| cut(line)).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let code = self.exit_status();
        if code.is_none() {
            signal(self.pid(), "CONT");
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- {} (pid {}, {code:?}), end of its log:\n{}\n", self.name, self.pid(), self.tail(25));
        }
    }
}

/// A command with an empty environment: nothing of the caller's leaks into a service.
pub fn bare(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LANG"] {
        command.envs(std::env::var(name).map(|value| (name, value)));
    }
    command
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "SIG{name} to {pid}");
}
