//! What an attack works on, and what attacks have in common.

use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::attack_answers::AttackAnswers;
use super::attacked_mesh::AttackedMesh;
use crate::error::LoadtestError;
use crate::faults::environment::FaultEnvironment;
use crate::mesh_under_test::http_client::{HttpReply, request_within};

/// How long an attacker waits for an answer.
const ANSWER: Duration = Duration::from_secs(15);

/// One attack while it is run.
#[derive(Debug)]
pub(crate) struct AttackRun<'r> {
    pub(crate) mesh: &'r AttackedMesh,
    /// The brokers, where the form of the mesh has some.
    pub(crate) environment: Option<&'r FaultEnvironment>,
    pub(crate) answers: AttackAnswers,
    /// What the attack itself found wrong.
    pub(crate) complaints: Mutex<Vec<String>>,
    /// How long it lasts, at most.
    pub(crate) seconds: f64,
    /// Which share of its threads and connections it has.
    share: f64,
    /// When it is over; counted from when it is first asked for, so that preparations do not count.
    until: OnceLock<Instant>,
}

impl<'r> AttackRun<'r> {
    pub(crate) fn new(
        mesh: &'r AttackedMesh,
        environment: Option<&'r FaultEnvironment>,
        seconds: f64,
        share: f64,
    ) -> Self {
        Self {
            mesh,
            environment,
            answers: AttackAnswers::default(),
            complaints: Mutex::default(),
            seconds,
            share,
            until: OnceLock::new(),
        }
    }

    pub(crate) fn environment(&self) -> Result<&FaultEnvironment, LoadtestError> {
        self.environment.ok_or_else(|| LoadtestError::Input("this attack needs brokers".into()))
    }

    pub(crate) fn complain(&self, what: impl Into<String>) {
        self.complaints.lock().push(what.into().chars().take(400).collect());
    }

    fn until(&self) -> Instant {
        *self.until.get_or_init(|| Instant::now() + Duration::from_secs_f64(self.seconds))
    }

    /// Whether the attack has lasted long enough.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until()
    }

    /// Waits for the attack's end.
    pub(crate) fn wait_until_over(&self) {
        std::thread::sleep(self.until().saturating_duration_since(Instant::now()));
    }

    /// `POST path` with a key that is valid.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<HttpReply> {
        let own = [("content-type", "application/json"), ("x-api-key", self.mesh.attackers_key())];
        request_within(self.mesh.http, "POST", path, &[&own, headers].concat(), body, ANSWER)
    }

    /// A connection to the HTTP endpoint; what comes from it is waited for briefly.
    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        connect_to(self.mesh.http)
    }

    /// As many of these as the attack's share gives it.
    pub(crate) fn some(&self, all: usize) -> usize {
        (((all as f64) * self.share) as usize).max(1)
    }

    /// As many connections as there can be, up to `count`.
    pub(crate) fn connect_many(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map_while(|_| self.connect().ok()).collect()
    }

    /// Calls `send` from several threads with the next number, until the attack is over; how many calls there were.
    pub(crate) fn in_parallel(&self, threads: usize, send: impl Fn(usize) + Sync) -> usize {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.some(threads) {
                scope.spawn(|| {
                    while !self.is_over() {
                        send(next.fetch_add(1, Ordering::Relaxed));
                    }
                });
            }
        });
        next.into_inner()
    }
}

/// A connection with short timeouts.
pub(crate) fn connect_to(address: std::net::SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    Ok(stream)
}
