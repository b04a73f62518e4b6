//! A client that sends exactly the bytes it is given, one connection a request.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// What came back.
#[derive(Clone, Debug)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpReply {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; as a JSON string when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Value::String(self.text()))
    }

    /// Whether it is an answer, or a refusal for a reason that does not pass; others are worth repeating. A busy server may
    /// not have read the request in its time.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.status < 500 && ![408, 429].contains(&self.status)
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().find(found).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }
}

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> Result<HttpReply> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    send(address, request.as_bytes(), ANSWER_TIMEOUT)
}

/// `POST path` of JSON.
pub fn post(address: SocketAddr, path: &str, body: &str) -> Result<HttpReply> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    send(address, format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes(), ANSWER_TIMEOUT)
}

/// `POST /v1/predict`.
pub fn predict(address: SocketAddr, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Result<HttpReply> {
    let json = [("content-type", "application/json")];
    request(address, "POST", "/v1/predict", &[&json, headers].concat(), body)
}

/// Any request with a body.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Result<HttpReply> {
    request_within(address, method, path, headers, body, ANSWER_TIMEOUT)
}

/// As [`request`], with a bound on how long each read may take.
pub fn request_within(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
    within: Duration,
) -> Result<HttpReply> {
    let bytes = request_bytes(address, method, path, headers, body.as_ref());
    send(address, &bytes, within)
}

/// The bytes of a request that ends its connection.
#[must_use]
pub fn request_bytes(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn send(address: SocketAddr, request: &[u8], within: Duration) -> Result<HttpReply> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    exchange(&mut stream, request)
}

/// Sends these bytes and reads until the server closes the connection. The stream has timeouts of its own.
pub fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Result<HttpReply> {
    // a server may answer, and close, before it has read everything
    let written = stream.write_all(request).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        written?;
        read?;
    }
    let whole = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let split = whole.ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "the connection closed without an answer"))?;
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, head.clone()))?;
    let mut reply = HttpReply { status, head, body: answer[split + 4..].to_vec() };
    if reply.header("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
        reply.body = unchunk(&reply.body);
    } else if let Some(length) = reply.header("content-length").and_then(|it| it.parse::<usize>().ok())
        && reply.body.len() != length
    {
        return Err(Error::new(ErrorKind::UnexpectedEof, format!("{} of {length} bytes", reply.body.len())));
    }
    Ok(reply)
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && end + 2 + size <= bytes.len()) else { break };
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
    body
}
