//! Requests and answers of the HTTP API.

mod exposed;
mod host;
mod kv;
mod service;

pub use exposed::*;
pub use host::*;
pub use kv::*;
pub use service::*;

use model::event::Event;
use model::health::Health;
use model::net_check::NetReport;
use model::stack::StackSpec;
use model::time::{Index, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answer of `PING`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ping {
    /// Version of the server.
    pub version: String,
    /// Random id of the environment.
    pub environment: String,
    /// Newest change that the server has in memory.
    pub index: Index,
}

/// Answer of `STATUS`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SystemStatus {
    /// Every role that should answer.
    pub roles: Vec<RoleStatus>,
    /// Violations found by the independent audit; always 0 unless there is a defect.
    pub audit_violations: usize,
    /// Everything that is wanted and cannot be done now.
    #[serde(default)]
    pub blocked: Vec<BlockedThing>,
}

/// Something that is wanted and cannot be done now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlockedThing {
    /// `stack/service` or `stack/service#n`.
    pub subject: String,
    /// Why.
    pub reason: String,
}

/// One role.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RoleStatus {
    /// `server`, `agent`, `engine`, `network`, `dataplane`.
    pub role: String,
    /// On which host.
    pub host: String,
    /// Does it answer?
    pub ok: bool,
    /// Why not; a version when it does.
    pub detail: String,
}

/// Body of `PUT STACK` and `POST STACK_PLAN`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StackRequest {
    /// The whole stack.
    pub spec: StackSpec,
    /// Remove services that the stack has and the spec does not.
    #[serde(default)]
    pub remove_orphans: bool,
    /// Refuse when the stack is not at this index any more.
    #[serde(default)]
    pub check_version: Option<Index>,
}

/// Answer of a change: wait for `index` to see its effect.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Accepted {
    /// The index of the change, or the present one when nothing had to change.
    pub index: Index,
    /// Did it change anything?
    pub changed: bool,
}

/// Answer of `POST STACK_PLAN`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// Planned from the state at this index.
    pub index: Index,
    /// Service by service.
    pub services: Vec<ServicePlan>,
    /// Instance by instance.
    pub instances: Vec<InstancePlan>,
    /// What cannot be done.
    pub blocked: Vec<BlockedPlan>,
}

impl Plan {
    /// Would it change nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.iter().all(|s| s.change == ServiceChange::Unchanged)
            && self.instances.is_empty()
    }
}

/// One service of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServicePlan {
    /// `stack/service`.
    pub service: String,
    /// What happens to it.
    pub change: ServiceChange,
    /// `path: old -> new`, secrets masked.
    pub details: Vec<String>,
}

/// What a plan does to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceChange {
    /// It is new.
    Create,
    /// Its template or settings change.
    Update,
    /// Only its scale changes.
    Scale,
    /// A rollout that had failed is tried again.
    Retry,
    /// It stays.
    Unchanged,
    /// It goes.
    Remove,
}

/// One instance of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InstancePlan {
    /// `stack/service#n`.
    pub instance: String,
    /// `+` made, `-` removed, `±` replaced, `~` changed in place.
    pub sign: String,
    /// Where.
    pub host: String,
    /// Why.
    pub why: String,
}

/// Something that a plan cannot do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlockedPlan {
    /// `stack/service` or `stack/service#n`.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Will it go away by itself in this very plan (a dependency that starts first)?
    pub passing: bool,
}

/// A page of events.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Newest index: ask for events after it.
    pub index: Index,
    /// Events up to this index are forgotten: who asked for events after an older one missed some.
    #[serde(default)]
    pub forgotten: Index,
}

/// One line of `LOGS`: NDJSON.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// `stack/service#n`.
    pub instance: String,
    /// Was it written to stderr?
    pub stderr: bool,
    /// When, RFC 3339 as Docker writes it; empty when timestamps were not asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub line: String,
}

/// Query of `NET_CHECK`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct NetCheckQuery {
    /// Hosts, parted by commas: one, its pairs with all others; more, the pairs between them.
    pub hosts: String,
    /// Every pair, of however many hosts.
    pub all: bool,
}

/// One line of `NET_CHECK`: NDJSON. The report is the last one.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetCheckStep {
    /// How far it is.
    Text {
        /// For people.
        text: String,
    },
    /// What was found.
    Report(NetReport),
}

/// Query of `LOGS`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct LogQuery {
    /// Stack.
    pub stack: String,
    /// Service; empty is all of the stack.
    pub service: String,
    /// Slot; 0 is all.
    pub n: u32,
    /// Only this incarnation; 0 is all that there are.
    pub incarnation: u64,
    /// Go on with new lines.
    pub follow: bool,
    /// Last lines of each instance; `None` is all.
    pub tail: Option<u32>,
    /// Unix seconds.
    pub since: Option<i64>,
    /// With timestamps.
    pub timestamps: bool,
}

