//! The demo's own clients, a few lines each, so that what it sees depends on nobody's cache,
//! resolver or retry: one HTTP request, one DNS question, one echo.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Longest wait for anything.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&to, TIMEOUT).with_context(|| format!("connecting to {to}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// The status and body of a GET.
pub(super) fn http_get(to: SocketAddr, host: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = connect(to)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = vec![];
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).context("reading the answer")?;
    parse_http(&String::from_utf8_lossy(&bytes))
}

fn parse_http(text: &str) -> Result<(u16, String)> {
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("not an HTTP answer: {head:?}"))?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length != body.len()) {
        bail!("the body has {} bytes, but {length:?} were announced", body.len());
    }
    Ok((status, body.to_owned()))
}

/// What comes back from an echo.
pub(super) fn echo(to: SocketAddr, text: &str) -> Result<String> {
    let mut stream = connect(to)?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut back).context("reading the echo")?;
    Ok(back)
}

/// The A records of a name.
pub(super) fn resolve(server: SocketAddr, name: &str) -> Result<Vec<Ipv4Addr>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(server).with_context(|| format!("a way to {server}"))?;
    let query = query(name);
    socket.send(&query).with_context(|| format!("asking {server}"))?;
    let mut answer = vec![0; 4096];
    let n = socket.recv(&mut answer).with_context(|| format!("no answer from {server}"))?;
    parse_dns(&query, answer.get(..n).unwrap_or_default())
}

/// Any id will do on a connected socket that is used once.
fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x72, 0x65, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn parse_dns(query: &[u8], answer: &[u8]) -> Result<Vec<Ipv4Addr>> {
    let (Some(header), Some(mut rest)) = (answer.get(..12), answer.get(query.len()..)) else {
        bail!("the answer is cut short");
    };
    let code = header[3] & 15;
    if header[..2] != query[..2] || code != 0 {
        bail!("the answer says error {code}");
    }
    let mut found = vec![];
    for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
        // a name is labels up to a zero, or ends in a pointer
        loop {
            match rest {
                [n, _, tail @ ..] if *n >= 0xc0 => {
                    rest = tail;
                    break;
                }
                [0, tail @ ..] => {
                    rest = tail;
                    break;
                }
                [n, tail @ ..] if tail.len() >= usize::from(*n) => rest = &tail[usize::from(*n)..],
                _ => bail!("the answer is cut short"),
            }
        }
        let [t0, t1, _, _, _, _, _, _, l0, l1, tail @ ..] = rest else {
            bail!("the answer is cut short");
        };
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let data = tail.get(..length).context("the answer is cut short")?;
        if let ([0, 1], [a, b, c, d]) = ([*t0, *t1], data) {
            found.push(Ipv4Addr::new(*a, *b, *c, *d));
        }
        rest = &tail[length..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_http_answer_is_read() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(parse_http(whole).unwrap(), (200, "hi".into()));
        assert!(parse_http("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi").is_err());
        assert!(parse_http("nonsense").is_err());
    }

    #[test]
    fn a_dns_answer_is_read() {
        let q = query("a.bc");
        assert_eq!(&q[12..], b"\x01a\x02bc\0\0\x01\0\x01");
        let mut answer = q.clone();
        answer[2] = 0x81;
        answer[7] = 2;
        answer.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x01\0\x02\xc0\x0c");
        answer.extend(b"\x01x\0\0\x01\0\x01\0\0\0\x01\0\x04\x0a\x2a\0\x07");
        assert_eq!(parse_dns(&q, &answer).unwrap(), [Ipv4Addr::new(10, 42, 0, 7)]);
        assert!(parse_dns(&q, &answer[..answer.len() - 1]).is_err());
        answer[3] = 3;
        assert!(parse_dns(&q, &answer).unwrap_err().to_string().contains("error 3"));
    }

    #[test]
    fn an_echo_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            stream.write_all(said.to_uppercase().as_bytes()).unwrap();
        });
        assert_eq!(echo(to, "hello").unwrap(), "HELLO");
        serving.join().unwrap();
    }
}
