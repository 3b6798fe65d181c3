//! Streams between a client and a host: logs, exec, build … The server only splices them.

use model::id::InstanceId;
use model::service::Transport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::sync::mpsc;

/// What a stream is opened for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamRequest {
    /// Logs of one instance: `Out` chunks, then `End`.
    Logs {
        /// Which.
        instance: InstanceId,
        /// Go on with new lines.
        follow: bool,
        /// Last lines.
        tail: Option<u32>,
        /// Unix seconds.
        since: Option<i64>,
        /// With timestamps.
        timestamps: bool,
    },
    /// A command in one instance: `In`, `Resize` and `InEnd` go in, `Out` and `Exit` come out.
    Exec {
        /// Which.
        instance: InstanceId,
        /// The command.
        command: Vec<String>,
        /// With a terminal.
        tty: bool,
        /// With stdin.
        stdin: bool,
        /// `user[:group]`.
        user: String,
        /// Working directory.
        workdir: String,
    },
    /// Use of all instances of the host: one `Json` chunk (list of `wire::StatsRow`), then `End`.
    Stats,
    /// Which of these ports are held by programs that are not ours: one `Json` chunk, a list of
    /// `PortHolder`, then `End`.
    Ports {
        /// Ports asked for.
        wanted: Vec<(Transport, u16, Option<IpAddr>)>,
    },
    /// Build: the context comes in as `In` chunks ended by `InEnd`; `Text`, then `Json` (image id).
    Build {
        /// Tag to give.
        tag: String,
        /// Path of the Dockerfile in the context.
        dockerfile: String,
        /// Target stage.
        target: String,
        /// Build arguments.
        args: BTreeMap<String, String>,
        /// Labels.
        labels: BTreeMap<String, String>,
        /// Do not use the cache.
        no_cache: bool,
        /// Look for a newer base image.
        #[serde(default)]
        pull: bool,
        /// Network of RUN steps; empty is Docker's default.
        #[serde(default)]
        network: String,
        /// Size of /dev/shm in RUN steps, in bytes; 0 is Docker's default.
        #[serde(default)]
        shm_size: i64,
        /// Images that the cache may be taken from.
        #[serde(default)]
        cache_from: Vec<String>,
    },
    /// Pull: `Text`, then `Json` (image id).
    Pull {
        /// Image reference.
        image: String,
    },
    /// Is this image here: one `Json` chunk, an `image::ImageOffer` or null, then `End`.
    ImageLook {
        /// By this name; empty for any.
        name: String,
        /// With this id; empty for any.
        id: String,
    },
    /// What it is made of: `Text` while it is got ready, then `Json`, an `image::ImageManifest`.
    ImageManifest {
        /// By this name; empty for any.
        name: String,
        /// With this id.
        id: String,
    },
    /// One of its blobs: `Text` while it is got ready, `Out` chunks, `End`.
    ImageBlob {
        /// By this name; empty for any.
        name: String,
        /// With this id.
        id: String,
        /// Which blob.
        digest: String,
        /// Bytes to leave out.
        offset: u64,
    },
    /// A check of the ways between hosts: `Json` (`net_check::NetReady`) comes out, the `NetTask` goes
    /// `In`; `Text` when the host has asked all others, `InEnd` when all hosts have; then `Json`
    /// (`NetSeen`) and `End`.
    NetCheck {
        /// Drawn for this check: hosts answer no other one.
        check: u64,
    },
    /// What the host has asked for by `Up::Want` comes with this stream.
    Wanted {
        /// Number of the question within the session.
        number: u64,
    },
}

impl StreamRequest {
    /// May it carry so much that it must not share a connection with heartbeats?
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        matches!(
            self,
            Self::Build { .. }
                | Self::ImageManifest { .. }
                | Self::ImageBlob { .. }
                | Self::Wanted { .. }
        )
    }
}

