//! The HTTP loops against small servers in this process.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use super::HttpArgs;
use crate::report::Report;

#[derive(Debug, Parser)]
struct TestCommandLine {
    #[command(flatten)]
    args: HttpArgs,
}

fn measure(arguments: &[&str]) -> Report {
    let line = TestCommandLine::try_parse_from([&["test"], arguments].concat()).unwrap();
    line.args.measure().unwrap()
}

/// A server that answers each request with what `answer` makes of its number and request id; nothing = it closes the
/// connection.
fn serve(answer: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            std::thread::spawn(move || converse(stream, |id| answer(count.fetch_add(1, Ordering::SeqCst), id)));
        }
    });
    url
}

fn converse(mut stream: TcpStream, answer: impl Fn(&str) -> Option<String>) {
    let (mut buffer, mut chunk) = (Vec::new(), [0; 65_536]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&buffer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length: usize = head.split("content-length: ").nth(1).unwrap().trim().parse().unwrap();
        if body.len() < length {
            continue;
        }
        buffer.clear();
        let id = body.split('"').nth(3).unwrap();
        let Some(body) = answer(id) else { return };
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

fn result(id: &str) -> String {
    format!(r#"{{"request_id":"{id}","prediction":1.5,"model_version":"v1","timestamp":0}}"#)
}

/// Answers at once, but is frozen for the first 400 ms of every 1,000 ms.
fn freezing() -> String {
    let start = Instant::now();
    serve(move |_, id| {
        let phase = start.elapsed().as_millis() % 1000;
        if phase < 400 {
            std::thread::sleep(Duration::from_millis((400 - phase) as u64));
        }
        Some(result(id))
    })
}

#[test]
fn the_open_loop_sees_a_freeze_that_a_closed_loop_omits() {
    let open = measure(&["--url", &freezing(), "--rate", "300", "--seconds", "2", "--warmup", "0.5"]);
    assert!(open.clean(false), "{open}");
    assert!(open.latency_ms.p90 > 150.0, "40 % of the schedule falls into a freeze: {open}");
    let closed = measure(&["--url", &freezing(), "--closed", "2", "--seconds", "2", "--warmup", "0.5"]);
    assert!(closed.clean(false) && closed.answered > 200, "{closed}");
    assert!(closed.latency_ms.p90 < 50.0, "closed callers wait out the freeze instead of measuring it: {closed}");
}

#[test]
fn waiting_for_a_connection_counts_as_latency() {
    let url = serve(|_, id| {
        std::thread::sleep(Duration::from_millis(20));
        Some(result(id))
    });
    // 2 connections of 20 ms each carry 100/s; the schedule wants 200/s
    let report =
        measure(&["--url", &url, "--rate", "200", "--seconds", "1", "--warmup", "0", "--concurrency-cap", "2"]);
    assert_eq!((report.sent, report.answered, report.lost), (200, 200, 0), "{report}");
    assert!(report.latency_ms.max > 700.0, "{report}");
}

#[test]
fn closed_connections_lose_their_request_and_no_other() {
    let url = serve(|number, id| (number % 50 != 49).then(|| result(id)));
    let report = measure(&["--url", &url, "--rate", "400", "--seconds", "0.5", "--warmup", "0"]);
    assert_eq!((report.sent, report.lost, report.duplicates), (200, 4, 0), "{report}");
    assert!(!report.clean(true));
}

#[test]
fn somebody_elses_answer_and_errors_are_counted() {
    let url = serve(|number, id| match number {
        3 => Some(result("ffffffff-1")),
        5 => {
            Some(format!(r#"{{"request_id":"{id}","prediction":null,"error":{{"code":"overloaded","message":"x"}}}}"#))
        }
        _ => Some(result(id)),
    });
    let report = measure(&["--url", &url, "--rate", "200", "--seconds", "0.1", "--warmup", "0"]);
    assert_eq!((report.unknown, report.lost, report.errors.get("overloaded")), (1, 1, Some(&1)), "{report}");
}

#[test]
fn several_rows_need_several_predictions() {
    let url = serve(|number, id| {
        let list = if number == 0 { "1.0,2.0" } else { "1.0,2.0,3.0" };
        Some(format!(r#"{{"request_id":"{id}","predictions":[{list}]}}"#))
    });
    let report = measure(&["--url", &url, "--rate", "100", "--rows", "3", "--seconds", "0.1", "--warmup", "0"]);
    assert_eq!((report.answered, report.errors.get("2_of_3_rows")), (10, Some(&1)), "{report}");
}

#[test]
fn no_server_means_refused_and_not_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let report = measure(&["--url", &url, "--rate", "100", "--seconds", "0.1", "--warmup", "0"]);
    assert_eq!((report.refused, report.lost, report.answered), (10, 0, 0), "{report}");
    assert!(!report.clean(false));
}
