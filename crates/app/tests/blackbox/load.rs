//! A client that keeps connections busy: closed loops without a retry, each failure kept in words.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than this is a failure.
const SLOWEST: Duration = Duration::from_secs(5);
/// Failures that are kept in words.
const KEPT: usize = 20;

/// How a request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    /// One connection a loop, for as long as the server keeps it.
    Kept,
    /// A new one for each request.
    New,
}

/// What the client asks, again and again.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) to: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) connections: Connections,
}

impl Ask {
    /// The shop of the example, on kept connections.
    pub(crate) fn storefront() -> Self {
        Self {
            to: "127.0.0.1:8080".parse().unwrap(),
            host: "httpfront.example.test".into(),
            path: "/".into(),
            connections: Connections::Kept,
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// The first failures: seconds since the start, and what happened.
    pub(crate) failures: Vec<String>,
    /// From the first failure to the last, when there are any.
    pub(crate) failing_for: Duration,
}

#[derive(Default)]
struct Failures {
    words: Vec<String>,
    first_and_last: Option<(Instant, Instant)>,
}

struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Failures>,
    started: Instant,
}

/// A load that runs.
pub(crate) struct Load {
    shared: Arc<Shared>,
    loops: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `n` loops and waits until each has had answers, so that all of them are busy.
    pub(crate) fn start(n: u64, ask: &Ask) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failures: Mutex::default(),
            started: Instant::now(),
        });
        let one = || {
            let (shared, ask) = (Arc::clone(&shared), ask.clone());
            std::thread::spawn(move || keep_asking(&shared, &ask))
        };
        let load = Self { loops: (0..n).map(|_| one()).collect(), shared };
        load.more(4 * n);
        load
    }

    /// Waits for so many more answers.
    pub(crate) fn more(&self, n: u64) {
        let until = self.shared.answered.load(Ordering::Relaxed) + n;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.shared.answered.load(Ordering::Relaxed) < until {
            let failures = &self.shared.failures.lock().unwrap().words.clone();
            assert!(Instant::now() < deadline, "no answers come any more; failures: {failures:?}");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Failures so far.
    pub(crate) fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        for one in self.loops {
            one.join().unwrap();
        }
        let failures = std::mem::take(&mut *self.shared.failures.lock().unwrap());
        Outcome {
            answered: self.shared.answered.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            failures: failures.words,
            failing_for: failures.first_and_last.map_or(Duration::ZERO, |(a, b)| b - a),
        }
    }

    /// Some more answers, then the end; not one request may have failed.
    #[track_caller]
    pub(crate) fn nothing_failed(self) {
        self.more(500);
        let outcome = self.stop();
        assert_eq!(outcome.failed, 0, "of {}: {:#?}", outcome.answered, outcome.failures);
    }
}

fn keep_asking(shared: &Shared, ask: &Ask) {
    let mut connection: Option<BufReader<TcpStream>> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let result = once(&mut connection, ask).and_then(|()| {
            let took = began.elapsed();
            if took > SLOWEST { Err(format!("it took {took:?}")) } else { Ok(()) }
        });
        match result {
            Ok(()) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(what) => {
                connection = None;
                shared.failed.fetch_add(1, Ordering::Relaxed);
                let now = Instant::now();
                let mut failures = shared.failures.lock().unwrap();
                let first = failures.first_and_last.map_or(now, |(first, _)| first);
                failures.first_and_last = Some((first, now));
                if failures.words.len() < KEPT {
                    let at = shared.started.elapsed().as_secs_f32();
                    failures.words.push(format!("at {at:.3} s: {what}"));
                }
                drop(failures);
                // A refused connection would otherwise be asked for in a tight loop.
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

/// One request and its whole answer, on a connection of its own.
pub(crate) fn ask_once(ask: &Ask) {
    once(&mut None, ask).unwrap_or_else(|why| panic!("{ask:?}: {why}"));
}

/// One request and its whole answer.
fn once(connection: &mut Option<BufReader<TcpStream>>, ask: &Ask) -> Result<(), String> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&ask.to, SLOWEST)
                .map_err(|e| format!("connecting: {e}"))?;
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(SLOWEST)).unwrap();
            BufReader::new(stream)
        }
    };
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", ask.path, ask.host);
    stream.get_mut().write_all(request.as_bytes()).map_err(|e| format!("sending: {e}"))?;
    if answer(&mut stream)? && ask.connections == Connections::Kept {
        *connection = Some(stream);
    }
    Ok(())
}

/// Reads one answer; may the connection be used again?
fn answer(stream: &mut BufReader<TcpStream>) -> Result<bool, String> {
    let line = |stream: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(0) => Err("the connection ended before the answer".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(e) => Err(format!("reading: {e}")),
        }
    };
    let status = line(stream)?;
    let (mut length, mut chunked, mut keep) = (None, false, true);
    loop {
        let header = line(stream)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().ok();
        }
        chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
        keep &= !(header.starts_with("connection:") && header.contains("close"));
    }
    if chunked {
        loop {
            let size = line(stream)?;
            let size =
                u64::from_str_radix(&size, 16).map_err(|e| format!("chunk {size:?}: {e}"))?;
            body(stream, size + 2)?;
            if size == 0 {
                break;
            }
        }
    } else {
        body(stream, length.ok_or("an answer without a length")?)?;
    }
    if status.contains(" 200 ") { Ok(keep) } else { Err(format!("answered {status:?}")) }
}

fn body(stream: &mut BufReader<TcpStream>, length: u64) -> Result<(), String> {
    let read = std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink());
    match read {
        Ok(n) if n == length => Ok(()),
        Ok(n) => Err(format!("a body of {n} bytes instead of {length}")),
        Err(e) => Err(format!("reading the body: {e}")),
    }
}
