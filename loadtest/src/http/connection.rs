//! One keep-alive connection of the open loop: written by the thread that has a due request, read by a task.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;

use super::wire::{self, Response};
use crate::error::LoadtestError;

/// How long a connection may take to open, or to take a request.
const SOCKET_LIMIT: Duration = Duration::from_secs(5);

/// The writing half, and which request is under way.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Number of the request under way, plus one; 0 = none.
    under_way: AtomicU64,
}

impl Connection {
    /// Opens a connection; returns it together with its reading half.
    pub(crate) fn open(endpoint: &wire::Endpoint) -> Result<(Self, TcpStream), LoadtestError> {
        let what = || format!("connect to {}", endpoint.address);
        let stream =
            TcpStream::connect_timeout(&endpoint.address, SOCKET_LIMIT).map_err(LoadtestError::system(what()))?;
        let half =
            stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).and_then(|()| stream.try_clone());
        let half = half.map_err(LoadtestError::system(what()))?;
        Ok((Self { stream, under_way: AtomicU64::new(0) }, half))
    }

    /// Sends request `index`. On failure returns whether the request still belongs to the caller (`true`) or was
    /// already given up by the reader, which saw the connection end.
    pub(crate) fn send(&self, index: u64, request: &[u8]) -> Result<(), bool> {
        self.under_way.store(index + 1, Ordering::Release);
        self.write(request).map_err(|_| self.finish().is_some())
    }

    /// Takes the request that is under way.
    pub(crate) fn finish(&self) -> Option<u64> {
        self.under_way.swap(0, Ordering::AcqRel).checked_sub(1)
    }

    fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let limit = Instant::now() + SOCKET_LIMIT;
        while !bytes.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < limit => {
                    std::thread::sleep(Duration::from_micros(50));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads responses until the connection ends, and calls `on` for each with its body and the time it was complete.
pub(crate) async fn read_responses(half: TcpStream, mut on: impl FnMut(Response, &[u8], Instant)) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::from_std(half)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let now = Instant::now();
        while let Some(response) = wire::response(&buffer).map_err(io::Error::other)? {
            on(response, &buffer[response.body..response.end], now);
            buffer.drain(..response.end);
            if response.close {
                return Ok(());
            }
        }
    }
}
