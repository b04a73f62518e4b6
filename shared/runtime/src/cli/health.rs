//! `health`: the readiness probe of an image that has neither a shell nor curl.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Bounds the connection, and each read and write.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes that are read at most. A readiness report is far smaller, but another program may listen there.
const MAX_RESPONSE: u64 = 256 * 1024;

/// Requests `/health/ready` from the admin endpoint at `listen`; an unspecified address means this machine.
///
/// # Errors
/// The report of a service that is not ready, or why none was received.
pub fn check_health(listen: SocketAddr) -> Result<String, String> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, listen.port());
    let response = request(address).map_err(|error| format!("{address} (admin.listen) does not answer: {error}"))?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((response.as_str(), ""));
    let body = body.trim().to_owned();
    match head.split(' ').nth(1) {
        Some("200") => Ok(body),
        Some("503") => Err(body),
        _ => Err(format!("{address} (admin.listen) is not a Forebay admin endpoint")),
    }
}

fn request(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /health/ready HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE).read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}
