//! Whether a server speaks the Open Inference Protocol (version 2) over HTTP as its clients expect it: what Triton's, KServe's
//! and Seldon's clients send, and what must be refused and how. Works against any server.
//!
//! # Layout
//! - `server`: the server and the tensor that its model takes; `cases`, `refusals`: what is asked

mod cases;
mod refusals;
mod server;

use clap::Args;

use crate::error::LoadtestError;
use server::Server;

/// Asks a server of the Open Inference Protocol what its clients ask, and prints a table of what it got right. Its model
/// has to take one tensor of floats.
#[derive(Debug, Args)]
pub struct ConformanceArgs {
    /// Where it listens, http://HOST:PORT
    url: String,
    /// A model that it serves
    #[arg(long, default_value = "diabetes-rf-model")]
    model: String,
}

/// One question, and whether the answer is right.
struct Case {
    area: &'static str,
    what: &'static str,
    /// The answer's fault, if it has one.
    check: fn(&Server) -> Result<(), String>,
}

impl ConformanceArgs {
    /// Runs all cases; `true` if all passed.
    ///
    /// # Errors
    /// If the server cannot be reached, or does not describe its model.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        let server = Server::open(&self.url, &self.model).map_err(LoadtestError::Input)?;
        println!("| area | case | result |\n|---|---|---|");
        let (mut passed, cases) = (0, cases::all().chain(refusals::all()));
        let mut total = 0;
        for Case { area, what, check } in cases {
            let checked = check(&server);
            total += 1;
            passed += usize::from(checked.is_ok());
            let result =
                checked.map_or_else(|why| format!("**{}**", why.replace(['|', '\n'], " ")), |()| "ok".to_owned());
            println!("| {area} | {what} | {result} |");
        }
        println!("\n{passed} of {total} passed");
        Ok(passed == total)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that describes its model and answers everything else with 200 and an empty object.
    fn agreeable() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut head) = (stream.unwrap(), [0; 4096]);
                let read = stream.read(&mut head).unwrap();
                let metadata = r#"{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":[-1,2]}]}"#;
                let body = if head[..read].starts_with(b"GET /v2/models/m HTTP") { metadata } else { "{}" };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                drop(stream.write_all(head.as_bytes()));
            }
        });
        url
    }

    #[test]
    fn a_server_that_agrees_to_everything_fails_what_needs_an_answer() {
        let server = Server::open(&agreeable(), "m").unwrap();
        let lenient = ["health", "config"];
        for Case { area, what, check } in cases::all().chain(refusals::all()) {
            let failed = check(&server).is_err();
            assert!(failed || lenient.contains(&area), "{area}: {what}");
        }
        let args = ConformanceArgs { url: agreeable(), model: "m".into() };
        assert!(!args.run().unwrap());
        assert!(Server::open("http://127.0.0.1:1", "m").is_err() && Server::open("ftp://x", "m").is_err());
    }
}
