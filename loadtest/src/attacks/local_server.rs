//! A small HTTP server on this machine: an issuer that lies, and a collector of traces that counts.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::LoadtestError;

/// How the server answers a request.
#[derive(Debug, Clone)]
pub(crate) enum ServerAnswer {
    /// 200 with this body.
    Body(Vec<u8>),
    /// 200 with this piece again and again, until the client has enough.
    Endless(Vec<u8>),
    /// One byte every half a second.
    Slow,
    /// 302 to this address.
    Redirect(String),
    /// Nothing.
    Silence,
}

#[derive(Debug)]
struct Shared {
    answer: Mutex<ServerAnswer>,
    requests: AtomicU64,
    /// How many times the bodies of requests held the word.
    words: AtomicU64,
    word: &'static [u8],
    ended: AtomicBool,
}

/// The server; ended when it is dropped.
#[derive(Debug)]
pub(crate) struct LocalServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LocalServer {
    /// Starts a server that counts how often `word` occurs in the bodies it gets.
    pub(crate) fn start(answer: ServerAnswer, word: &'static [u8]) -> Result<Self, LoadtestError> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(LoadtestError::system("listen"))?;
        let address = listener.local_addr().map_err(LoadtestError::system("listen"))?;
        listener.set_nonblocking(true).map_err(LoadtestError::system("listen"))?;
        let (requests, words, ended) = Default::default();
        let shared = Arc::new(Shared { answer: Mutex::new(answer), requests, words, word, ended });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !of_thread.ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let shared = Arc::clone(&of_thread);
                        std::thread::spawn(move || drop(serve(&stream, &shared)));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Answers like this from now on.
    pub(crate) fn answer(&self, answer: ServerAnswer) {
        *self.shared.answer.lock() = answer;
    }

    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn words(&self) -> u64 {
        self.shared.words.load(Ordering::Relaxed)
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let body = read_request(stream)?;
    shared.requests.fetch_add(1, Ordering::Relaxed);
    if !shared.word.is_empty() {
        let found = body.windows(shared.word.len()).filter(|window| *window == shared.word).count();
        shared.words.fetch_add(found as u64, Ordering::Relaxed);
    }
    let answer = shared.answer.lock().clone();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    match answer {
        ServerAnswer::Body(body) => {
            write!(stream, "{head}content-length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)
        }
        ServerAnswer::Redirect(to) => {
            write!(stream, "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        ServerAnswer::Endless(piece) => {
            write!(stream, "{head}\r\n")?;
            repeat(stream, &piece, Duration::ZERO, shared)
        }
        ServerAnswer::Slow => {
            write!(stream, "{head}\r\n")?;
            repeat(stream, b" ", Duration::from_millis(500), shared)
        }
        ServerAnswer::Silence => {
            // until the client has had enough
            stream.read(&mut [0]).map(|_| ())
        }
    }
}

/// Writes the piece until the client closes the connection.
fn repeat(mut stream: &TcpStream, piece: &[u8], pause: Duration, shared: &Shared) -> std::io::Result<()> {
    while !shared.ended.load(Ordering::Relaxed) {
        stream.write_all(piece)?;
        std::thread::sleep(pause);
    }
    Ok(())
}

/// The body of a request with a length; nothing if it has none.
fn read_request(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or(0);
            if bytes.len() >= head + length {
                return Ok(bytes.split_off(head));
            }
        }
        if read == 0 {
            return Ok(Vec::new());
        }
    }
}
