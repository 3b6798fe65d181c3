//! Docker's multiplexed byte streams, pure: which bytes are standard output, which standard error,
//! and where the lines end. Holds at most one line of `LOG_LINE_BYTES_MAX`.

use crate::seen::LogLine;
use bytes::{Buf, Bytes, BytesMut};
use model::limits::LOG_LINE_BYTES_MAX;

/// A piece of one of the two outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) stderr: bool,
    pub(super) bytes: Bytes,
    /// The first of its frame: a log puts a time stamp there.
    pub(super) begins: bool,
}

/// The stream is not multiplexed as it should be.
#[derive(Debug, thiserror::Error)]
#[error("a frame of the stream begins with {0:?}")]
pub(super) struct BadFrame([u8; 8]);

/// Takes the stream apart. With a terminal it is one output as it comes.
pub(super) struct Frames {
    tty: bool,
    buffer: BytesMut,
    stderr: bool,
    begins: bool,
    /// Bytes of the frame that have not come yet.
    left: usize,
}

impl Frames {
    pub(super) fn new(tty: bool) -> Self {
        Self { tty, buffer: BytesMut::new(), stderr: false, begins: true, left: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece of what was pushed.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, BadFrame> {
        if self.tty {
            self.left = self.buffer.len();
        }
        while self.left == 0 {
            let Some(header) = self.buffer.first_chunk::<8>().copied() else { return Ok(None) };
            if self.tty {
                return Ok(None);
            }
            if header[0] > 2 || header[1..4] != [0, 0, 0] {
                return Err(BadFrame(header));
            }
            self.buffer.advance(8);
            self.stderr = header[0] == 2;
            self.left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            self.begins = true;
        }
        let size = self.left.min(self.buffer.len());
        if size == 0 {
            return Ok(None);
        }
        self.left -= size;
        let begins = std::mem::replace(&mut self.begins, false);
        Ok(Some(Piece { stderr: self.stderr, bytes: self.buffer.split_to(size).freeze(), begins }))
    }
}

/// Makes lines of pieces, one line in the making for each output.
pub(super) struct Lines {
    timestamps: bool,
    out: Half,
    err: Half,
}

#[derive(Default)]
struct Half {
    buffer: BytesMut,
    time_ns: Option<i64>,
    /// A time stamp may stand at the begin of the buffer.
    fresh: bool,
}

/// Docker's time stamps end with a space and are shorter than this.
const STAMP_BYTES_MAX: usize = 40;

impl Lines {
    pub(super) fn new(timestamps: bool) -> Self {
        let half = || Half { fresh: true, ..Half::default() };
        Self { timestamps, out: half(), err: half() }
    }

    pub(super) fn push(&mut self, piece: &Piece, lines: &mut Vec<LogLine>) {
        let timestamps = self.timestamps;
        let half = if piece.stderr { &mut self.err } else { &mut self.out };
        if piece.begins && timestamps && !half.buffer.is_empty() {
            // A line over Docker's own limit comes in frames, each with a stamp in front.
            half.take_stamp(timestamps);
            half.flush(piece.stderr, lines);
        }
        for part in piece.bytes.split_inclusive(|b| *b == b'\n') {
            half.add(part, piece.stderr, timestamps, lines);
        }
    }

    /// What is left at the end of the stream.
    pub(super) fn finish(&mut self, lines: &mut Vec<LogLine>) {
        for (half, stderr) in [(&mut self.out, false), (&mut self.err, true)] {
            if !half.buffer.is_empty() {
                half.take_stamp(self.timestamps);
                half.flush(stderr, lines);
            }
        }
    }
}

impl Half {
    fn add(&mut self, mut part: &[u8], stderr: bool, timestamps: bool, lines: &mut Vec<LogLine>) {
        while !part.is_empty() {
            let room = LOG_LINE_BYTES_MAX.saturating_sub(self.buffer.len());
            let (now, later) = part.split_at(part.len().min(room));
            self.buffer.extend_from_slice(now);
            part = later;
            if self.buffer.ends_with(b"\n") {
                self.take_stamp(timestamps);
                self.buffer.truncate(self.buffer.len() - 1);
                if self.buffer.ends_with(b"\r") {
                    self.buffer.truncate(self.buffer.len() - 1);
                }
                self.flush(stderr, lines);
            } else if self.buffer.len() >= LOG_LINE_BYTES_MAX {
                self.take_stamp(timestamps);
                self.flush(stderr, lines);
                self.fresh = false;
            }
        }
    }

    fn take_stamp(&mut self, timestamps: bool) {
        if !timestamps || !self.fresh {
            return;
        }
        let head = &self.buffer[..self.buffer.len().min(STAMP_BYTES_MAX)];
        let Some(end) = head.iter().position(|b| *b == b' ') else { return };
        let Ok(text) = std::str::from_utf8(&head[..end]) else { return };
        if let Some(time) = crate::moment::parse_ns(text) {
            self.time_ns = Some(time);
            self.buffer.advance(end + 1);
        }
    }

    fn flush(&mut self, stderr: bool, lines: &mut Vec<LogLine>) {
        let bytes = self.buffer.split().freeze();
        lines.push(LogLine { stderr, time_ns: self.time_ns, bytes });
        self.fresh = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    fn lines(tty: bool, timestamps: bool, chunks: &[&[u8]]) -> Vec<(bool, Option<i64>, String)> {
        let (mut frames, mut lines) = (Frames::new(tty), Lines::new(timestamps));
        let mut found = vec![];
        for chunk in chunks {
            frames.push(chunk);
            while let Some(piece) = frames.next().unwrap() {
                lines.push(&piece, &mut found);
            }
        }
        lines.finish(&mut found);
        let text = |line: LogLine| String::from_utf8(line.bytes.to_vec()).unwrap();
        found.into_iter().map(|line| (line.stderr, line.time_ns, text(line))).collect()
    }

    #[test]
    fn lines_come_out_however_the_bytes_were_cut() {
        let whole = [frame(1, "one\n"), frame(2, "two\n"), frame(1, "thr"), frame(1, "ee\nend")];
        let bytes = whole.concat();
        let expected = [(false, "one"), (true, "two"), (false, "three"), (false, "end")];
        for size in 1..bytes.len() {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            let found = lines(false, false, &chunks);
            let found: Vec<_> = found.iter().map(|(e, _, text)| (*e, text.as_str())).collect();
            assert_eq!(found, expected, "cut at {size}");
        }
    }

    #[test]
    fn a_terminal_is_taken_as_it_comes_whatever_its_bytes() {
        let found = lines(true, false, &[b"\x01\x02prompt\r\n", b"$ "]);
        assert_eq!(found, [(false, None, "\x01\x02prompt".into()), (false, None, "$ ".into())]);
        let mut frames = Frames::new(true);
        frames.push(b"\x00");
        assert_eq!(frames.next().unwrap().unwrap().bytes, Bytes::from_static(b"\x00"));
        assert_eq!(frames.next().unwrap(), None);
    }

    #[test]
    fn time_stamps_become_times() {
        let bytes = [
            frame(1, "1970-01-01T00:00:01.000000002Z hello world\n"),
            frame(1, "1970-01-01T00:00:02Z a long li"),
            frame(1, "1970-01-01T00:00:02Z ne\n"),
            frame(1, "no stamp\n"),
        ]
        .concat();
        let found = lines(false, true, &[&bytes]);
        let texts: Vec<_> = found.iter().map(|(_, time, text)| (*time, text.as_str())).collect();
        assert_eq!(texts[0], (Some(1_000_000_002), "hello world"));
        assert_eq!(texts[1], (Some(2_000_000_000), "a long li"));
        assert_eq!(texts[2], (Some(2_000_000_000), "ne"));
        assert_eq!(texts[3].1, "no stamp");
    }

    #[test]
    fn a_line_without_end_comes_in_bounded_pieces() {
        let long = vec![b'x'; LOG_LINE_BYTES_MAX * 2 + 5];
        let found = lines(true, false, &[&long, b"\nnext\n"]);
        let sizes: Vec<usize> = found.iter().map(|(_, _, text)| text.len()).collect();
        assert_eq!(sizes, [LOG_LINE_BYTES_MAX, LOG_LINE_BYTES_MAX, 5, 4]);
    }

    #[test]
    fn what_is_not_multiplexed_is_an_error() {
        let mut frames = Frames::new(false);
        frames.push(b"HTTP/1.1 500");
        assert!(frames.next().is_err());
    }
}
