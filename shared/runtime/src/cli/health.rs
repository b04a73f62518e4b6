//! `health`: the question an image without a shell or curl asks itself.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3);
/// A readiness report is far smaller; whatever else listens there is not read for ever.
const LONGEST_ANSWER: u64 = 256 * 1024;

/// Asks `/health/ready` of the admin endpoint at `listen`; an unspecified address means this machine.
///
/// # Errors
/// The report of a service that is not ready, or why there was none.
pub fn check_health(listen: SocketAddr) -> Result<String, String> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, listen.port());
    let answer = ask(address).map_err(|error| format!("{address} (admin.listen) does not answer: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let body = body.trim().to_owned();
    match head.split(' ').nth(1) {
        Some("200") => Ok(body),
        Some("503") => Err(body),
        _ => Err(format!("{address} (admin.listen) is no Forebay admin endpoint")),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /health/ready HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