/// Query of `EXEC`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct ExecQuery {
    /// Stack.
    pub stack: String,
    /// Service.
    pub service: String,
    /// Slot; 0 is the first that runs.
    pub n: u32,
    /// The command as a JSON list.
    pub command: String,
    /// With a terminal.
    pub tty: bool,
    /// With stdin.
    pub stdin: bool,
    /// `user[:group]`.
    pub user: String,
    /// Working directory.
    pub workdir: String,
}

/// Use of one instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct StatsRow {
    /// `stack/service#n`.
    pub instance: String,
    /// Percent of one core.
    pub cpu_percent: f64,
    /// Bytes.
    pub memory: u64,
    /// Bytes; 0 is none.
    pub memory_limit: u64,
    /// Bytes received.
    pub network_rx: u64,
    /// Bytes sent.
    pub network_tx: u64,
    /// Bytes read.
    pub block_read: u64,
    /// Bytes written.
    pub block_write: u64,
    /// Processes.
    pub pids: u64,
    /// Why there are no numbers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// Query of `BUILD`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct BuildQuery {
    /// Tag to give.
    pub tag: String,
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    /// Target stage.
    pub target: String,
    /// Build arguments as a JSON object.
    pub args: String,
    /// Labels as a JSON object.
    pub labels: String,
    /// Do not use the cache.
    pub no_cache: bool,
    /// Look for a newer base image.
    pub pull: bool,
    /// Network of RUN steps: `none`, `host`; empty is Docker's default.
    pub network: String,
    /// Size of /dev/shm in RUN steps, in bytes; 0 is Docker's default.
    pub shm_size: i64,
    /// Images that the cache may be taken from, as a JSON list.
    pub cache_from: String,
}

/// One line of `BUILD` and `PULL`: NDJSON.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Progress {
    /// Text for people.
    Text {
        /// It.
        text: String,
    },
    /// It worked.
    Done {
        /// Image id.
        image: String,
    },
    /// It did not.
    Failed {
        /// Why.
        why: String,
    },
}

/// Query of `PULL`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct PullQuery {
    /// Image reference.
    pub image: String,
}

/// Query that selects instances.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct InstanceQuery {
    /// Stack; empty is all.
    pub stack: String,
    /// Service; empty is all.
    pub service: String,
    /// Wait until the state is newer than this index, at most `wait_ms`.
    pub after: u64,
    /// Milliseconds, at most 300,000.
    pub wait_ms: u64,
}

/// Answer of `INSTANCES`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InstancePage {
    /// State at this index.
    pub index: Index,
    /// Rows by name.
    pub instances: Vec<InstanceRow>,
    /// The services they belong to.
    pub services: Vec<ServiceRow>,
    /// Plain containers by host and name, when neither stack nor service was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standalone: Vec<StandaloneRow>,
}

/// A plain container: one that somebody started by hand or with another tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct StandaloneRow {
    /// `standalone`.
    pub kind: String,
    /// Docker's name.
    pub name: String,
    /// Host id.
    pub host: String,
    /// Docker's word: created, running, paused, restarting, exited, dead.
    pub status: String,
    /// Docker's HEALTHCHECK.
    pub health: Health,
    /// It runs, its HEALTHCHECK does not fail, and it is in the managed network if it is to be.
    pub ready: bool,
    /// Where others reach it: in the managed network, or at its host by its ports; empty when
    /// nowhere.
    pub address: String,
    /// Its name in DNS; empty when it has none.
    pub dns: String,
    /// Ports as `8080->80/tcp`, or `80/tcp` when it is only exposed.
    pub ports: Vec<String>,
    /// `managed`, or Docker's word for its network.
    pub network: String,
    /// Image.
    pub image: String,
    /// Docker's name of the container.
    pub container_name: String,
    /// Docker's id of the container.
    pub container_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it started; nothing while it does not run.
    pub started_at: Option<Timestamp>,
    /// Exit code of its last end.
    pub exit_code: Option<i64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its `SERVICE_…` variables; no others leave its host.
    pub variables: BTreeMap<String, String>,
    /// Why it is not as it asks to be; empty when all is well.
    pub reason: String,
}

/// Query of `EVENTS`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct EventQuery {
    /// Events of changes after this index; a stream takes it from the header `Last-Event-ID` too.
    pub after: u64,
    /// Only of this stack.
    pub stack: String,
    /// Last events.
    pub tail: Option<u32>,
    /// Go on: the answer is an event stream (SSE).
    pub follow: bool,
}

/// Labels and similar maps in queries are JSON objects.
///
/// # Errors
/// The text that serde gives.
pub fn json_map(text: &str) -> Result<BTreeMap<String, String>, serde_json::Error> {
    if text.is_empty() { Ok(BTreeMap::new()) } else { serde_json::from_str(text) }
}
