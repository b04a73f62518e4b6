//! The section `[http]`: the HTTP door, its limits and its TLS.

use std::net::SocketAddr;
use std::time::Duration;

use forebay_runtime::{Problems, duration, size};
use serde::Deserialize;

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address of the door.
    pub listen: SocketAddr,
    /// Bytes.
    #[serde(with = "size")]
    pub max_body: usize,
    /// Rows of one request.
    pub max_rows: usize,
    /// Rows of all requests that wait.
    pub in_flight: usize,
    /// Requests that are read or wait.
    pub max_requests: usize,
    /// Bytes of all bodies that are being read.
    #[serde(with = "size")]
    pub body_memory: usize,
    /// Threads.
    pub workers: usize,
    /// Of one worker.
    pub max_connections: usize,
    /// Of an idle connection.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// For the head of a request.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// For its body.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// Origins of pages that may call; `*` is any, none is no CORS.
    pub cors_origins: Vec<String>,
    /// Certificates.
    pub tls: Tls,
}

/// `[http.tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the chain; empty for no TLS.
    pub cert_file: String,
    /// PEM file of its key.
    pub key_file: String,
    /// PEM file of the authorities of clients; empty asks clients for no certificate.
    pub client_ca_file: String,
    /// Between two looks at the files.
    #[serde(with = "duration")]
    pub refresh: Duration,
}

impl Tls {
    /// Whether the door speaks TLS.
    pub fn is_on(&self) -> bool {
        !self.cert_file.is_empty()
    }
}

impl Http {
    pub(super) fn check(&self, problems: &mut Problems) {
        let counts = [
            ("http.max_body", self.max_body),
            ("http.max_rows", self.max_rows),
            ("http.max_requests", self.max_requests),
            ("http.workers", self.workers),
            ("http.max_connections", self.max_connections),
        ];
        for (key, _) in counts.iter().filter(|(_, value)| *value == 0) {
            problems.add(*key, "is 0, expected at least 1");
        }
        for (key, time) in [("http.head_timeout", self.head_timeout), ("http.body_timeout", self.body_timeout)] {
            if time.is_zero() {
                problems.add(key, "is 0, expected a time");
            }
        }
        if self.in_flight < self.max_rows {
            let text =
                format!("is {}, less than the {} rows of one request (http.max_rows)", self.in_flight, self.max_rows);
            problems.add("http.in_flight", text);
        }
        if self.body_memory < self.max_body {
            let text = format!("is {}, less than one body may have (http.max_body)", self.body_memory);
            problems.add("http.body_memory", text);
        }
        for origin in &self.cors_origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let fine =
                origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@']));
            if !fine {
                problems.add("http.cors_origins", format!("holds {origin:?}, expected scheme and host, or \"*\""));
            }
        }
        self.tls.check(problems);
    }
}

impl Tls {
    fn check(&self, problems: &mut Problems) {
        match (self.cert_file.is_empty(), self.key_file.is_empty()) {
            (true, false) => problems.add("http.tls.cert_file", "is empty while http.tls.key_file is set"),
            (false, true) => problems.add("http.tls.key_file", "is empty while http.tls.cert_file is set"),
            (true, true) if !self.client_ca_file.is_empty() => {
                problems.add(
                    "http.tls.client_ca_file",
                    "is set without http.tls.cert_file: clients show certificates over TLS alone",
                );
            }
            (false, false) => {
                if let Err((key, why)) = crate::tls::Certificates::open(self) {
                    problems.add(key, why);
                }
            }
            (true, true) => {}
        }
        if self.refresh < Duration::from_millis(50) {
            problems.add("http.tls.refresh", "is under 50ms, expected at least that");
        }
    }
}
