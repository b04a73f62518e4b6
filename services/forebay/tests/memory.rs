//! The whole mesh in a control group with the memory of a small pod, with what callers can fill filled: it stays below the
//! limit, and requests are answered meanwhile. `FOREBAY_MEMORY_SECONDS` says for how long.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]
#![allow(clippy::disallowed_methods, reason = "what a test reads from the environment is no setting")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(120);
/// As the manifests of ingestion and publishing say.
const POD: u64 = 512 << 20;
const ROW: &str = r#"{"features":[0.038,0.051,0.062,0.022,-0.044,-0.035,-0.043,-0.003,0.02,-0.018]}"#;
/// Most rows of one request.
const ROWS: usize = 1024;
/// Connections that are open and idle after a request with a large head.
const IDLE: usize = 100;
/// Bodies of which the end does not come.
const HALF_BODIES: usize = 16;

/// A control group with the memory of the pod; without the right to make one, none.
struct Group(Option<PathBuf>);

impl Group {
    fn new() -> Self {
        let name = format!("forebay-memory-test-{}", std::process::id());
        let made = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        Self(made.into_iter().find_map(|(mount, file)| {
            let folder = PathBuf::from(mount).join(&name);
            std::fs::create_dir(&folder).ok()?;
            let limited = std::fs::write(folder.join(file), POD.to_string()).is_ok();
            if !limited {
                std::fs::remove_dir(&folder).unwrap();
            }
            limited.then_some(folder)
        }))
    }

    /// `forebay up` in the group; without one the limit is set.
    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_forebay");
        let mut command = Command::new("sh");
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        match &self.0 {
            Some(folder) => {
                let procs = folder.join("cgroup.procs");
                command.args(["-c", &format!("echo $$ > '{}' && exec '{binary}' up", procs.display())]);
            }
            None => {
                command.args(["-c", &format!("exec '{binary}' up")]);
                command.env("FOREBAY__MEMORY__LIMIT", format!("{}B", POD / 5 * 4));
            }
        }
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // the process has been waited for; what it leaves is gone a moment later
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Some(folder) = &self.0
            && std::fs::remove_dir(folder).is_err()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Mesh {
    child: Child,
    admin: SocketAddr,
    http: SocketAddr,
    _group: Group,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mesh {
    fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (group, admin, http) = (Group::new(), free(), free());
        let mut command = group.command();
        command.env("FOREBAY__ADMIN__LISTEN", admin.to_string()).env("FOREBAY__HTTP__LISTEN", http.to_string());
        command.env("FOREBAY__GRPC__ENABLED", "false").env("FOREBAY__HTTP__BODY_TIMEOUT", "60s");
        // a slow machine answers late, which is not what this is about
        command.env("FOREBAY__HTTP__MAX_WAIT", "0s").env("FOREBAY__DELIVERY__TIMEOUT", "120s");
        command.env("FOREBAY__HTTP__KEEP_ALIVE", "60s").env("FOREBAY__MODELS__CACHE_DIR", "off");
        let mut mesh = Self { child: command.spawn().unwrap(), admin, http, _group: group };
        let deadline = Instant::now() + BOUND;
        while !call(admin, "GET /health/ready", "", "").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            assert!(mesh.child.try_wait().unwrap().is_none(), "it ended before it was ready");
            assert!(Instant::now() < deadline, "not ready in time");
            std::thread::sleep(Duration::from_millis(50));
        }
        mesh
    }

    /// The most memory that the process has had, in bytes.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// The values of the metrics whose line begins with `name`, by the rest of the line before the value.
    fn metric(&self, name: &str) -> Vec<(String, f64)> {
        let answer = call(self.admin, "GET /metrics", "", "").unwrap();
        let lines = answer.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        lines.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).collect()
    }

    fn part(&self, part: &str) -> f64 {
        let parts = self.metric("forebay_memory_budget_bytes");
        parts.iter().find(|(labels, _)| *labels == format!("{{part=\"{part}\"}}")).unwrap().1
    }
}

