//! Where a check connects to: an address as it stands, `localhost`, `/etc/hosts`, and for all other
//! names our own DNS, which knows the names of services and asks the host's resolvers for the rest.

use crate::dns::Listening;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// A question that is not answered is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Times that a question is asked.
const ASKED_MAX: usize = 3;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1_232;
const TYPE_A: u16 = 1;

/// The addresses of `host:port`, or of a host with this port.
pub(super) async fn addresses(
    address: &str,
    port: Option<u16>,
    names: &watch::Receiver<Listening>,
) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = match port {
        Some(port) => (address, port),
        None => {
            let (host, port) = address.rsplit_once(':').ok_or("the address has no port")?;
            (host, port.parse().map_err(|_nan| format!("{port} is no port"))?)
        }
    };
    let host = host.trim_matches(['[', ']']);
    let found = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_name) if host.eq_ignore_ascii_case("localhost") => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_name) => named(host, names).await?,
    };
    Ok(found.into_iter().take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port)).collect())
}

async fn named(host: &str, names: &watch::Receiver<Listening>) -> Result<Vec<IpAddr>, String> {
    let file = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
    let known = in_hosts(&file, host);
    if !known.is_empty() {
        return Ok(known);
    }
    let server = names.borrow().values().find_map(|bound| bound.as_ref().ok().copied());
    let server = server.ok_or("names cannot be asked for: the DNS of this host does not listen")?;
    let id: u16 = rand::random();
    let question = question(id, host).ok_or("the name cannot be asked for")?;
    let broken = |error: std::io::Error| format!("lookup {host}: {error}");
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let socket = UdpSocket::bind(any).await.map_err(broken)?;
    socket.connect(server).await.map_err(broken)?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    for _ in 0..ASKED_MAX {
        socket.send(&question).await.map_err(broken)?;
        let received = tokio::time::timeout(ASK_AGAIN, socket.recv(&mut answer)).await;
        let Ok(received) = received else { continue };
        let bytes = &answer[..received.map_err(broken)?];
        if let Some(found) = parse(id, bytes) {
            return match found.is_empty() {
                true => Err(format!("lookup {host}: no such host")),
                false => Ok(found),
            };
        }
    }
    Err(format!("lookup {host}: no answer"))
}

/// The addresses that a hosts file has for a name.
fn in_hosts(file: &str, host: &str) -> Vec<IpAddr> {
    let lines = file.lines().map(|line| line.split('#').next().unwrap_or_default());
    let named = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(host)).then_some(ip)
    });
    named.collect()
}

/// A question for the IPv4 addresses of a name.
fn question(id: u16, host: &str) -> Option<Vec<u8>> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in host.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    (message.len() <= 12 + 255 + 4).then_some(message)
}

/// The addresses of an answer; `None` when it is none to this question.
fn parse(id: u16, bytes: &[u8]) -> Option<Vec<IpAddr>> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    if word(0)? != id || bytes.get(2)? & 0x80 == 0 {
        return None;
    }
    let (questions, answers) = (word(4)?, word(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(bytes, at)? + 4;
    }
    let mut found = vec![];
    for _ in 0..answers {
        at = after_name(bytes, at)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = bytes.get(at + 10..at + 10 + length)?;
        if let (TYPE_A, [a, b, c, d]) = (kind, data) {
            found.push(Ipv4Addr::new(*a, *b, *c, *d).into());
        }
        at += 10 + length;
    }
    Some(found)
}

/// Where a name ends; what a pointer leads to is not read.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_hosts_file_and_answers_of_dns_are_read() {
        let file = "127.0.0.1 localhost\n10.0.0.9\tdb db.example # x\n# 10.0.0.8 no\nbad no";
        assert_eq!(in_hosts(file, "DB"), ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        assert!(in_hosts(file, "no").is_empty());
        let mut answer = question(7, "a.b").unwrap();
        answer[2] |= 0x80;
        answer[7] = 2;
        answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 9]);
        assert_eq!(parse(7, &answer), Some(vec!["10.0.0.9".parse().unwrap()]));
        assert_eq!(parse(8, &answer), None, "it is the answer to something else");
        assert_eq!(parse(7, &answer[..30]), None, "it is cut");
        assert!(question(1, "a..b").is_none() && question(1, &"x".repeat(64)).is_none());
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            parse(u16::from_be_bytes([0, 0]), &bytes);
        }
    }
}
