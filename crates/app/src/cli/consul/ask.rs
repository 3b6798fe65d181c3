//! Questions to the Consul API of a machine.

use crate::exit::{Failure, Outcome};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where it is when nobody says.
const DEFAULT: &str = "127.0.0.1:8500";
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The API.
pub(super) struct Agent {
    address: String,
    token: String,
}

/// An answer of success.
pub(super) struct Answer {
    pub(super) index: u64,
    pub(super) body: Vec<u8>,
}

/// A text as a part of a URL; `/` stays.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Agent {
    /// The one that a flag names, else `CONSUL_HTTP_ADDR`, else that of this machine.
    /// The token likewise, with `CONSUL_HTTP_TOKEN`.
    pub(super) fn of(flag: Option<&str>, token: Option<&str>) -> Self {
        let env = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let address = flag.map(str::to_owned).or_else(|| env("CONSUL_HTTP_ADDR"));
        let address = address.unwrap_or_else(|| DEFAULT.into());
        let address = address.strip_prefix("http://").unwrap_or(&address).to_owned();
        let token = token.map(str::to_owned).or_else(|| env("CONSUL_HTTP_TOKEN"));
        Self { address, token: token.unwrap_or_default() }
    }

    /// Status, head and body. HTTP/1.0: the answer ends with the connection.
    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, String, Vec<u8>)> {
        let mut tcp = TcpStream::connect(&self.address).await?;
        let (address, bytes) = (&self.address, body.len());
        let token = match self.token.contains(char::is_control) || self.token.is_empty() {
            true => String::new(),
            false => format!("X-Consul-Token: {}\r\n", self.token),
        };
        let head = format!(
            "{method} /v1/{path} HTTP/1.0\r\nHost: {address}\r\n{token}Content-Length: {bytes}\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await?;
        tcp.write_all(body).await?;
        let mut answer = vec![];
        tcp.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        let broken = || std::io::Error::new(std::io::ErrorKind::InvalidData, "no answer of HTTP");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer).to_lowercase();
        let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        Ok((status.ok_or_else(broken)?, head, body))
    }

    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> Outcome<(u16, Answer)> {
        let (status, head, body) = self.exchange(method, path, body).await.map_err(|error| {
            Failure::error(format!("the Consul API at {} does not answer: {error}", self.address))
                .hint("say another one with -http-addr or CONSUL_HTTP_ADDR")
        })?;
        let index = head.lines().find_map(|line| line.strip_prefix("x-consul-index:"));
        let index = index.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if status == 404 || (200..300).contains(&status) {
            return Ok((status, Answer { index, body }));
        }
        let text = String::from_utf8_lossy(&body);
        Err(Failure::error(format!("Unexpected response code: {status} ({})", text.trim())))
    }

    /// What is answered.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        body: impl AsRef<[u8]>,
    ) -> Outcome<Answer> {
        match self.ask(method, path, body.as_ref()).await? {
            (404, answer) => {
                let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
                Err(Failure::error(format!("Unexpected response code: 404 ({text})")))
            }
            (_, answer) => Ok(answer),
        }
    }

    /// A read that waits; what is not there is an empty answer.
    pub(super) async fn read(&self, path: &str) -> Outcome<Answer> {
        Ok(self.ask("GET", path, b"").await?.1)
    }

    /// What is there, `None` when nothing is.
    pub(super) async fn found(&self, path: &str) -> Outcome<Option<Vec<u8>>> {
        let (status, answer) = self.ask("GET", path, b"").await?;
        Ok((status != 404).then_some(answer.body))
    }

    /// A document; null when there is none.
    pub(super) async fn json(&self, path: &str) -> Outcome<Value> {
        let Some(body) = self.found(path).await? else { return Ok(Value::Null) };
        serde_json::from_slice(&body)
            .map_err(|error| Failure::error(format!("{path} was not answered in JSON: {error}")))
    }

    /// Puts nothing; is what the path names there?
    pub(super) async fn touch(&self, path: &str) -> Outcome<bool> {
        Ok(self.ask("PUT", path, b"").await?.0 != 404)
    }

    pub(super) async fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Outcome<Vec<u8>> {
        Ok(self.send("PUT", path, body).await?.body)
    }
}
