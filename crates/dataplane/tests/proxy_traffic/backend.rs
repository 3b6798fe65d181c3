//! A small HTTP/1.1 server whose faults are on command.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How a backend behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// In every answer's `x-backend`.
    pub(crate) name: String,
    /// Closes a connection that was idle for this long after a request.
    pub(crate) idle: Option<Duration>,
    /// Reads a request and closes without an answer, this many times.
    pub(crate) silent: Arc<AtomicU64>,
}

/// A running backend. Dropping it kills it: its sockets close at once.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    pub(crate) seen: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    pub(crate) async fn start(name: &str) -> Self {
        Self::with(Manner { name: name.to_owned(), ..Manner::default() }, None).await
    }

    /// On `addr` when it is said, or on a port of the kernel's.
    pub(crate) async fn with(manner: Manner, addr: Option<SocketAddr>) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(addr.unwrap_or((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        let listener = socket.listen(1024).unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, manner, Arc::clone(&seen)));
        Self { addr, seen, task }
    }

    /// Ends it; its port is free when this returns.
    pub(crate) async fn kill(mut self) -> SocketAddr {
        self.task.abort();
        let ended = (&mut self.task).await;
        assert!(ended.unwrap_err().is_cancelled());
        self.addr
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, manner: Manner, seen: Arc<AtomicU64>) {
    // Connections die with the task, as those of a killed process do.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (manner, seen) = (manner.clone(), Arc::clone(&seen));
        connections.spawn(async move { serve(stream, manner, seen).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, seen: Arc<AtomicU64>) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut asked = false;
    loop {
        let end = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            let read = stream.read_buf(&mut buffer);
            let read = match manner.idle.filter(|_| asked) {
                Some(idle) => match tokio::time::timeout(idle, read).await {
                    Ok(read) => read?,
                    Err(_idle) => return Ok(()),
                },
                None => read.await?,
            };
            if read == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        asked = true;
        seen.fetch_add(1, Ordering::Relaxed);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if path == "/early" {
            let text =
                "HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig";
            return stream.write_all(text.as_bytes()).await;
        }
        if path == "/ws" {
            return websocket(stream, buffer).await;
        }
        let body = read_body(&mut stream, &mut buffer, &head).await?;
        if take_one(&manner.silent) {
            return Ok(());
        }
        let close = answer(&mut stream, &manner, &path, &head, &body).await?;
        if close {
            return Ok(());
        }
    }
}

fn take_one(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Says whether the connection ends with this answer.
async fn answer(
    stream: &mut TcpStream,
    manner: &Manner,
    path: &str,
    head: &str,
    body: &[u8],
) -> io::Result<bool> {
    let name = &manner.name;
    let (text, close): (Vec<u8>, bool) = match path {
        "/chunked" => (
            format!(
                "HTTP/1.1 200 OK\r\nx-backend: {name}\r\ntransfer-encoding: chunked\r\n\r\n\
                     5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
            )
            .into_bytes(),
            false,
        ),
        "/to-the-end" => ("HTTP/1.0 200 OK\r\n\r\nuntil the end".into(), true),
        "/204" => ("HTTP/1.1 204 No Content\r\n\r\n".into(), false),
        "/304" => ("HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n".into(), false),
        "/broken" => ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".into(), true),
        "/not-http" => ("SSH-2.0-nobody\r\n\r\n".into(), true),
        "/two-lengths" => {
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".into(), true)
        }
        "/hop" => (
            "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\n\
             x-kept: 1\r\ncontent-length: 2\r\n\r\nok"
                .into(),
            false,
        ),
        "/trailers" => (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"
                .into(),
            false,
        ),
        "/hang" => {
            std::future::pending::<()>().await;
            return Ok(true);
        }
        _ => {
            let content = match path {
                "/echo" => body.to_vec(),
                "/head" => head.as_bytes().to_vec(),
                "/big" => vec![b'x'; 3_000_000],
                _ => format!("{path} from {name}").into_bytes(),
            };
            let mut text = format!(
                "HTTP/1.1 200 OK\r\nx-backend: {name}\r\ncontent-length: {}\r\n\r\n",
                content.len()
            )
            .into_bytes();
            if !head.starts_with("HEAD ") {
                text.extend_from_slice(&content);
            }
            (text, false)
        }
    };
    stream.write_all(&text).await?;
    Ok(close)
}

async fn websocket(mut stream: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nwelcome ";
    stream.write_all(switch.as_bytes()).await?;
    loop {
        if !buffer.is_empty() {
            stream.write_all(&buffer).await?;
            buffer.clear();
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Reads a body by its length or its chunks, and gives its bytes.
async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    head: &str,
) -> io::Result<Vec<u8>> {
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    if header("transfer-encoding").is_some() {
        let mut body = Vec::new();
        loop {
            let line = until(stream, buffer, b"\r\n").await?;
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16)
                .map_err(io::Error::other)?;
            while buffer.len() < size + 2 {
                more(stream, buffer).await?;
            }
            body.extend(buffer.drain(..size));
            buffer.drain(..2);
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let size = header("content-length").map_or(0, |text| text.parse().unwrap());
    while buffer.len() < size {
        more(stream, buffer).await?;
    }
    Ok(buffer.drain(..size).collect())
}

async fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, mark: &[u8]) -> io::Result<Vec<u8>> {
    loop {
        if let Some(at) = find(buffer, mark) {
            let line = buffer.drain(..at).collect();
            buffer.drain(..mark.len());
            return Ok(line);
        }
        more(stream, buffer).await?;
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
