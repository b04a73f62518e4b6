//! Two replicas of each stage, and a supervisor that starts again what has ended, as Kubernetes and compose do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::process_watch::ProcessWatch;
use super::replica_slot::Slot;
use crate::error::LoadtestError;
use crate::mesh_under_test::{MeshProcess, MeshUnderTest, STAGES, http_client};

/// How long a process may take to become ready: a take-over, and a session before it.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// How long a stop in order may take.
const STOP: Duration = Duration::from_secs(45);

/// The processes of the mesh under test.
#[derive(Debug)]
pub(crate) struct Replicas {
    mesh: Arc<MeshUnderTest>,
    slots: Arc<Mutex<Vec<Slot>>>,
    stopping: Arc<AtomicBool>,
    restarts: Arc<AtomicU64>,
    supervisor: Option<JoinHandle<()>>,
}

impl Replicas {
    /// Starts two replicas of each stage and waits until all are ready. Replica `r` of stage `s` is number `2 * s + r`.
    /// `named`: each under a name that stays the same when it is started again.
    pub(crate) fn start(mesh: Arc<MeshUnderTest>, named: bool) -> Result<Self, LoadtestError> {
        let mut slots = (0..STAGES.len() * 2).map(|number| Slot::new(number / 2)).collect::<Result<Vec<_>, _>>()?;
        for (number, slot) in slots.iter_mut().enumerate().filter(|_| named) {
            slot.more.push(("FOREBAY__KAFKA__INSTANCE_ID".to_owned(), format!("replica-{number}")));
        }
        let slots = Arc::new(Mutex::new(slots));
        let (stopping, restarts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let replicas = Self { mesh, slots, stopping, restarts, supervisor: None };
        for number in 0..STAGES.len() * 2 {
            replicas.restart(number)?;
        }
        replicas.wait_ready(READY)?;
        Ok(replicas.supervised())
    }

    fn supervised(mut self) -> Self {
        let (mesh, slots) = (Arc::clone(&self.mesh), Arc::clone(&self.slots));
        let (stopping, restarts) = (Arc::clone(&self.stopping), Arc::clone(&self.restarts));
        self.supervisor = Some(std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                for slot in slots.lock().iter_mut() {
                    slot.supervise(&mesh, &restarts);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }));
        self
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.lock().len()
    }

    /// Adds one more replica of a stage.
    pub(crate) fn add(&self, stage: usize) -> Result<usize, LoadtestError> {
        let mut slot = Slot::new(stage)?;
        slot.start(&self.mesh)?;
        let mut slots = self.slots.lock();
        slots.push(slot);
        Ok(slots.len() - 1)
    }

    /// SIGKILL; the supervisor starts it again unless it is held.
    pub(crate) fn kill(&self, number: usize) -> Result<(), LoadtestError> {
        self.slots.lock()[number].process.as_mut().map_or(Ok(()), MeshProcess::kill)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, number: usize, name: &str) -> Result<(), LoadtestError> {
        self.slots.lock()[number].process.as_mut().map_or(Ok(()), |process| process.signal(name))
    }

    /// SIGKILL, and a start at once under the same name and addresses.
    pub(crate) fn kill_and_restart(&self, number: usize) -> Result<(), LoadtestError> {
        let mut slots = self.slots.lock();
        slots[number].process.as_mut().map_or(Ok(()), MeshProcess::kill)?;
        self.restarts.fetch_add(1, Ordering::Relaxed);
        slots[number].start(&self.mesh)
    }

    /// Keeps the supervisor from starting a replica again, or lets it.
    pub(crate) fn hold(&self, number: usize, held: bool) {
        self.slots.lock()[number].held = held;
    }

    /// SIGTERM, and waits for the end; it is held afterwards.
    pub(crate) fn stop(&self, number: usize) -> Result<(), LoadtestError> {
        let taken = {
            let mut slots = self.slots.lock();
            slots[number].held = true;
            slots[number].process.take()
        };
        taken.map_or(Ok(()), |mut process| process.stop(STOP))
    }

