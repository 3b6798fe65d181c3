//! What a container wrote, line by line, with or without a terminal.

use super::connection::Docker;
use super::frames::{Frames, Lines};
use super::stream::{Ask, Chunks};
use crate::error::{Error, Result};
use crate::moment;
use crate::seen::LogLine;
use crate::wish::LogOptions;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::collections::VecDeque;

impl Docker {
    pub(super) async fn log_stream(
        &self,
        id: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        let operation = format!("read the log of container {id}");
        let Some(container) = self.inspect_raw(id).await? else {
            return Err(Error::NotFound { operation, message: format!("no container {id}") });
        };
        let tty = container.config.and_then(|config| config.tty).unwrap_or(false);
        let ask = Ask {
            operation: operation.clone(),
            method: "GET",
            path: path(id, options),
            body: None,
            upgrade: false,
        };
        let reader = Reader {
            chunks: self.begin(ask).await?.chunks(operation.clone()),
            operation,
            frames: Frames::new(tty),
            lines: Lines::new(options.timestamps),
            ready: VecDeque::new(),
            over: false,
        };
        Ok(stream::unfold(reader, |mut reader| async move {
            let line = reader.next().await?;
            Some((line, reader))
        })
        .boxed())
    }
}

fn path(id: &str, options: &LogOptions) -> String {
    let mut path = format!(
        "/containers/{id}/logs?follow={}&stdout={}&stderr={}&timestamps={}",
        options.follow, options.stdout, options.stderr, options.timestamps
    );
    if let Some(tail) = options.tail {
        path.push_str(&format!("&tail={tail}"));
    }
    if let Some(since) = options.since {
        path.push_str(&format!("&since={}", moment::query(since)));
    }
    if let Some(until) = options.until {
        path.push_str(&format!("&until={}", moment::query(until)));
    }
    path
}

struct Reader {
    operation: String,
    chunks: Chunks,
    frames: Frames,
    lines: Lines,
    ready: VecDeque<Result<LogLine>>,
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<LogLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            let mut found = vec![];
            let mut end = None;
            match self.chunks.next().await {
                Some(Ok(chunk)) => end = self.take(&chunk, &mut found),
                Some(Err(error)) => end = Some(error),
                None => self.over = true,
            }
            if end.is_some() || self.over {
                self.over = true;
                self.lines.finish(&mut found);
            }
            self.ready.extend(found.into_iter().map(Ok));
            self.ready.extend(end.map(Err));
        }
    }

    fn take(&mut self, chunk: &[u8], found: &mut Vec<LogLine>) -> Option<Error> {
        self.frames.push(chunk);
        loop {
            match self.frames.next() {
                Ok(Some(piece)) => self.lines.push(&piece, found),
                Ok(None) => return None,
                Err(bad) => {
                    let operation = self.operation.clone();
                    return Some(Error::Answer { operation, source: bad.into() });
                }
            }
        }
    }
}