/// A port that somebody else holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortHolder {
    /// tcp or udp.
    pub transport: Transport,
    /// Port.
    pub port: u16,
    /// "nginx (pid 812)", or "another program" when the owner cannot be read.
    pub by: String,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Output of the far side: stderr or not.
    Out {
        /// Was it written to stderr?
        stderr: bool,
        /// It.
        bytes: bytes::Bytes,
    },
    /// Input to the far side.
    In(bytes::Bytes),
    /// Input is over.
    InEnd,
    /// Size of the terminal: columns, rows.
    Resize(u16, u16),
    /// Text for people.
    Text(String),
    /// A JSON document.
    Json(Vec<u8>),
    /// Exit code of the command; the stream ends.
    Exit(i64),
    /// It failed; the stream ends.
    Failed(String),
    /// The stream ends well.
    End,
}

impl Chunk {
    /// One byte of kind, then the body: used by gRPC and WebSocket alike.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body): (u8, &[u8]) = match self {
            Self::Out { stderr: false, bytes } => (1, bytes),
            Self::Out { stderr: true, bytes } => (2, bytes),
            Self::In(bytes) => (3, bytes),
            Self::InEnd => (4, &[]),
            Self::Resize(columns, rows) => {
                let [a, b] = columns.to_be_bytes();
                let [c, d] = rows.to_be_bytes();
                return vec![5, a, b, c, d];
            }
            Self::Text(text) => (6, text.as_bytes()),
            Self::Json(bytes) => (7, bytes),
            Self::Exit(code) => return [&[8][..], &code.to_be_bytes()].concat(),
            Self::Failed(why) => (9, why.as_bytes()),
            Self::End => (10, &[]),
        };
        [&[kind][..], body].concat()
    }

    /// The other way; `None` when it is not a chunk.
    #[must_use]
    pub fn decode(frame: &[u8]) -> Option<Self> {
        let (kind, body) = frame.split_first()?;
        let text = || String::from_utf8_lossy(body).into_owned();
        Some(match kind {
            1 | 2 => Self::Out { stderr: *kind == 2, bytes: bytes::Bytes::copy_from_slice(body) },
            3 => Self::In(bytes::Bytes::copy_from_slice(body)),
            4 => Self::InEnd,
            5 => {
                let [a, b, c, d] = body.try_into().ok()?;
                Self::Resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
            }
            6 => Self::Text(text()),
            7 => Self::Json(body.to_vec()),
            8 => Self::Exit(i64::from_be_bytes(body.try_into().ok()?)),
            9 => Self::Failed(text()),
            10 => Self::End,
            _ => return None,
        })
    }

    /// Does the stream end with it?
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Exit(_) | Self::Failed(_) | Self::End)
    }
}

/// Chunks that wait in one direction of a stream before the sender waits.
pub const STREAM_QUEUE_MAX: usize = 64;

/// One end of a stream.
#[derive(Debug)]
pub struct Duplex {
    /// To the far side.
    pub tx: mpsc::Sender<Chunk>,
    /// From the far side; `None` when it went away.
    pub rx: mpsc::Receiver<Chunk>,
}

/// Two ends of one stream.
#[must_use]
pub fn duplex() -> (Duplex, Duplex) {
    let (a_tx, b_rx) = mpsc::channel(STREAM_QUEUE_MAX);
    let (b_tx, a_rx) = mpsc::channel(STREAM_QUEUE_MAX);
    (Duplex { tx: a_tx, rx: a_rx }, Duplex { tx: b_tx, rx: b_rx })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_survives_its_bytes() {
        let b = bytes::Bytes::from_static(b"\x00x");
        for chunk in [
            Chunk::Out { stderr: false, bytes: b.clone() },
            Chunk::Out { stderr: true, bytes: b.clone() },
            Chunk::In(b),
            Chunk::InEnd,
            Chunk::Resize(80, 24),
            Chunk::Text("é".into()),
            Chunk::Json(b"{}".to_vec()),
            Chunk::Exit(-1),
            Chunk::Failed("no".into()),
            Chunk::End,
        ] {
            assert_eq!(Chunk::decode(&chunk.encode()), Some(chunk));
        }
        for bad in [&[][..], &[5, 1], &[8, 0], &[99]] {
            assert_eq!(Chunk::decode(bad), None);
        }
    }
}
