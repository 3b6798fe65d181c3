//! What happened, line by line with its virtual time: the story, every change of the store, every
//! call of an engine. Two runs of one seed have the same trace, byte for byte.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The trace of a run. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    begin: Instant,
    digest: u64,
    count: u64,
    /// Kept lines; `None` when only the digest is wanted.
    lines: Option<Vec<String>>,
    line: String,
}

/// FNV-1a, 64 bits: the same on every machine.
pub(crate) fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

impl Trace {
    /// An empty one that begins now.
    pub(crate) fn new(keep: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            begin: Instant::now(),
            digest: FNV_START,
            count: 0,
            lines: keep.then(Vec::new),
            line: String::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub(crate) fn line(&self, text: std::fmt::Arguments<'_>) {
        let mut inner = self.inner();
        let at = inner.begin.elapsed().as_millis();
        let mut line = std::mem::take(&mut inner.line);
        line.clear();
        // Writing into a string does not fail.
        write!(line, "{at:>7} {text}").ok();
        inner.digest = fnv(fnv(inner.digest, line.as_bytes()), b"\n");
        inner.count += 1;
        if let Some(lines) = &mut inner.lines {
            lines.push(line.clone());
        }
        inner.line = line;
    }

    /// The digest of all lines, how many there are, and those that were kept.
    pub(crate) fn end(&self) -> (u64, u64, Vec<String>) {
        let mut inner = self.inner();
        (inner.digest, inner.count, inner.lines.take().unwrap_or_default())
    }
}
