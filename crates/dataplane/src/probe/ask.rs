//! One probe: connect, ask, hang up by RST, so that nothing lingers in TIME_WAIT on either side.

use super::target::{Target, What};
use model::health::Probe;
use model::limits::{PROBE_HEAD_BYTES_MAX, PROBE_READY_TIMEOUT_MS};
use socket2::SockRef;
use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Longest wait for a connection right after a start: until the container's interface is up, what
/// was sent to it is lost, and the kernel would repeat it after a second only.
const CONNECT_STARTING: Duration = Duration::from_millis(100);

/// Probes once; the error is for people.
pub(super) async fn ask(target: &Target, starting: bool) -> Result<(), String> {
    match &target.what {
        What::Ready(ports) => {
            for port in ports {
                let addr = SocketAddrV4::new(target.address, *port);
                let timeout = Duration::from_millis(PROBE_READY_TIMEOUT_MS);
                tcp(addr, timeout, starting).await.map_err(|why| format!("tcp {addr}: {why}"))?;
            }
            Ok(())
        }
        What::Check(check) => {
            let addr = SocketAddrV4::new(target.address, check.port);
            let timeout = Duration::from_millis(check.timeout_ms.max(1));
            match &check.probe {
                Probe::Tcp => {
                    tcp(addr, timeout, starting).await.map_err(|why| format!("tcp {addr}: {why}"))
                }
                Probe::Http { method, path, version } => {
                    let line = format!("{method} {path} {version}");
                    http(addr, &line, timeout, starting)
                        .await
                        .map_err(|why| format!("http {method} {addr}{path}: {why}"))
                }
            }
        }
    }
}

async fn tcp(addr: SocketAddrV4, timeout: Duration, starting: bool) -> Result<(), String> {
    connect(addr, timeout, starting).await.map(drop)
}

async fn connect(
    addr: SocketAddrV4,
    timeout: Duration,
    starting: bool,
) -> Result<TcpStream, String> {
    let wait = if starting { timeout.min(CONNECT_STARTING) } else { timeout };
    let connecting = async {
        let socket = TcpSocket::new_v4()?;
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        let stream = socket.connect(addr.into()).await?;
        // The kernel may choose the asked port itself as ours: then we talk to ourselves.
        if addr.ip().is_loopback() && stream.local_addr()? == stream.peer_addr()? {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(stream)
    };
    match tokio::time::timeout(wait, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(in_words(&error)),
        Err(_elapsed) => Err(format!("no connection within {} ms", wait.as_millis())),
    }
}

async fn http(
    addr: SocketAddrV4,
    line: &str,
    timeout: Duration,
    starting: bool,
) -> Result<(), String> {
    if line.chars().any(char::is_control) {
        return Err("the request line has control characters".into());
    }
    let mut stream = connect(addr, timeout, starting).await?;
    let request =
        format!("{line}\r\nHost: {addr}\r\nUser-Agent: remuda\r\nConnection: close\r\n\r\n");
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        let mut head = vec![];
        let mut chunk = [0u8; 256];
        while !head.contains(&b'\n') && head.len() < PROBE_HEAD_BYTES_MAX {
            match stream.read(&mut chunk).await? {
                0 => break,
                read => head.extend_from_slice(&chunk[..read]),
            }
        }
        io::Result::Ok(head)
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(head)) => status(&head),
        Ok(Err(error)) => Err(in_words(&error)),
        Err(_elapsed) => Err(format!("no answer within {} ms", timeout.as_millis())),
    }
}

/// Reads the first line of an answer: 2xx and 3xx are good.
fn status(head: &[u8]) -> Result<(), String> {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.is_empty() {
        return Err("closed without an answer".into());
    }
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/"));
    let code: Option<u16> = words.next().and_then(|word| word.parse().ok());
    match code.filter(|_| http) {
        Some(200..=399) => Ok(()),
        Some(code @ 100..=999) => Err(format!("status {code}")),
        _ => Err("the answer is not HTTP".into()),
    }
}

/// "connection refused", without the number that the standard library adds.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_its_first_line() {
        for (head, expect) in [
            ("HTTP/1.1 200 OK\r\nx: y", Ok(())),
            ("HTTP/1.0 302 Found\r\n", Ok(())),
            ("HTTP/1.1 204", Ok(())),
            ("HTTP/1.1 503 Service Unavailable\r\n", Err("status 503")),
            ("HTTP/1.1 404 Not Found\r\n", Err("status 404")),
            ("HTTP/1.1 100 Continue\r\n", Err("status 100")),
            ("", Err("closed without an answer")),
            ("SSH-2.0-x 200\r\n", Err("the answer is not HTTP")),
            ("HTTP/1.1 abc\r\n", Err("the answer is not HTTP")),
            ("HTTP/1.1 20000\r\n", Err("the answer is not HTTP")),
        ] {
            assert_eq!(status(head.as_bytes()), expect.map_err(str::to_owned), "{head:?}");
        }
    }
}
