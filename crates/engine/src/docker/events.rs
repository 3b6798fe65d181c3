//! Docker's event stream. It has begun when `event_stream` returns: whatever happens to a container
//! after that is in it, so `list` after that misses nothing.

use super::connection::Docker;
use super::stream::{Ask, Chunks};
use crate::error::{Error, Result};
use crate::label;
use crate::moment;
use crate::seen::{EngineEvent, EventAction};
use crate::signal;
use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use model::health::Health;
use model::time::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Health checks make three exec events each: they are left out at the source.
const WANTED: &str = r#"{"type":["container"],"event":["create","start","restart","die","oom","health_status","pause","unpause","rename","destroy","stop","kill","update"]}"#;
/// Longest event taken, in bytes: its labels are in it.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
    #[serde(rename = "timeNano", default)]
    time_ns: i64,
}

#[derive(Default, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: BTreeMap<String, String>,
}

impl Docker {
    pub(super) async fn event_stream(
        &self,
        since: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        let operation = "watch events".to_owned();
        let since = since.map(|since| format!("&since={}", moment::query(since)));
        let path = format!("/events?filters={}{}", escaped(WANTED), since.unwrap_or_default());
        let ask =
            Ask { operation: operation.clone(), method: "GET", path, body: None, upgrade: false };
        let chunks = self.begin(ask).await?.chunks(operation);
        let docker = self.clone();
        let reader = Reader { docker, chunks, buffer: BytesMut::new(), scanned: 0, over: false };
        Ok(stream::unfold(reader, |mut reader| async move {
            let event = reader.next().await?;
            Some((event, reader))
        })
        .boxed())
    }
}

/// Percent-encodes all but letters and digits.
pub(super) fn escaped(text: &str) -> String {
    let one = |b: u8| match b {
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(one).collect()
}

struct Reader {
    docker: Docker,
    chunks: Chunks,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no newline.
    scanned: usize,
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<EngineEvent>> {
        while !self.over {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(self.scanned + end + 1);
                self.scanned = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let event = parse(&line);
                match &event {
                    Ok(event) => self.docker.forget_look(&event.id),
                    Err(_) => self.over = true,
                }
                return Some(event);
            }
            self.scanned = self.buffer.len();
            if self.scanned > EVENT_BYTES_MAX {
                self.over = true;
                return Some(Err(unreadable("an event is longer than 4 MiB")));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(error));
                }
                None => self.over = true,
            }
        }
        None
    }
}

fn unreadable(source: impl Into<crate::error::Cause>) -> Error {
    Error::Answer { operation: "watch events".to_owned(), source: source.into() }
}

fn parse(line: &[u8]) -> Result<EngineEvent> {
    let mut message: Message = serde_json::from_slice(line).map_err(unreadable)?;
    let mut take = |key: &str| message.actor.attributes.remove(key);
    let action = match message.action.as_str() {
        "create" => EventAction::Create,
        "start" => EventAction::Start,
        "die" => EventAction::Die {
            exit_code: take("exitCode").and_then(|code| code.parse().ok()).unwrap_or(-1),
        },
        "kill" => match take("signal").as_deref().and_then(signal::number) {
            Some(signal) => EventAction::Kill { signal },
            None => EventAction::Other("kill".to_owned()),
        },
        "oom" => EventAction::Oom,
        "pause" | "unpause" => EventAction::Pause,
        "rename" => EventAction::Rename,
        "destroy" => EventAction::Destroy,
        other => match other.strip_prefix("health_status") {
            Some(verdict) => {
                EventAction::HealthStatus(match verdict.trim_start_matches([':', ' ']) {
                    "healthy" => Health::Healthy,
                    "unhealthy" => Health::Unhealthy,
                    _ => Health::Initializing,
                })
            }
            None => EventAction::Other(other.to_owned()),
        },
    };
    Ok(EngineEvent {
        time_ns: message.time_ns,
        name: take("name").unwrap_or_default(),
        owner: take(label::ENVIRONMENT),
        instance: take(label::INSTANCE),
        id: message.actor.id,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read() {
        for (action, extra, expected) in [
            ("die", r#","exitCode":"137""#, EventAction::Die { exit_code: 137 }),
            ("health_status: healthy", "", EventAction::HealthStatus(Health::Healthy)),
            ("health_status: unhealthy", "", EventAction::HealthStatus(Health::Unhealthy)),
            ("kill", "", EventAction::Other("kill".into())),
            ("kill", r#","signal":"15""#, EventAction::Kill { signal: 15 }),
            ("unpause", "", EventAction::Pause),
        ] {
            let line = format!(
                r#"{{"Type":"container","Action":"{action}","timeNano":1700000000123456789,"Actor":{{"ID":"abc",
                "Attributes":{{"name":"web","io.remuda.environment":"e"{extra}}}}}}}"#
            );
            let event = parse(line.as_bytes()).unwrap();
            assert_eq!(event.action, expected);
            assert_eq!((event.id.as_str(), event.name.as_str()), ("abc", "web"));
            assert_eq!((event.owner.as_deref(), event.instance.as_deref()), (Some("e"), None));
            assert_eq!(event.time(), Timestamp(1_700_000_000_123));
        }
        assert!(parse(b"{").unwrap_err().is_transient());
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(escaped(r#"{"a":1}"#), "%7B%22a%22%3A1%7D");
    }
}
