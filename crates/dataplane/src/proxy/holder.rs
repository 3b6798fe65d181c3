//! Who holds a port: read from /proc, for the message of a listener that cannot be bound. Finds
//! nobody where this process may not look into others.

use model::service::Transport;
use std::fs;
use std::path::Path;

/// `nginx, pid 12` of a process that holds `port`, when it can be seen.
pub(super) fn find(port: u16, transport: Transport) -> Option<String> {
    let names: [&str; 2] = match transport {
        Transport::Tcp => ["tcp", "tcp6"],
        Transport::Udp => ["udp", "udp6"],
    };
    let mut inodes = Vec::new();
    for name in names {
        if let Ok(table) = fs::read_to_string(Path::new("/proc/net").join(name)) {
            inodes.extend(holding(&table, port, transport));
        }
    }
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if wanted.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|fd| {
            fs::read_link(fd.path())
                .is_ok_and(|link| link.to_str().is_some_and(|l| wanted.iter().any(|w| w == l)))
        });
        if !holds {
            return None;
        }
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(format!("{}, pid {pid}", name.trim()))
    })
}

/// Inodes of the sockets of `table` (a file of /proc/net) that hold `port`.
fn holding(table: &str, port: u16, transport: Transport) -> Vec<u64> {
    let row = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let status = fields.nth(1)?;
        let inode: u64 = fields.nth(5)?.parse().ok()?;
        let (_, hex) = local.rsplit_once(':')?;
        let listens = match transport {
            Transport::Tcp => status == "0A",
            Transport::Udp => true,
        };
        (listens && inode != 0 && u16::from_str_radix(hex, 16) == Ok(port)).then_some(inode)
    };
    table.lines().skip(1).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_a_listening_port_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 0000000000000000 100 0 0 10 0\n\
            \x20  1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0000000000000000 100 0 0 10 0\n\
            \x20  2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43 1 0000000000000000 100 0 0 10 0\n";
        assert_eq!(holding(table, 8080, Transport::Tcp), [41]);
        assert_eq!(holding(table, 8080, Transport::Udp), [41, 42]);
        assert!(holding(table, 443, Transport::Tcp).is_empty());
        assert!(holding("", 443, Transport::Tcp).is_empty());
    }

    #[test]
    fn our_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = find(port, Transport::Tcp).unwrap();
        assert!(found.ends_with(&format!("pid {}", std::process::id())), "{found}");
    }
}
