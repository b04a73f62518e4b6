//! HTTP/1.1 as far as a load generator needs it: one request form, responses with a length.

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::error::LoadtestError;

/// The address that requests go to, and the head of each request.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    head: String,
}

/// A complete response at the beginning of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Where the body begins.
    pub(crate) body: usize,
    /// Where it ends, and the next response begins.
    pub(crate) end: usize,
    /// Whether the server closes the connection behind it.
    pub(crate) close: bool,
}

impl Endpoint {
    /// Parses `http://host:port[/path]`; without a path, `/v1/predict`.
    pub(crate) fn parse(url: &str) -> Result<Self, LoadtestError> {
        let wrong = |why: String| LoadtestError::Input(format!("--url {url:?}: {why}"));
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("expected http://HOST:PORT".to_owned()))?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let path = if path == "/" { "/v1/predict" } else { path };
        let named = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut addresses = named.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| wrong("no address".to_owned()))?;
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: ");
        Ok(Self { address, head })
    }

    /// Writes a whole request into `out`, which is cleared first.
    pub(crate) fn write_request(&self, body: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.head.as_bytes());
        let _infallible = write!(out, "{}\r\n\r\n", body.len());
        out.extend_from_slice(body);
    }
}

/// Looks for a complete response at the beginning of `buffer`; `None` = more bytes are needed.
pub(crate) fn response(buffer: &[u8]) -> Result<Option<Response>, String> {
    let Some(end_of_head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if buffer.len() > 65_536 { Err("response head above 64 KiB".to_owned()) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&buffer[..end_of_head]).map_err(|_| "response head is not text".to_owned())?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status =
        status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("not an HTTP/1.1 status line: {status_line:?}"))?;
    let (mut length, mut close) = (None, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            close = value.trim().eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("chunked responses are not supported by this client".to_owned());
        }
    }
    let body = end_of_head + 4;
    let end = body + length.ok_or_else(|| "response without content-length".to_owned())?;
    Ok((buffer.len() >= end).then_some(Response { status, body, end, close }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_recognised_only_when_it_is_complete() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhelloHTTP/1.1";
        for cut in 0..whole.len() - 8 {
            assert_eq!(response(&whole[..cut]).unwrap(), None, "cut at {cut}");
        }
        let found = response(whole).unwrap().unwrap();
        assert_eq!((found.status, found.close), (200, true));
        assert_eq!(&whole[found.body..found.end], b"hello");
    }

    #[test]
    fn what_this_client_cannot_read_is_an_error_and_not_a_hang() {
        assert!(response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(response(b"SSH-2.0\r\n\r\n").is_err());
        assert!(response(&[b'x'; 70_000]).is_err());
    }

    #[test]
    fn addresses() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8080").unwrap();
        let mut out = Vec::new();
        endpoint.write_request(b"{}", &mut out);
        assert!(
            out.starts_with(b"POST /v1/predict HTTP/1.1\r\nhost: 127.0.0.1:8080\r\n")
                && out.ends_with(b"content-length: 2\r\n\r\n{}")
        );
        assert_eq!(Endpoint::parse("http://127.0.0.1/x").unwrap().address.port(), 80);
        assert!(Endpoint::parse("https://127.0.0.1").is_err());
    }
}
