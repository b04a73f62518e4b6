//! The section `[http]`: the HTTP server, its limits and its TLS.

use std::net::SocketAddr;
use std::time::Duration;

use forebay_runtime::{Problems, address, duration, size};
use serde::Deserialize;

use crate::http::MAX_ITEMS;

/// How long a TLS handshake may take at most.
const MAX_HANDSHAKE: Duration = Duration::from_secs(2);

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Address to listen on.
    #[serde(with = "address")]
    pub listen: SocketAddr,
    /// Maximum size of one body, in bytes.
    #[serde(with = "size")]
    pub max_body: usize,
    /// Maximum number of rows in one request; at most 65,536.
    pub max_rows: usize,
    /// Maximum number of rows that wait for an answer, over all requests.
    pub in_flight: usize,
    /// Longest wait for an answer that may be expected of a request; zero for no bound.
    #[serde(with = "duration")]
    pub max_wait: Duration,
    /// Maximum number of requests that are read or wait.
    pub max_requests: usize,
    /// Maximum memory for bodies that are being read, over all requests, in bytes.
    #[serde(with = "size")]
    pub body_memory: usize,
    /// Number of worker threads.
    pub workers: usize,
    /// Maximum number of connections of one worker.
    pub max_connections: usize,
    /// How long an idle connection stays open.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// How long a client may take to send the head of a request.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// How long a client may take to send the body.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// Origins that may call from a browser; `*` for any, empty for no CORS.
    pub cors_origins: Vec<String>,
    /// Certificates.
    pub tls: HttpTlsSettings,
}

/// `[http.tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTlsSettings {
    /// PEM file of the certificate chain; empty for no TLS.
    pub cert_file: String,
    /// PEM file of the private key.
    pub key_file: String,
    /// PEM file of the authorities for client certificates; if empty, clients need no certificate.
    pub client_ca_file: String,
    /// Interval between two checks of the files.
    #[serde(with = "duration")]
    pub refresh: Duration,
}

impl HttpTlsSettings {
    /// Whether the server speaks TLS.
    pub fn is_on(&self) -> bool {
        !self.cert_file.is_empty()
    }
}

impl HttpSettings {
    /// How long the handshake of TLS may take, at any listener.
    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.head_timeout.min(MAX_HANDSHAKE)
    }

    /// Checks everything but the files.
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
                problems.add(key, "is 0, expected a duration");
            }
        }
        if self.max_rows > MAX_ITEMS {
            problems.add("http.max_rows", format!("is {}, expected at most {MAX_ITEMS}", self.max_rows));
        }
        if self.in_flight < self.max_rows {
            let text = format!(
                "is {}, less than the {} rows that one request may have (http.max_rows)",
                self.in_flight, self.max_rows
            );
            problems.add("http.in_flight", text);
        }
        if self.body_memory < self.max_body {
            let text = format!("is {}, less than the size that one body may have (http.max_body)", self.body_memory);
            problems.add("http.body_memory", text);
        }
        for origin in &self.cors_origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let valid =
                origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@']));
            if !valid {
                problems.add("http.cors_origins", format!("holds {origin:?}, expected scheme and host, or \"*\""));
            }
        }
    }
}