    /// Starts a replica that is away, and leaves it to the supervisor again.
    pub(crate) fn restart(&self, number: usize) -> Result<(), LoadtestError> {
        let slot = &mut self.slots.lock()[number];
        slot.held = false;
        slot.start(&self.mesh)
    }

    /// Gives a replica settings beside the mesh's, and binaries of another build, from its next start on.
    pub(crate) fn equip(&self, number: usize, more: &[(&str, &str)], binaries: Option<PathBuf>) {
        let slot = &mut self.slots.lock()[number];
        slot.more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        slot.binaries = binaries;
    }

    /// The ids of the processes of these replicas.
    pub(crate) fn pids(&self, numbers: &[usize]) -> Vec<u32> {
        let slots = self.slots.lock();
        numbers.iter().filter_map(|number| slots[*number].process.as_ref()).map(MeshProcess::pid).collect()
    }

    /// The sum of a metric over all processes of a stage.
    pub(crate) fn metric(&self, stage: usize, name: &str, labels: &[&str]) -> f64 {
        let slots = self.slots.lock();
        let processes = slots.iter().filter(|slot| slot.stage == stage).filter_map(|slot| slot.process.as_ref());
        processes.map(|process| process.metric(name, labels)).sum()
    }

    /// Watches what the processes use, whichever are running.
    pub(crate) fn watch(&self) -> ProcessWatch {
        let slots = Arc::clone(&self.slots);
        ProcessWatch::start(move || {
            let slots = slots.lock();
            slots
                .iter()
                .filter_map(|slot| Some((STAGES[slot.stage].to_owned(), slot.process.as_ref()?.pid())))
                .collect()
        })
    }

    /// Where HTTP requests go.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.slots.lock().iter().filter(|slot| slot.stage == 0).take(2).map(|slot| slot.http).collect()
    }

    /// Waits until all replicas that are not held are ready.
    pub(crate) fn wait_ready(&self, within: Duration) -> Result<(), LoadtestError> {
        let deadline = Instant::now() + within;
        loop {
            let unready = self.unready();
            if unready.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(LoadtestError::Input(format!("not ready after {within:?}: {}", unready.join("; "))));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The replicas that should be ready and are not, with what their health says.
    pub(crate) fn unready(&self) -> Vec<String> {
        let admin = |slot: &Slot| slot.process.as_ref().map(|process| process.admin);
        let wanted: Vec<_> = {
            // a process that hangs answers late: not under the lock
            let slots = self.slots.lock();
            slots.iter().filter(|slot| !slot.held).map(|slot| (STAGES[slot.stage], admin(slot))).collect()
        };
        let unready = wanted.into_iter().filter_map(|(stage, admin)| {
            let Some(admin) = admin else { return Some(format!("{stage}: away")) };
            match http_client::get(admin, "/health/ready") {
                Ok(reply) if reply.status == 200 => None,
                Ok(reply) => Some(format!("{stage}: {}", reasons(&reply.json()))),
                Err(error) => Some(format!("{stage}: {error}")),
            }
        });
        unready.collect()
    }

    /// How many processes were started again by the supervisor.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Stops all in the order of the path; what did not stop as it should.
    pub(crate) fn stop_all(&mut self) -> Vec<String> {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
        let mut wrong = Vec::new();
        for number in 0..self.count() {
            let _ = self.signal(number, "CONT");
            if let Err(error) = self.stop(number) {
                wrong.push(error.to_string());
            }
        }
        wrong
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
    }
}

/// What is unready, and why, out of `/health/ready`.
fn reasons(health: &serde_json::Value) -> String {
    let Some(components) = health["components"].as_array() else { return health.to_string() };
    let unready = components.iter().filter(|component| component["ready"] == false);
    let reason = |it: &serde_json::Value| format!("{}: {}", it["name"], it["reason"]).replace('"', "");
    unready.map(reason).collect::<Vec<_>>().join(", ")
}
