//! One process of the mesh: started with an environment of its own, watched over its admin port, stopped by signals.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http_client;
use crate::error::LoadtestError;

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub struct MeshProcess {
    /// The name of its binary.
    pub name: String,
    /// The address of `/health` and `/metrics`.
    pub admin: SocketAddr,
    /// The address of the HTTP server, in services that have one.
    pub http: SocketAddr,
    /// When it was started.
    pub started: Instant,
    child: Child,
    ended: Option<ExitStatus>,
    log: PathBuf,
}

/// What to start.
#[derive(Debug)]
pub struct ProcessLaunch<'a> {
    /// What to call it.
    pub name: &'a str,
    /// The program.
    pub binary: &'a Path,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// All of its environment beside `PATH` and the like.
    pub environment: &'a [(String, String)],
    /// Where its output goes.
    pub log: PathBuf,
}

/// A port that was free a moment ago. Below the range from which outgoing connections take theirs, which would take it
/// before the service does, and below the one that the scripts use.
#[must_use]
pub fn free_address() -> Option<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (0..10_000).find_map(|_| {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + (turn % 10_000) as u16));
        std::net::TcpListener::bind(address).is_ok().then_some(address)
    })
}

/// A command with an empty environment: nothing of the caller's leaks into a service.
#[must_use]
pub fn bare_command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LANG"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

impl MeshProcess {
    /// Starts it; its addresses are free ones unless its environment names others.
    pub fn start(launch: ProcessLaunch<'_>) -> Result<Self, LoadtestError> {
        let free = || free_address().ok_or_else(|| LoadtestError::Input("no free port from 10000 to 19999".into()));
        let (admin, http) = (free()?, free()?);
        let mut command = bare_command(launch.binary);
        command.env("FOREBAY__ADMIN__LISTEN", admin.to_string()).env("FOREBAY__HTTP__LISTEN", http.to_string());
        command.envs(launch.environment.iter().map(|(name, value)| (name, value))).args(launch.arguments);
        let file = File::create(&launch.log).map_err(LoadtestError::file(&launch.log))?;
        let output = file.try_clone().map_err(LoadtestError::file(&launch.log))?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(file).spawn();
        let child = child.map_err(LoadtestError::file(launch.binary))?;
        let chosen = |key: &str| launch.environment.iter().find(|(name, _)| name == key)?.1.parse().ok();
        Ok(Self {
            name: launch.name.to_owned(),
            admin: chosen("FOREBAY__ADMIN__LISTEN").unwrap_or(admin),
            http: chosen("FOREBAY__HTTP__LISTEN").unwrap_or(http),
            started: Instant::now(),
            child,
            ended: None,
            log: launch.log,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed and logged so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of its output.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let output = self.output();
        let all: Vec<&str> = output.lines().collect();
        let cut = |line: &str| line.chars().take(600).collect::<String>();
        all[all.len().saturating_sub(lines)..].iter().map(|line| cut(line)).collect::<Vec<_>>().join("\n")
    }

    /// What `/health/ready` says.
    #[must_use]
    pub fn health(&self) -> Option<(u16, Value)> {
        let reply = http_client::get(self.admin, "/health/ready").ok()?;
        Some((reply.status, reply.json()))
    }

    /// Whether `/health/ready` answers 200.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.health().is_some_and(|(status, _)| status == 200)
    }

    /// Whether `/health/live` answers 200.
    #[must_use]
    pub fn is_live(&self) -> bool {
        http_client::get(self.admin, "/health/live").is_ok_and(|reply| reply.status == 200)
    }

    /// Waits until it is ready; the time since its start.
    pub fn wait_ready(&mut self, within: Duration) -> Result<Duration, LoadtestError> {
        let deadline = Instant::now() + within;
        while !self.is_ready() {
            if let Some(status) = self.exit_status() {
                let text = format!("{} ended with {status} before it was ready:\n{}", self.name, self.tail(30));
                return Err(LoadtestError::Input(text));
            }
            if Instant::now() >= deadline {
                let health = self.health();
                return Err(LoadtestError::Input(format!("{} is not ready after {within:?}: {health:?}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(self.started.elapsed())
    }

    /// The sum of the samples of a metric whose line contains every one of `labels`.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let Ok(reply) = http_client::get(self.admin, "/metrics") else { return 0.0 };
        let text = reply.text();
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let own = series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label));
            own.then(|| value.parse::<f64>().ok()).flatten()
        };
        text.lines().filter_map(sample).sum()
    }

    /// Resident memory in MiB.
    #[must_use]
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
    }

    /// The largest resident memory so far, in KiB; `None` if it has ended.
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Sends a signal, by its name without SIG. A process that has ended gets none.
    pub fn signal(&mut self, name: &str) -> Result<(), LoadtestError> {
        if self.exit_status().is_some() {
            return Ok(());
        }
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        let status = status.map_err(LoadtestError::system("run kill"))?;
        // it may have ended between the look and the signal
        if status.success() || self.exit_status().is_some() {
            return Ok(());
        }
        Err(LoadtestError::Input(format!("SIG{name} to {} (pid {}): {status}", self.name, self.pid())))
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus, LoadtestError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(LoadtestError::Input(format!("{} has not ended within {within:?}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM; it must end with 0 in time.
    pub fn stop(&mut self, within: Duration) -> Result<(), LoadtestError> {
        self.signal("TERM")?;
        let status = self.wait_exit(within)?;
        if status.success() {
            return Ok(());
        }
        Err(LoadtestError::Input(format!("{} after SIGTERM: {status}\n{}", self.name, self.tail(30))))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<(), LoadtestError> {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        self.ended = Some(ended.map_err(LoadtestError::system(format!("kill {}", self.name)))?);
        Ok(())
    }
}

impl Drop for MeshProcess {
    fn drop(&mut self) {
        if self.exit_status().is_none() {
            let _ = self.signal("CONT");
            let _ = self.kill();
        }
    }
}
