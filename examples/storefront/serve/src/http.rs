//! As much of HTTP/1.1 as the example needs: keep-alive, pipelining, bodies that are read past,
//! heads and bodies with a limit, timeouts.

use crate::Connection;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Largest head of a request or an answer, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Largest request body that is read past, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest silence between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest wait for more of a request, and for the client to take an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a client that connected just as the server ends.
const END_TIMEOUT: Duration = Duration::from_millis(200);

/// A request, without its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// With its query.
    pub path: String,
    keep_alive: bool,
    body_bytes: usize,
    expects_continue: bool,
}

/// An answer in plain text.
#[derive(Debug)]
pub struct Answer {
    /// 200.
    pub status: u16,
    /// Without a line end.
    pub body: String,
}

impl Answer {
    /// 200 with this body.
    #[must_use]
    pub fn ok(body: String) -> Self {
        Self { status: 200, body }
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self { status: 404, body: "not found".into() }
    }
}

/// Splits a head into its first line and its headers with lower-case names; `None` when it is
/// not HTTP.
#[must_use]
pub fn split_head(head: &[u8]) -> Option<(&str, Vec<(String, &str)>)> {
    let mut lines = std::str::from_utf8(head).ok()?.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next()?;
    let headers = lines
        .map(|line| line.split_once(':').map(|(k, v)| (k.to_ascii_lowercase(), v.trim())))
        .collect::<Option<Vec<_>>>()?;
    Some((first, headers))
}

/// Where the head ends in `bytes`, its empty line included.
#[must_use]
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

fn parse(head: &[u8]) -> Result<Request, (u16, &'static str)> {
    let (first, headers) = split_head(head).ok_or((400, "not an HTTP request"))?;
    let [method, path, version] = first.split(' ').collect::<Vec<_>>()[..] else {
        return Err((400, "not an HTTP request line"));
    };
    let mut keep_alive = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err((505, "only HTTP/1.0 and HTTP/1.1 are spoken here")),
    };
    let (mut body_bytes, mut expects_continue) = (0, false);
    for (name, value) in &headers {
        match name.as_str() {
            "connection" => {
                let has = |word| value.split(',').any(|v| v.trim().eq_ignore_ascii_case(word));
                keep_alive = (keep_alive || has("keep-alive")) && !has("close");
            }
            "content-length" => {
                let bytes = value.parse::<usize>();
                body_bytes = bytes.map_err(|_not_a_number| (400, "content-length is no number"))?;
            }
            "transfer-encoding" => return Err((411, "a body needs a content-length")),
            "expect" => expects_continue = value.eq_ignore_ascii_case("100-continue"),
            _ => {}
        }
    }
    if body_bytes > BODY_BYTES_MAX {
        return Err((413, "the body is over 1 MiB"));
    }
    Ok(Request {
        method: method.into(),
        path: path.into(),
        keep_alive,
        body_bytes,
        expects_continue,
    })
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    }
}

fn write(stream: &mut impl Write, answer: &Answer, close: bool, bodiless: bool) -> io::Result<()> {
    let Answer { status, body } = answer;
    let connection = if close { "close" } else { "keep-alive" };
    let mut bytes = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: {connection}\r\n\r\n",
        reason(*status),
        body.len(),
    );
    if !bodiless {
        bytes.push_str(body);
    }
    stream.write_all(bytes.as_bytes())
}

/// Serves one connection to its end: GET and HEAD go to `answer`.
pub fn serve(connection: &Connection, answer: impl Fn(&Request) -> Answer) {
    if let Err(error) = exchange(connection, &answer)
        && !matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
        )
    {
        eprintln!("a connection broke: {error}");
    }
}

fn exchange(connection: &Connection, answer: &impl Fn(&Request) -> Answer) -> io::Result<()> {
    let mut stream = connection.stream();
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let mut buffer = Vec::with_capacity(1024);
    let mut first = true;
    loop {
        if buffer.is_empty() {
            let stays = connection.waits();
            if !stays && !first {
                return Ok(());
            }
            stream.set_read_timeout(Some(if stays { IDLE_TIMEOUT } else { END_TIMEOUT }))?;
            if fill(stream, &mut buffer)? == 0 {
                return Ok(());
            }
            connection.works();
            stream.set_read_timeout(Some(IO_TIMEOUT))?;
        }
        first = false;
        let request = match read_request(stream, &mut buffer)? {
            Incoming::Whole(request) => request,
            Incoming::Gone => return Ok(()),
            Incoming::Refused(status, why) => {
                let answer = Answer { status, body: why.into() };
                return write(&mut stream, &answer, true, false);
            }
        };
        let bodiless = request.method == "HEAD";
        let answer = if bodiless || request.method == "GET" {
            answer(&request)
        } else {
            Answer { status: 405, body: "only GET and HEAD".into() }
        };
        let close = !request.keep_alive || connection.last();
        write(&mut stream, &answer, close, bodiless)?;
        if close {
            return Ok(());
        }
    }
}

enum Incoming {
    Whole(Request),
    Refused(u16, &'static str),
    Gone,
}

/// Takes one request, body included, off the front of `buffer`, reading what is missing.
fn read_request<S: Read + Write>(mut stream: S, buffer: &mut Vec<u8>) -> io::Result<Incoming> {
    let mut looked = 0;
    let end = loop {
        if let Some(end) = head_end(&buffer[looked..]) {
            break looked + end;
        }
        looked = buffer.len().saturating_sub(3);
        if buffer.len() > HEAD_BYTES_MAX {
            return Ok(Incoming::Refused(431, "the head is over 16 KiB"));
        }
        if fill(&mut stream, buffer)? == 0 {
            return Ok(Incoming::Gone);
        }
    };
    let request = match parse(&buffer[..end]) {
        Ok(request) => request,
        Err((status, why)) => return Ok(Incoming::Refused(status, why)),
    };
    if request.expects_continue && buffer.len() < end + request.body_bytes {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    while buffer.len() < end + request.body_bytes {
        if fill(&mut stream, buffer)? == 0 {
            return Ok(Incoming::Gone);
        }
    }
    buffer.drain(..end + request.body_bytes);
    Ok(Incoming::Whole(request))
}

/// Reads some bytes to the end of `buffer`; 0 is the end of the stream.
///
/// # Errors
/// What `read` says, a timeout included.
pub fn fill(mut stream: impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 4096];
    let n = stream.read(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..n]);
    Ok(n)
}

#[cfg(test)]
mod tests;
