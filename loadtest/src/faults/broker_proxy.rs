//! A proxy between the mesh and its broker that knows Kafka's frames. The broker advertises it to whoever came through
//! it, so every connection of the mesh passes here, and no client can tell what it does from a network that does it.

pub(crate) mod frames;
mod link;
pub(crate) mod rules;
mod socket_owner;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::rules::ProxyRules;
use crate::error::LoadtestError;

/// Larger frames end their connection: what the broker is given is at most a few MiB.
const LARGEST_FRAME: usize = 256 * 1024 * 1024;

/// What the rules have done so far.
#[derive(Debug, Default)]
struct Injected {
    candidates: AtomicU64,
    count: AtomicU64,
    held: AtomicU64,
}

impl Injected {
    /// Whether it is the turn of this candidate, of which one in `every` has it.
    fn turn(&self, every: u64) -> bool {
        self.candidates.fetch_add(1, Ordering::Relaxed) % every.max(1) == every.max(1) - 1
    }
}

/// A running proxy; dropped, it closes its connections.
#[derive(Debug)]
pub(crate) struct BrokerProxy {
    address: SocketAddr,
    rules: watch::Sender<ProxyRules>,
    injected: Arc<Injected>,
    _runtime: Runtime,
}

impl BrokerProxy {
    /// Listens on `listen` and passes everything on to `target`.
    pub(crate) fn start(listen: SocketAddr, target: SocketAddr) -> Result<Self, LoadtestError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(LoadtestError::system("start a runtime"))?;
        let listener = runtime.block_on(TcpListener::bind(listen));
        let listener = listener.map_err(LoadtestError::system(format!("listen on {listen}")))?;
        let address = listener.local_addr().map_err(LoadtestError::system("listen"))?;
        let (rules, watched) = watch::channel(ProxyRules::default());
        let injected = Arc::new(Injected::default());
        let of_links = Arc::clone(&injected);
        runtime.spawn(async move {
            while let Ok((client, peer)) = listener.accept().await {
                let (watched, injected) = (watched.clone(), Arc::clone(&of_links));
                tokio::spawn(async move {
                    // a broker that is not there refuses through the proxy as well
                    if let Ok(server) = TcpStream::connect(target).await {
                        link::run(client, server, (peer.port(), address.port()), watched, injected).await;
                    }
                });
            }
        });
        Ok(Self { address, rules, injected, _runtime: runtime })
    }

    /// Where the mesh finds its broker.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on.
    pub(crate) fn set(&self, rules: ProxyRules) {
        self.rules.send_modify(|current| *current = ProxyRules { resets: current.resets, ..rules });
    }

    /// Resets all connections that are open.
    pub(crate) fn reset_all(&self) {
        self.rules.send_modify(|current| current.resets += 1);
    }

    /// How many frames a cut has held back.
    pub(crate) fn held(&self) -> u64 {
        self.injected.held.load(Ordering::Relaxed)
    }

    /// How many answers were dropped, replaced or given instead of the broker.
    pub(crate) fn injected(&self) -> u64 {
        self.injected.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::frames::api;
    use super::rules::{CutKind, ErrorInjection, NetworkCut};
    use super::*;

    /// Answers every frame with its correlation number and 16 zeros.
    fn broker() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
        address
    }

    fn serve(mut stream: TcpStream) {
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            let answer = [&20_u32.to_be_bytes()[..], &request[4..8], &[0; 16]].concat();
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }

    fn exchange(stream: &mut TcpStream, api: i16, correlation: i32) -> std::io::Result<Vec<u8>> {
        let head = [&api.to_be_bytes()[..], &3_i16.to_be_bytes(), &correlation.to_be_bytes()].concat();
        stream.write_all(&[&8_u32.to_be_bytes()[..], &head].concat())?;
        let mut answer = vec![0; 24];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    fn connected(proxy: &BrokerProxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream
    }

    #[test]
    fn errors_are_put_into_one_of_so_many_answers_of_the_wanted_kinds() {
        let proxy = BrokerProxy::start("127.0.0.1:0".parse().unwrap(), broker()).unwrap();
        let mut client = connected(&proxy);
        let injection = ErrorInjection { apis: &[api::HEARTBEAT], code: 14, every: 2, done: true };
        proxy.set(ProxyRules { injection: Some(injection), ..ProxyRules::default() });
        let answers = [api::HEARTBEAT, api::HEARTBEAT, 3].map(|api| exchange(&mut client, api, 5).unwrap()[13]);
        assert_eq!(answers, [0, 14, 0]);
        assert_eq!(proxy.injected(), 1);
    }

    #[test]
    fn a_cut_holds_bytes_back_and_its_end_lets_them_pass() {
        let proxy = BrokerProxy::start("127.0.0.1:0".parse().unwrap(), broker()).unwrap();
        let mut client = connected(&proxy);
        for kind in [CutKind::Both, CutKind::ToBroker, CutKind::ToClient] {
            let cut = NetworkCut { pids: vec![std::process::id()], kind };
            proxy.set(ProxyRules { cut: Some(cut), ..ProxyRules::default() });
            assert!(exchange(&mut client, 3, 9).is_err(), "{kind:?}");
            proxy.set(ProxyRules::default());
            let mut late = [0; 24];
            client.read_exact(&mut late).unwrap();
            assert_eq!(late[4..8], 9_i32.to_be_bytes());
        }
        let others = NetworkCut { pids: vec![1], kind: CutKind::Both };
        proxy.set(ProxyRules { cut: Some(others), ..ProxyRules::default() });
        assert!(exchange(&mut client, 3, 10).is_ok());
    }

    #[test]
    fn resets_half_open_connections_and_dropped_answers_end_what_they_should() {
        let proxy = BrokerProxy::start("127.0.0.1:0".parse().unwrap(), broker()).unwrap();
        let mut client = connected(&proxy);
        exchange(&mut client, 3, 1).unwrap();
        proxy.reset_all();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);

        let mut client = connected(&proxy);
        proxy.set(ProxyRules { drop_produce_answers: Some(2), ..ProxyRules::default() });
        assert!(exchange(&mut client, api::PRODUCE, 1).is_ok());
        assert!(exchange(&mut client, api::PRODUCE, 2).is_err());
        assert!(exchange(&mut client, 3, 3).is_err(), "its connection has ended");

        let mut client = connected(&proxy);
        exchange(&mut client, 3, 1).unwrap();
        let cut = NetworkCut { pids: vec![std::process::id()], kind: CutKind::HalfOpen };
        proxy.set(ProxyRules { cut: Some(cut), ..ProxyRules::default() });
        std::thread::sleep(Duration::from_millis(100));
        proxy.set(ProxyRules::default());
        let silent = exchange(&mut client, 3, 2).unwrap_err().kind();
        assert!(matches!(silent, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{silent:?}");
        assert!(exchange(&mut connected(&proxy), 3, 3).is_ok());
    }
}
