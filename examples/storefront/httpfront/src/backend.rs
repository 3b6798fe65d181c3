//! The client of the backend: every address of its name is tried, once more with a fresh look at
//! the name when all failed. A GET may be sent twice; nothing else is sent here.

use crate::dns::{Resolver, random};
use serve::http::{fill, head_end, split_head};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// Longest silence of a backend that was asked.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Time after which no further address is tried.
const GIVE_UP: Duration = Duration::from_secs(3);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest time that an address is used without asking for the name again.
const KEPT_MAX: Duration = Duration::from_secs(1);
/// Most connections kept for the next request.
const IDLE_MAX: usize = 128;

/// A service that is called by name.
pub(crate) struct Backend {
    name: String,
    port: u16,
    resolver: Resolver,
    /// Guards connections and addresses that are worth keeping; held for moves only.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    addresses: Vec<Ipv4Addr>,
    until: Option<Instant>,
    idle: Vec<(Ipv4Addr, TcpStream)>,
}

impl Backend {
    /// Takes `name:port`.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let wrong = || format!("BACKEND is {text:?}, but must be name:port");
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_not_a_number| wrong())?;
        let resolver = Resolver::from_system();
        Ok(Self { name: name.into(), port, resolver, kept: Mutex::default() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of `GET /`.
    pub(crate) fn get(&self) -> Result<String, String> {
        let until = Instant::now() + GIVE_UP;
        match self.try_all(&self.addresses()?, until) {
            Ok(body) => Ok(body),
            Err(why) if Instant::now() > until => Err(why),
            Err(_stale) => self.try_all(&self.fresh_addresses()?, until),
        }
    }

    fn addresses(&self) -> Result<Vec<Ipv4Addr>, String> {
        let kept = self.kept();
        if kept.until.is_some_and(|until| until > Instant::now()) {
            return Ok(kept.addresses.clone());
        }
        drop(kept);
        self.fresh_addresses()
    }

    fn fresh_addresses(&self) -> Result<Vec<Ipv4Addr>, String> {
        let found = self.resolver.addresses(&self.name)?;
        let mut kept = self.kept();
        kept.until = Some(Instant::now() + found.ttl.min(KEPT_MAX));
        kept.addresses.clone_from(&found.addresses);
        // whoever is no longer listed is about to stop
        kept.idle.retain(|(address, _)| found.addresses.contains(address));
        Ok(found.addresses)
    }

    fn try_all(&self, addresses: &[Ipv4Addr], until: Instant) -> Result<String, String> {
        let mut last = "it has no address".to_owned();
        let first = random() as usize % addresses.len().max(1);
        for address in addresses[first..].iter().chain(&addresses[..first]) {
            match self.try_one(*address) {
                Ok(body) => return Ok(body),
                Err(error) => last = format!("{address}:{}: {error}", self.port),
            }
            if Instant::now() > until {
                break;
            }
        }
        Err(last)
    }

    fn try_one(&self, address: Ipv4Addr) -> io::Result<String> {
        let stream = match self.idle_connection(address) {
            Some(stream) => stream,
            None => {
                let to = SocketAddr::from((address, self.port));
                let stream = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(READ_TIMEOUT))?;
                stream.set_write_timeout(Some(READ_TIMEOUT))?;
                stream
            }
        };
        let (body, stays) = exchange(&stream, &self.name)?;
        let mut kept = self.kept();
        if stays && kept.idle.len() < IDLE_MAX {
            kept.idle.push((address, stream));
        }
        Ok(body)
    }

    /// A kept connection to this address that its backend has not closed.
    fn idle_connection(&self, address: Ipv4Addr) -> Option<TcpStream> {
        loop {
            let mut kept = self.kept();
            let at = kept.idle.iter().rposition(|(a, _)| *a == address)?;
            let (_, stream) = kept.idle.swap_remove(at);
            drop(kept);
            if is_quiet(&stream).is_ok_and(|quiet| quiet) {
                return Some(stream);
            }
        }
    }
}

/// Is there neither an end nor an unasked byte to read?
fn is_quiet(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let looked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
}

/// Asks, and says whether the connection can be used again.
fn exchange(mut stream: &TcpStream, name: &str) -> io::Result<(String, bool)> {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {name}\r\n\r\n").as_bytes())?;
    let mut buffer = Vec::with_capacity(512);
    let mut ended = false;
    loop {
        if let Some(whole) = parse(&buffer, ended).map_err(io::Error::other)? {
            return Ok(whole);
        }
        if ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if buffer.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("the answer is over 64 KiB"));
        }
        ended = fill(stream, &mut buffer)? == 0;
    }
}

/// The body and whether the connection stays, once the answer is whole.
fn parse(bytes: &[u8], ended: bool) -> Result<Option<(String, bool)>, String> {
    let Some(end) = head_end(bytes) else { return Ok(None) };
    let (first, headers) = split_head(&bytes[..end]).ok_or("not an HTTP answer")?;
    let status = first.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("it answered {first:?}"));
    }
    let header = |name: &str| headers.iter().find(|(k, _)| k == name).map(|(_, v)| *v);
    if header("transfer-encoding").is_some() {
        return Err("it answered in chunks, which are not understood here".into());
    }
    let body = &bytes[end..];
    let length = match header("content-length") {
        Some(text) => text.parse().map_err(|error| format!("content-length {text:?}: {error}"))?,
        None if ended => body.len(),
        None => return Ok(None),
    };
    let Some(body) = body.get(..length) else { return Ok(None) };
    let text = String::from_utf8_lossy(body).into_owned();
    let closes = header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    Ok(Some((text, !closes && !ended && bytes.len() == end + length)))
}

#[cfg(test)]
mod tests;
