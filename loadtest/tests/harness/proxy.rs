//! A TCP proxy that delays the answers of the server behind it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// A running proxy; its threads end with the test's process.
pub struct SlowProxy {
    pub address: SocketAddr,
    delay_us: Arc<AtomicU64>,
}

impl SlowProxy {
    /// In front of `target`, as fast as it is.
    pub fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let delay_us = Arc::new(AtomicU64::new(0));
        let (target, delay) = (target.to_owned(), Arc::clone(&delay_us));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || copy(from, to, None));
                let delay = Arc::clone(&delay);
                std::thread::spawn(move || copy(server, client, Some(&delay)));
            }
        });
        Self { address, delay_us }
    }

    /// Holds every later answer back for `time`.
    pub fn delay(&self, time: Duration) {
        self.delay_us.store(u64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

/// Bytes arrive when they are due and nothing waits for what came before it: latency, not a smaller capacity.
fn copy(mut from: TcpStream, mut to: TcpStream, delay: Option<&AtomicU64>) {
    let _ = to.set_nodelay(true);
    let (due, arriving) = channel::<(Instant, Vec<u8>)>();
    let mut end = to.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for (due, bytes) in arriving {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
    });
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let delay = Duration::from_micros(delay.map_or(0, |delay| delay.load(Ordering::Relaxed)));
        if due.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
            break;
        }
    }
    drop(due);
    let _ = writer.join();
    let _ = from.shutdown(Shutdown::Both);
    let _ = end.flush();
    let _ = end.shutdown(Shutdown::Both);
}
