//! What an engine answers.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use model::health::Health;
use model::plain::PlainPort;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use tokio::io::AsyncWrite;

/// The engine itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its id; it outlives restarts.
    pub id: String,
    /// `20.10.24`.
    pub version: String,
    /// API version spoken with it, `1.41`.
    pub api_version: String,
    /// `overlay2`.
    pub storage_driver: String,
    /// `cgroupfs`, `systemd`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Cores.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Do containers go on when dockerd stops?
    pub live_restore: bool,
    /// Where images, volumes and logs are.
    pub root_dir: String,
    /// Kernel release.
    pub kernel: String,
    /// What its machine is, in the words of uname: `x86_64`, `aarch64`.
    pub architecture: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub operating_system: String,
    /// Does it kill a container that ignores a memory limit … what the engine itself warns of.
    pub warnings: Vec<String>,
}

/// How far a container is, in Docker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// Made, never started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its process is frozen.
    Paused,
    /// Docker restarts it (never one of ours: they have no restart policy).
    Restarting,
    /// It is being removed.
    Removing,
    /// Its process ended.
    Exited,
    /// Its removal failed half-way.
    Dead,
}

/// A container as it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenContainer {
    /// Docker's id.
    pub id: String,
    /// Docker's name, without the slash.
    pub name: String,
    /// Value of `label::ENVIRONMENT`; `None` for a foreign one.
    pub owner: Option<String>,
    /// Value of `label::INSTANCE`.
    pub instance: Option<String>,
    /// All labels, those of the image too.
    pub labels: BTreeMap<String, String>,
    /// The image as it was named.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// How far it is.
    pub state: RunState,
    /// Process id on the host while it runs.
    pub pid: Option<u32>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Its last start; `None` when never started.
    pub started_at: Option<Timestamp>,
    /// Its last end; `None` when it never ended. May be older than `started_at`.
    pub finished_at: Option<Timestamp>,
    /// Exit code of its last end; `None` while it runs and when it never ended.
    pub exit_code: Option<i64>,
    /// Was it killed for want of memory?
    pub oom_killed: bool,
    /// Why Docker could not start it; empty when it could.
    pub error: String,
    /// Docker's own HEALTHCHECK.
    pub docker_health: Health,
    /// What its last check wrote, cut.
    pub health_output: String,
    /// Address by network name, while it runs.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// `host`, `none`, `container:<id>` or a network's name.
    pub network_mode: String,
    /// `host`, `container:<id>`, or nothing.
    pub pid_mode: String,
    /// `private`, `host`, `container:<id>` …
    pub ipc_mode: String,
    /// Restarts by Docker.
    pub restart_count: u64,
    /// Its own host name.
    pub hostname: String,
    /// Ports that it publishes or exposes.
    pub ports: Vec<PlainPort>,
    /// Environment variables that may leave the host (`model::plain::is_told`).
    pub variables: BTreeMap<String, String>,
    /// Docker's own file behind its /etc/resolv.conf; `None` when the user put another one there.
    pub resolv_conf: Option<PathBuf>,
    /// Docker's own file behind its /etc/hosts.
    pub hosts: Option<PathBuf>,
    /// Number of the signal that stops it, when it is another one than SIGTERM.
    pub stop_signal: Option<u8>,
}

/// Containers that are nobody's of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainList {
    /// By name.
    pub containers: Vec<SeenContainer>,
    /// How many more there are.
    pub left_out: usize,
}

impl SeenContainer {
    /// Does its process exist (also frozen)?
    #[must_use]
    pub fn running(&self) -> bool {
        matches!(self.state, RunState::Running | RunState::Paused | RunState::Restarting)
    }

    /// Is it frozen?
    #[must_use]
    pub fn paused(&self) -> bool {
        self.state == RunState::Paused
    }
}

/// A named volume as it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenVolume {
    /// Docker's name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// An image of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageInfo {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// `name@sha256:…` by registry; empty for one that was built or imported here.
    pub digests: Vec<String>,
    /// `8080/tcp`.
    pub exposed_ports: Vec<String>,
    /// Has it a HEALTHCHECK?
    pub has_healthcheck: bool,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub command: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes.
    pub size: u64,
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, in the words of Go.
    pub architecture: String,
    /// When it was made, RFC 3339; empty when it does not say.
    pub created: String,
    /// Its layers unpacked, `sha256:…` each, from the lowest up.
    pub layers: Vec<String>,
}

/// An image in the list of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenImage {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// `name:tag` as `image_name` writes it; empty for one whose names went to others.
    pub names: BTreeSet<String>,
    /// `name@sha256:…` as `image_name` writes it; empty for one that was built or imported here.
    pub digests: BTreeSet<String>,
    /// Bytes, with the layers that it shares with others.
    pub size: u64,
}

/// The disk on which an engine keeps its images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
}

/// How far a layer of a pull is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Id of the layer; empty for the image as a whole.
    pub layer: String,
    /// Bytes done.
    pub current: u64,
    /// Bytes in all, 0 when not known.
    pub total: u64,
    /// `Downloading`, `Extracting`, `Pull complete` …
    pub status: String,
}

/// Something happened to a container: a reason to look at it, nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// Nanoseconds since the epoch, by the engine's clock.
    pub time_ns: i64,
    /// Docker's id.
    pub id: String,
    /// Docker's name.
    pub name: String,
    /// Value of `label::ENVIRONMENT`.
    pub owner: Option<String>,
    /// Value of `label::INSTANCE`.
    pub instance: Option<String>,
    /// What happened.
    pub action: EventAction,
}

impl EngineEvent {
    /// The moment, to come back with as `since`.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp(self.time_ns.div_euclid(1_000_000))
    }
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventAction {
    /// Made.
    Create,
    /// Started.
    Start,
    /// Its process ended.
    Die {
        /// Exit code.
        exit_code: i64,
    },
    /// It got a signal.
    Kill {
        /// Which one, by its number.
        signal: u8,
    },
    /// Out of memory.
    Oom,
    /// Its HEALTHCHECK has another verdict.
    HealthStatus(Health),
    /// Frozen or thawed.
    Pause,
    /// Has another name.
    Rename,
    /// Removed.
    Destroy,
    /// Any other, in Docker's word.
    Other(String),
}

/// A line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// From standard error (with a terminal there is no telling).
    pub stderr: bool,
    /// When, in nanoseconds since the epoch, if timestamps were asked for.
    pub time_ns: Option<i64>,
    /// Without its newline; at most `LOG_LINE_BYTES_MAX`, a longer line comes in pieces.
    pub bytes: Bytes,
}

/// What a command wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// From standard error (never with a terminal).
    pub stderr: bool,
    /// As it came, not by lines.
    pub bytes: Bytes,
}

/// A command that runs in a container.
pub struct ExecSession {
    /// For `exec_resize` and `exec_exit`.
    pub id: String,
    /// Its input; shutting it down ends the input.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Its output; ends with the command.
    pub output: BoxStream<'static, crate::Result<ExecOutput>>,
}

impl std::fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecSession").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Resource use of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Percent of one core over the last second or so.
    pub cpu_percent: f64,
    /// CPU time since its start, in nanoseconds.
    pub cpu_total_ns: u64,
    /// Bytes used, without page cache that can go.
    pub memory: u64,
    /// Its limit in bytes.
    pub memory_limit: u64,
    /// Bytes received.
    pub net_rx: u64,
    /// Bytes sent.
    pub net_tx: u64,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to block devices.
    pub block_write: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// What a build says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildOutput {
    /// A line of its output.
    Line(String),
    /// Id of the image: it is done.
    Image(String),
}
