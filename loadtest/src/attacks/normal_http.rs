//! Normal traffic over HTTP: twenty requests a second of a caller with a key, each on a connection of its own, repeated until
//! it is answered, and compared with what the model's origin predicts.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::attack_answers::label;
use crate::error::LoadtestError;
use crate::faults::origin::OriginRows;
use crate::latency::{Latencies, Percentiles};
use crate::mesh_under_test::http_client::{HttpReply, exchange, request_bytes};

/// How often a request is due.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long one attempt may take, and how long a caller tries.
const ATTEMPT: Duration = Duration::from_secs(10);
const GIVE_UP: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Who calls, and where.
#[derive(Debug, Clone)]
pub(crate) struct NormalCaller {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    /// The client side of TLS, if the endpoint has it.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// What became of normal requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct NormalOutcome {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    /// Attempts that were refused and repeated, by what was seen.
    pub(crate) repeated: BTreeMap<String, u64>,
    /// Requests that were not answered, or wrongly.
    pub(crate) failed: Vec<String>,
    pub(crate) latencies: Percentiles,
}

#[derive(Debug, Default)]
struct Tally {
    outcome: NormalOutcome,
    latencies: Latencies,
}

/// The running traffic.
#[derive(Debug)]
pub(crate) struct NormalHttp {
    ended: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    pacer: Option<JoinHandle<()>>,
}

/// A client of TLS that trusts the authority in this file.
pub(crate) fn tls_client(authority: &Path) -> Result<Arc<ClientConfig>, LoadtestError> {
    let wrong = |error: String| LoadtestError::Input(format!("{}: {error}", authority.display()));
    let certificate = CertificateDer::from_pem_file(authority).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

impl NormalCaller {
    /// One attempt on a new connection.
    fn attempt(&self, headers: &[(&str, &str)], body: &str) -> std::io::Result<HttpReply> {
        let request = request_bytes(self.address, "POST", "/v1/predict", headers, body.as_bytes());
        let mut stream = TcpStream::connect_timeout(&self.address, ATTEMPT)?;
        stream.set_read_timeout(Some(ATTEMPT))?;
        stream.set_write_timeout(Some(ATTEMPT))?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return exchange(&mut stream, &request) };
        let name = ServerName::from(self.address.ip());
        let connection = ClientConnection::new(Arc::clone(tls), name).map_err(std::io::Error::other)?;
        exchange(&mut StreamOwned::new(connection, stream), &request)
    }

    /// Whether a request is answered at once.
    pub(crate) fn is_answered(&self) -> bool {
        let headers = [("content-type", "application/json"), ("x-api-key", self.key.as_str())];
        let row = r#"{"features":[0,0,0,0,0,0,0,0,0,0],"model_version":"v1"}"#;
        self.attempt(&headers, row).is_ok_and(|reply| reply.status == 200)
    }

    fn call(&self, number: usize, origin: &OriginRows, tally: &Mutex<Tally>) {
        let mut body = "{\"features\":".to_owned();
        origin.write(number, &mut body);
        body.push_str(",\"model_version\":\"v1\",\"timeout_ms\":10000}");
        let headers = [("content-type", "application/json"), ("x-api-key", self.key.as_str())];
        let began = Instant::now();
        loop {
            let reply = self.attempt(&headers, &body);
            let mut tally = tally.lock();
            match &reply {
                Ok(reply) if reply.status == 200 => {
                    let wanted = origin.prediction(number);
                    if reply.json()["prediction"].as_f64().map(f64::to_bits) == Some(wanted.to_bits()) {
                        tally.outcome.answered += 1;
                        tally.latencies.record(began.elapsed());
                    } else {
                        tally.outcome.failed.push(format!("expected {wanted}, got {}", reply.text()));
                    }
                    return;
                }
                // what is refused for a reason that passes is asked again
                Ok(reply) if reply.is_final() => {
                    tally.outcome.failed.push(format!("{} {}", reply.status, reply.text()));
                    return;
                }
                _ if began.elapsed() >= GIVE_UP => {
                    tally.outcome.failed.push(format!("no answer, at last: {}", label(&reply)));
                    return;
                }
                _ => *tally.outcome.repeated.entry(label(&reply)).or_default() += 1,
            }
            drop(tally);
            std::thread::sleep(PAUSE);
        }
    }
}

impl NormalHttp {
    /// Starts to call; the first row is number `first`.
    pub(crate) fn start(caller: NormalCaller, first: usize) -> Result<Self, LoadtestError> {
        let origin = Arc::new(OriginRows::load()?);
        let (ended, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let (until, shared) = (Arc::clone(&ended), Arc::clone(&tally));
        let pacer = std::thread::spawn(move || {
            let (mut calls, mut due, mut number) = (Vec::new(), Instant::now(), first);
            while !until.load(Ordering::Relaxed) {
                let (caller, origin, tally) = (caller.clone(), Arc::clone(&origin), Arc::clone(&shared));
                tally.lock().outcome.requests += 1;
                let call = move || caller.call(number, &origin, &tally);
                match std::thread::Builder::new().stack_size(256 * 1024).spawn(call) {
                    Ok(call) => calls.push(call),
                    Err(error) => shared.lock().outcome.failed.push(error.to_string()),
                }
                number += 1;
                due += INTERVAL;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            for call in calls {
                if call.join().is_err() {
                    shared.lock().outcome.failed.push("the caller's thread panicked".to_owned());
                }
            }
        });
        Ok(Self { ended, tally, pacer: Some(pacer) })
    }

    /// Calls no more, and waits for the last answer.
    pub(crate) fn finish(mut self) -> NormalOutcome {
        self.stop();
        let tally = self.tally.lock();
        NormalOutcome { latencies: tally.latencies.percentiles(), ..tally.outcome.clone() }
    }

    fn stop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(pacer) = self.pacer.take() {
            let _ = pacer.join();
        }
    }
}

impl Drop for NormalHttp {
    fn drop(&mut self) {
        self.stop();
    }
}
