//! One replica of a stage: what it is started with, and its process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::LoadtestError;
use crate::mesh_under_test::{MeshProcess, MeshUnderTest, STAGES, free_address};

/// How long after its end a process is started again.
const RESTART: Duration = Duration::from_millis(500);

/// One replica: its process, at addresses that stay the same.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) stage: usize,
    environment: [(&'static str, String); 2],
    /// Settings beside the mesh's.
    pub(super) more: Vec<(String, String)>,
    /// Where its binary is, if it is not the mesh's.
    pub(super) binaries: Option<PathBuf>,
    pub(super) http: SocketAddr,
    pub(super) process: Option<MeshProcess>,
    /// It is to stay away: the supervisor leaves it alone.
    pub(super) held: bool,
    ended_at: Option<Instant>,
}

impl Slot {
    pub(super) fn new(stage: usize) -> Result<Self, LoadtestError> {
        let free = || free_address().ok_or_else(|| LoadtestError::Input("no free port from 10000 to 19999".into()));
        let (admin, http) = (free()?, free()?);
        let environment = [("FOREBAY__ADMIN__LISTEN", admin.to_string()), ("FOREBAY__HTTP__LISTEN", http.to_string())];
        let (process, held, ended_at, more, binaries) = (None, false, None, Vec::new(), None);
        Ok(Self { stage, environment, more, binaries, http, process, held, ended_at })
    }

    pub(super) fn start(&mut self, mesh: &MeshUnderTest) -> Result<(), LoadtestError> {
        let more = self.more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).chain(more).collect();
        let binaries = self.binaries.as_deref().unwrap_or_else(|| mesh.binaries());
        let name = format!("forebay-{}", STAGES[self.stage]);
        self.process = Some(mesh.launch_from(binaries, &name, &[], &environment)?);
        self.ended_at = None;
        Ok(())
    }

    pub(super) fn supervise(&mut self, mesh: &MeshUnderTest, restarts: &AtomicU64) {
        let ended = self.process.as_mut().is_none_or(|process| process.exit_status().is_some());
        if self.held || !ended {
            return;
        }
        let ended_at = *self.ended_at.get_or_insert_with(Instant::now);
        if ended_at.elapsed() >= RESTART {
            restarts.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.start(mesh) {
                eprintln!("{error}");
                self.ended_at = None;
            }
        }
    }
}
