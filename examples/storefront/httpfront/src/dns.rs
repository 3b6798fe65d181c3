//! A stub resolver for IPv4 addresses that reads `/etc/resolv.conf`: a static binary in an empty
//! image has no getaddrinfo to ask.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Longest answer over UDP that is taken, in bytes.
const UDP_BYTES_MAX: usize = 4096;
/// Times that every server is asked.
const ROUNDS: usize = 2;

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// How long it may be kept.
    pub(crate) ttl: Duration,
}

/// Any 64 bits: std seeds its hash maps from the kernel.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Resolver {
    pub(crate) fn from_system() -> Self {
        Self::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let timeout = Duration::from_secs(1);
        let mut found = Self { servers: vec![], search: vec![], ndots: 1, timeout };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    found.servers.extend(server.map(|ip| SocketAddr::new(ip, 53)));
                }
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    found.ndots = ndots.unwrap_or(found.ndots);
                }
                _ => {}
            }
        }
        if found.servers.is_empty() {
            found.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        found
    }

    /// The names to ask for, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.into()];
        }
        let mut names: Vec<_> = self.search.iter().map(|s| format!("{name}.{s}")).collect();
        let first = name.matches('.').count() >= self.ndots;
        names.insert(if first { 0 } else { names.len() }, name.into());
        names
    }

    /// The addresses of a name, at least one.
    pub(crate) fn addresses(&self, name: &str) -> Result<Found, String> {
        if let Ok(address) = name.parse() {
            return Ok(Found { addresses: vec![address], ttl: Duration::MAX });
        }
        for candidate in self.candidates(name) {
            let found = self.ask(&candidate).map_err(|why| format!("resolving {name}: {why}"))?;
            if !found.addresses.is_empty() {
                return Ok(found);
            }
        }
        Err(format!("resolving {name}: there is no such name"))
    }

    fn ask(&self, name: &str) -> Result<Found, String> {
        let mut last = String::new();
        for server in (0..ROUNDS).flat_map(|_| &self.servers) {
            match self.ask_one(name, *server) {
                Ok(found) => return Ok(found),
                Err(error) => last = format!("{server}: {error}"),
            }
        }
        Err(last)
    }

    fn ask_one(&self, name: &str, server: SocketAddr) -> io::Result<Found> {
        let query = query(random() as u16, name)?;
        let any: SocketAddr =
            if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(self.timeout))?;
        socket.send(&query)?;
        let mut buffer = vec![0; UDP_BYTES_MAX];
        let n = loop {
            let n = socket.recv(&mut buffer)?;
            if n >= 12 && buffer[..2] == query[..2] {
                break n;
            }
        };
        buffer.truncate(n);
        if buffer[2] & 2 != 0 {
            // it did not fit
            let mut stream = TcpStream::connect_timeout(&server, self.timeout)?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.write_all(&(query.len() as u16).to_be_bytes())?;
            stream.write_all(&query)?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            buffer.resize(u16::from_be_bytes(length).into(), 0);
            stream.read_exact(&mut buffer)?;
        }
        parse_answer(&query, &buffer)
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn query(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    // recursion desired, one question
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(invalid("not a name"));
        }
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    // root, type A, class IN
    bytes.extend([0, 0, 1, 0, 1]);
    Ok(bytes)
}

/// The A records of an answer to `query`; none when there is no such name.
fn parse_answer(query: &[u8], answer: &[u8]) -> io::Result<Found> {
    let short = || invalid("the answer is cut short");
    let header = answer.get(..12).ok_or_else(short)?;
    let same = answer.get(12..query.len()).is_some_and(|q| q.eq_ignore_ascii_case(&query[12..]));
    if header[..2] != query[..2] || header[2] & 0x80 == 0 || !same {
        return Err(invalid("an answer to something else"));
    }
    match header[3] & 15 {
        0 | 3 => {}
        code => return Err(invalid(&format!("the server says error {code}"))),
    }
    let mut found = Found { addresses: vec![], ttl: Duration::MAX };
    let mut at = query.len();
    for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
        at = skip_name(answer, at).ok_or_else(short)?;
        let fixed = answer.get(at..at + 10).ok_or_else(short)?;
        let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = answer.get(at + 10..at + 10 + length).ok_or_else(short)?;
        if let (&[0, 1, 0, 1], &[a, b, c, d]) = (&fixed[..4], data) {
            found.addresses.push(Ipv4Addr::new(a, b, c, d));
        }
        found.ttl = found.ttl.min(Duration::from_secs(ttl.into()));
        at += 10 + length;
    }
    Ok(found)
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            n if n >= 0xc0 => return Some(at + 2),
            n => at += usize::from(n) + 1,
        }
    }
}

#[cfg(test)]
mod tests;
