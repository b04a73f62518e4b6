//! Which process has the other end of a connection on this machine, from `/proc`.

use std::path::Path;

/// Whether process `pid` has a TCP connection from `port` to `to`, both on the loopback interface.
pub(crate) fn has_connection(pid: u32, port: u16, to: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    inode(&table, port, to).is_some_and(|inode| holds(pid, &format!("socket:[{inode}]")))
}

/// The socket's number in the kernel's table; the columns are the slot, both ends as hexadecimal `address:port`, and seven
/// more before it.
fn inode(table: &str, port: u16, to: u16) -> Option<u64> {
    let (ours, theirs) = (format!(":{port:04X}"), format!(":{to:04X}"));
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let ends = fields.get(1)?.ends_with(&ours) && fields.get(2)?.ends_with(&theirs);
        ends.then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(socket)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_belongs_to_the_process_that_opened_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", to)).unwrap();
        let port = client.local_addr().unwrap().port();
        assert!(has_connection(std::process::id(), port, to));
        assert!(!has_connection(1, port, to), "not to the first process of the machine");
        assert!(!has_connection(std::process::id(), port.wrapping_add(1), to));
    }
}
