//! How late Docker tells of a start: shown beside, since nobody who learns from Docker can be
//! faster.

use crate::bench::engine_api;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::SystemTime;

/// A thread that reads Docker's events.
#[derive(Debug)]
pub(super) struct Events {
    stream: UnixStream,
    thread: JoinHandle<Vec<f64>>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "timeNano")]
    time_ns: u64,
}

impl Events {
    pub(super) fn watch() -> Result<Self> {
        let filter = serde_json::json!({ "type": ["container"], "event": ["start"] });
        let path = format!("/events?filters={}", engine_api::encoded(&filter));
        let stream = engine_api::ask("GET", &path, "")?;
        let reader = stream.try_clone().context("sharing the connection to Docker")?;
        let thread = std::thread::spawn(move || {
            let lines = BufReader::new(reader).lines().map_while(std::result::Result::ok);
            lines.filter_map(|line| late_ms(&line)).collect()
        });
        Ok(Self { stream, thread })
    }

    /// Milliseconds that each start was told late.
    pub(super) fn end(self) -> Result<Vec<f64>> {
        self.stream.shutdown(Shutdown::Both).context("ending Docker's events")?;
        let Ok(found) = self.thread.join() else { bail!("the reader of Docker's events panicked") };
        if found.is_empty() {
            bail!("Docker told of no start");
        }
        Ok(found)
    }
}

fn late_ms(line: &str) -> Option<f64> {
    let event: Event = serde_json::from_str(line).ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((now.as_nanos() as f64 - event.time_ns as f64) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_long_ago_is_late() {
        assert!(late_ms(r#"{"Action":"start","timeNano":1000000000}"#).unwrap() > 1e6);
        assert_eq!(late_ms("HTTP/1.0 200 OK"), None);
    }
}
