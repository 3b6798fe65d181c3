//! Who holds a port: the kernel's socket tables, and the process behind a socket where /proc lets
//! us see it. Parsing and matching are pure; only this network namespace is looked at.

use crate::Error;
use model::service::Transport;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// A port of the host: transport, number, address (`None` is all of them, IPv4 and IPv6).
pub type HostPort = (Transport, u16, Option<IpAddr>);

/// A socket that stands in the way of a wanted port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which one is wanted.
    pub wanted: HostPort,
    /// Address that the socket is bound to.
    pub ip: IpAddr,
    /// Who has it open; `None` when /proc does not show it to us.
    pub program: Option<Program>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// Its id; of several that share the socket the lowest.
    pub pid: u32,
    /// Its name, at most 15 bytes as the kernel keeps it.
    pub name: String,
}

impl fmt::Display for Holder {
    /// `nginx (pid 812)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            Some(Program { pid, name }) => write!(f, "{name} (pid {pid})"),
            None => write!(f, "a program that only root can see (bound to {})", self.ip),
        }
    }
}

/// A bound socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    transport: Transport,
    ip: IpAddr,
    port: u16,
    inode: u64,
}

/// Finds who stands in the way of each wanted port; at most one holder per port and address.
pub(crate) async fn listening(wanted: &[HostPort]) -> Result<Vec<Holder>, Error> {
    let wanted = wanted.to_vec();
    let found = tokio::task::spawn_blocking(move || look(&wanted)).await;
    found.unwrap_or_else(|e| {
        let source = std::io::Error::other(e);
        Err(Error::Sockets { path: "/proc/net".into(), source })
    })
}

fn look(wanted: &[HostPort]) -> Result<Vec<Holder>, Error> {
    let clashes = clashes(wanted, &bound()?);
    let inodes: BTreeSet<u64> = clashes.iter().map(|(_, b)| b.inode).collect();
    let programs =
        if inodes.is_empty() { BTreeMap::new() } else { programs(Path::new("/proc"), &inodes) };
    let mut found: Vec<(HostPort, Bound)> = clashes;
    if found.iter().any(|(_, b)| !programs.contains_key(&b.inode)) {
        // Nobody had it any more when the processes were looked at: closed meanwhile, perhaps.
        let still: BTreeSet<u64> = bound()?.into_iter().map(|b| b.inode).collect();
        found = still_there(found, &programs, &still);
    }
    Ok(found
        .into_iter()
        .map(|(wanted, b)| Holder { wanted, ip: b.ip, program: programs.get(&b.inode).cloned() })
        .collect())
}

/// Sockets that a process holds, or that are bound after the processes were looked at.
fn still_there(
    found: Vec<(HostPort, Bound)>,
    programs: &BTreeMap<u64, Program>,
    still: &BTreeSet<u64>,
) -> Vec<(HostPort, Bound)> {
    let there = |b: &Bound| programs.contains_key(&b.inode) || still.contains(&b.inode);
    found.into_iter().filter(|(_, b)| there(b)).collect()
}

/// All sockets that hold a port now.
fn bound() -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for (file, transport) in [
        ("/proc/net/tcp", Transport::Tcp),
        ("/proc/net/tcp6", Transport::Tcp),
        ("/proc/net/udp", Transport::Udp),
        ("/proc/net/udp6", Transport::Udp),
    ] {
        match std::fs::read_to_string(file) {
            Ok(text) => bound.extend(parse(transport, &text)),
            // A kernel without IPv6.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && file.ends_with('6') => {}
            Err(source) => return Err(Error::Sockets { path: PathBuf::from(file), source }),
        }
    }
    Ok(bound)
}

/// Which sockets a bind of each wanted port would run into.
fn clashes(wanted: &[HostPort], bound: &[Bound]) -> Vec<(HostPort, Bound)> {
    let mut found: Vec<(HostPort, Bound)> = Vec::new();
    for w in wanted {
        for b in bound.iter().filter(|b| clash(*w, b)) {
            if !found.iter().any(|(other, seen)| other == w && seen.ip == b.ip) {
                found.push((*w, *b));
            }
        }
    }
    found
}

fn clash((transport, port, ip): HostPort, bound: &Bound) -> bool {
    if transport != bound.transport || port != bound.port {
        return false;
    }
    match (ip, bound.ip) {
        (None, _) => true,
        // `::` holds IPv4 as well, but for sockets that are said to be IPv6 only; /proc does not
        // show which.
        (Some(_), IpAddr::V6(b)) if b.is_unspecified() => true,
        (Some(IpAddr::V6(w)), _) if w.is_unspecified() => true,
        (Some(IpAddr::V4(w)), IpAddr::V4(b)) => w == b || w.is_unspecified() || b.is_unspecified(),
        (Some(w), b) => w == b,
    }
}

/// Sockets in a `/proc/net/{tcp,tcp6,udp,udp6}` table that hold their port: TCP that listens, UDP
/// that is bound. Lines of another form are skipped.
fn parse(transport: Transport, text: &str) -> Vec<Bound> {
    text.lines().skip(1).filter_map(|line| parse_line(transport, line)).collect()
}

fn parse_line(transport: Transport, line: &str) -> Option<Bound> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let status = fields.nth(1)?;
    let inode: u64 = fields.nth(5)?.parse().ok()?;
    if transport == Transport::Tcp && status != LISTEN {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    Some(Bound { transport, ip: parse_ip(ip)?, port: u16::from_str_radix(port, 16).ok()?, inode })
}

/// The kernel prints each 32-bit word of an address as a number of its own byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            let ip = Ipv6Addr::from(bytes);
            Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
        }
        _ => None,
    }
}

/// Which process has each socket open. Processes that we may not look into are passed over.
fn programs(proc: &Path, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Program> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(proc) else { return found };
    let mut pids: Vec<u32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        if found.len() == inodes.len() {
            break;
        }
        let folder = proc.join(pid.to_string());
        let Ok(open) = std::fs::read_dir(folder.join("fd")) else { continue };
        for inode in open.filter_map(|fd| socket_inode(&std::fs::read_link(fd.ok()?.path()).ok()?))
        {
            if inodes.contains(&inode) && !found.contains_key(&inode) {
                let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
                found.insert(inode, Program { pid, name: name.trim_end().to_owned() });
            }
        }
    }
    found
}

/// 123 of `socket:[123]`.
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests;