fn send(address: SocketAddr, line: &str, headers: &str, length: usize) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(BOUND))?;
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: a\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )?;
    Ok(stream)
}

/// One request on a connection of its own, and the answer.
fn call(address: SocketAddr, line: &str, headers: &str, body: &str) -> Option<String> {
    let mut stream = send(address, line, &format!("connection: close\r\n{headers}"), body.len()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

/// Rows that no request has had yet.
fn body(number: u64) -> String {
    let mut text = String::from("{\"features\":[");
    for row in 0..ROWS {
        let _infallible = write!(text, "{}[", if row > 0 { "," } else { "" });
        for column in 0..10 {
            let value = 1e-9 * (number * 10_000 + row as u64) as f64 + 0.001 * f64::from(column);
            let _infallible = write!(text, "{}{value}", if column > 0 { "," } else { "" });
        }
        text.push(']');
    }
    text + "]}"
}

/// Connections that hold what the server allows: large heads, and bodies of which the end does not come.
fn idle_connections(http: SocketAddr) -> Vec<TcpStream> {
    let head = format!("x-padding: {}\r\n", "x".repeat(100 << 10));
    let mut held: Vec<TcpStream> = (0..IDLE)
        .filter_map(|_| {
            let mut stream = send(http, "GET /v1/models", &head, 0).ok()?;
            stream.read_exact(&mut [0; 1]).ok()?;
            Some(stream)
        })
        .collect();
    held.extend((0..HALF_BODIES).filter_map(|_| {
        let mut stream = send(http, "POST /v1/predict", "", 1 << 20).ok()?;
        stream.write_all(&vec![b' '; 900 << 10]).ok()?;
        Some(stream)
    }));
    held
}

/// Ends the other threads, also when the test fails.
struct SetAtEnd<'f>(&'f AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_mesh_whose_budget_is_filled_stays_below_its_limit_and_answers() {
    let seconds = std::env::var("FOREBAY_MEMORY_SECONDS").map_or(5, |text| text.parse().unwrap());
    let mesh = Mesh::start();
    let limit = mesh.metric("forebay_memory_limit_bytes")[0].1;
    assert!((limit - (POD / 5 * 4) as f64).abs() < 1.0, "the limit of the process is {limit} bytes");
    let sum: f64 = mesh.metric("forebay_memory_budget_bytes").iter().map(|(_, bytes)| bytes).sum();
    assert!(sum <= limit && sum > limit * 0.9, "{sum} of {limit}");

    let (done, number, large) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let http = mesh.http;
    let answered = std::thread::scope(|scope| {
        let held = idle_connections(http);
        assert!(held.len() > IDLE, "{} connections", held.len());
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    let key = format!("idempotency-key: k{number}\r\n");
                    let answer = call(http, "POST /v1/predict", &key, &body(number)).unwrap_or_default();
                    large.fetch_add(u64::from(answer.starts_with("HTTP/1.1 200")), Ordering::Relaxed);
                }
            });
        }
        let _done = SetAtEnd(&done);
        let (start, mut answered) = (Instant::now(), 0);
        let filled = || {
            let kept = mesh.metric("forebay_publishing_kept_bytes")[0].1;
            let entries = mesh.metric("forebay_cache_entries")[0].1;
            kept > mesh.part("idempotent_answers") * 0.8 && entries * 400.0 > mesh.part("cache") * 0.5
        };
        while start.elapsed() < Duration::from_secs(seconds) || !filled() {
            let answer = call(http, "POST /v1/predict", "", ROW).unwrap_or_default();
            assert!(answer.starts_with("HTTP/1.1 200"), "a small request was not answered: {answer}");
            assert!(start.elapsed() < BOUND + Duration::from_secs(seconds), "not filled in time");
            answered += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        answered
    });
    let (peak, large) = (mesh.peak(), large.load(Ordering::Relaxed));
    println!("peak {} MiB of {} MiB; {answered} small and {large} large requests answered", peak >> 20, POD >> 20);
    assert!(peak < POD, "{} MiB", peak >> 20);
    assert!(large > 10 && answered > 10, "{large} large and {answered} small requests were answered");
}
