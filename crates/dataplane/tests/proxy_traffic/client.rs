//! A client that does nothing by itself: no retries, no reconnects, and a limit on every wait.

use super::backend::find;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A request that takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// An answer that was complete.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// Reads one answer to a request of `method`.
    pub(crate) async fn reply(&mut self, method: &str) -> Result<Reply, String> {
        let reply = tokio::time::timeout(PATIENCE, self.read(method)).await;
        reply.map_err(|_elapsed| "no answer in time".to_owned())?
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Reply, String> {
        let text = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        self.stream.write_all(text.as_bytes()).await.map_err(|e| format!("write: {e}"))?;
        self.reply("GET").await
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.buffer);
        let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut all)).await;
        if let Err(error) = read.expect("the connection should end") {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        all
    }

    /// The next `size` bytes.
    pub(crate) async fn bytes(&mut self, size: usize) -> Vec<u8> {
        while self.buffer.len() < size {
            let read = self.stream.read_buf(&mut self.buffer);
            let read = tokio::time::timeout(PATIENCE, read).await.expect("bytes in time").unwrap();
            assert_ne!(read, 0, "ended after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..size).collect()
    }

    async fn more(&mut self) -> Result<usize, String> {
        self.stream.read_buf(&mut self.buffer).await.map_err(|e| format!("read: {e}"))
    }

    async fn read(&mut self, method: &str) -> Result<Reply, String> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if self.more().await? == 0 {
                return Err(format!("closed after {} bytes", self.buffer.len()));
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).map_err(|e| e.to_string())?;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(head.clone())?;
        let mut reply = Reply { status, head, body: vec![] };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(reply);
        }
        if reply.header("transfer-encoding").is_some() {
            reply.body = self.chunks(&mut reply.head).await?;
        } else if let Some(length) = reply.header("content-length") {
            let length: usize = length.parse().map_err(|_nan| "bad length".to_owned())?;
            while self.buffer.len() < length {
                if self.more().await? == 0 {
                    return Err("short body".into());
                }
            }
            reply.body = self.buffer.drain(..length).collect();
        } else {
            while self.more().await? != 0 {}
            reply.body = std::mem::take(&mut self.buffer);
        }
        Ok(reply)
    }

    /// The bytes of a chunked body; trailers go to the head.
    async fn chunks(&mut self, head: &mut String) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|e| e.to_string())?;
            if size == 0 {
                loop {
                    let line = self.line().await?;
                    if line.is_empty() {
                        return Ok(body);
                    }
                    head.push_str(&format!("{line}\r\n"));
                }
            }
            while self.buffer.len() < size + 2 {
                if self.more().await? == 0 {
                    return Err("short chunk".into());
                }
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at).collect();
                self.buffer.drain(..2);
                return String::from_utf8(line).map_err(|e| e.to_string());
            }
            if self.more().await? == 0 {
                return Err("closed in a line".into());
            }
        }
    }
}

/// Clients in a closed loop over keep-alive connections: each asks again once it has its answer.
pub(crate) struct Crowd {
    tasks: JoinSet<Vec<String>>,
    stop: Arc<AtomicBool>,
    done: watch::Receiver<u64>,
}

impl Crowd {
    pub(crate) fn start(addr: SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, done) = watch::channel(0);
        let (sender, number) = (Arc::new(sender), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let (stop, sender, number) =
                (Arc::clone(&stop), Arc::clone(&sender), Arc::clone(&number));
            tasks.spawn(async move {
                let mut failures = Vec::new();
                let mut client = Client::connect(addr).await;
                while !stop.load(Ordering::Relaxed) {
                    match client.get("/crowd").await {
                        Ok(reply)
                            if reply.status == 200 && reply.body.starts_with(b"/crowd from") => {}
                        Ok(reply) => failures.push(format!("{} {}", reply.status, reply.text())),
                        Err(error) => {
                            failures.push(error);
                            client = Client::connect(addr).await;
                        }
                    }
                    let done = number.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(16) {
                        sender.send_replace(done);
                    }
                }
                failures
            });
        }
        Self { tasks, stop, done }
    }

    /// Waits until `count` more requests were answered.
    pub(crate) async fn answered(&mut self, count: u64) {
        let until = *self.done.borrow() + count;
        let waited = self.done.wait_for(|done| *done >= until);
        tokio::time::timeout(Duration::from_secs(30), waited)
            .await
            .expect("the crowd should go on")
            .unwrap();
    }

    /// Ends it: how many requests were answered, and every failure.
    pub(crate) async fn stop(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(result) = self.tasks.join_next().await {
            failures.extend(result.unwrap());
        }
        (*self.done.borrow(), failures)
    }
}
