//! Stacks, services and instances as the API shows them, and what is asked of a service.

use model::health::Health;
use model::id::StackName;
use model::record::{Rollout, Run};
use model::service::{PortMapping, ServiceSpec};
use model::time::{Index, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A stack in a list.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StackRow {
    /// Its name.
    #[schema(value_type = String)]
    pub name: StackName,
    /// Services.
    pub services: usize,
    /// Instances wanted.
    pub wanted: u32,
    /// Instances ready.
    pub ready: u32,
    /// The worst of its services' words.
    pub status: String,
    /// Why it is not healthy.
    pub reason: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A stack whole.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StackDetail {
    /// Its row.
    pub stack: StackRow,
    /// Its services.
    pub services: Vec<ServiceRow>,
    /// Its named volumes, by Docker's name.
    pub volumes: Vec<String>,
    /// Index of the newest change of the stack: for `check_version`.
    pub version: Index,
}

/// A service.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceRow {
    /// `stack/service`.
    pub name: String,
    /// `container`, `balancer`, `external` (addresses or a host name outside) or `alias` (a name
    /// for other services).
    pub kind: String,
    /// `replicated`, `global` (one on each host that takes it) or `job` (runs that end).
    #[serde(default)]
    pub mode: String,
    /// Image; empty for a balancer.
    pub image: String,
    /// Instances wanted now, whoever decides: people, a policy, or the hosts of a global service.
    pub scale: u32,
    /// What a policy decided on the scale, and why; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled: Option<ScaledRow>,
    /// Instances ready at the wanted version.
    pub ready: u32,
    /// Instances at any version that serve now.
    pub serving: u32,
    /// Version wanted.
    pub revision: u32,
    /// Where the rollout is.
    pub rollout: Rollout,
    /// `healthy`, `updating`, `degraded`, `failed`, `stopped`, `removing`; `paused`, `canary` and
    /// `upgraded` wait for a person: `resume`, `promote` or `finish`; `idle` is a job between runs.
    pub status: String,
    /// The same in Rancher's words: `active`, `upgrading`, `canceled-upgrade` …
    #[serde(default)]
    pub state: String,
    /// Health in Rancher's words: `healthy`, `unhealthy`, `initializing`, `degraded` or
    /// `started-once`.
    #[serde(default)]
    pub health: String,
    /// Why it is not healthy: everything that blocks it.
    pub reasons: Vec<String>,
    /// The same with the slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<BlockedRow>,
    /// Moves that would spread it better: see `REBALANCE`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// Host ports.
    pub ports: Vec<PortMapping>,
    /// Of a job: when it runs, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRow>,
    /// Its floating address, when it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floating: Option<FloatingRow>,
}

/// A floating address, and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FloatingRow {
    /// The address.
    #[schema(value_type = String)]
    pub address: std::net::Ipv4Addr,
    /// The host that has it; `None` when none is known to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Since when the server knows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Hosts that may have it now.
    pub candidates: Vec<String>,
    /// Hosts that vote about it.
    pub voters: Vec<String>,
    /// What keeps hosts that may have it from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A scale that a policy decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScaledRow {
    /// Least instances.
    pub min: u32,
    /// Most.
    pub max: u32,
    /// Why it is at what it is; empty at the least.
    pub why: String,
    /// Since when; `None` at the least.
    pub at: Option<Timestamp>,
}

/// Something that cannot be done now, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlockedRow {
    /// Slot, 0 for the whole service.
    pub n: u32,
    /// Why.
    pub reason: String,
}

/// When a job runs, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobRow {
    /// Its five cron fields; empty when it only runs when asked for.
    pub schedule: String,
    /// Time zone of the fields.
    pub zone: String,
    /// When it is due next; `None` when it is stopped or has no schedule.
    pub next: Option<Timestamp>,
    /// Runs under way.
    pub running: usize,
    /// Runs that wait to begin.
    pub waiting: usize,
    /// The last one that is over.
    pub last: Option<Run>,
}

/// A service whole.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceDetail {
    /// Its row.
    pub service: ServiceRow,
    /// What was asked; contents of secrets are left out.
    pub spec: ServiceSpec,
    /// Revisions kept, oldest first.
    pub revisions: Vec<RevisionRow>,
    /// Its instances.
    pub instances: Vec<InstanceRow>,
}

/// A revision.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RevisionRow {
    /// Its number.
    pub number: u32,
    /// Image; empty for a balancer.
    pub image: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How its last rollout ended: `open` (it has not), `good`, `failed` or `superseded`.
    #[serde(default)]
    pub verdict: String,
    /// Why it failed; empty when it did not.
    #[serde(default)]
    pub why: String,
    /// When its last rollout ended.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Is it the one that is wanted?
    #[serde(default)]
    pub wanted: bool,
    /// Did it serve before the rollout that is not over, or failed? `abort` goes back to it.
    #[serde(default)]
    pub before: bool,
    /// Instances of it that are to run.
    #[serde(default)]
    pub instances: usize,
    /// Ids of the images that it ran, by sidekick; the primary's under the empty name. They are
    /// kept on the hosts for a rollback.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// What it changed of the kept one before it; secrets are hidden.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// Answer of `SERVICE_HISTORY`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct History {
    /// `stack/service`.
    pub service: String,
    /// Where the rollout is.
    pub rollout: Rollout,
    /// Revisions kept, oldest first.
    pub revisions: Vec<RevisionRow>,
}

/// Query of `SERVICE_DIFF`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct DiffQuery {
    /// Number of the older revision; without it what served before the present rollout, else the
    /// kept one before `to`.
    pub from: Option<u32>,
    /// Number of the newer one; without it the one that is wanted.
    pub to: Option<u32>,
}

/// Answer of `SERVICE_DIFF`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RevisionDiff {
    /// `stack/service`.
    pub service: String,
    /// Number of the older revision.
    pub from: u32,
    /// Number of the newer one.
    pub to: u32,
    /// `path: old -> new`; secrets are hidden.
    pub changes: Vec<String>,
}

/// Answer of `SERVICE_RUNS`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobRuns {
    /// `stack/service`.
    pub service: String,
    /// When it runs.
    pub job: JobRow,
    /// Runs kept, oldest first.
    pub runs: Vec<Run>,
}

/// Body of `SERVICE_ACTION`; an empty one is the same as none of its fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActionRequest {
    /// For `rollback`: number of the revision to go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
}

/// An instance: a row of `remuda ps`. A slot that has none because it is blocked is a row too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InstanceRow {
    /// Stack.
    pub stack: String,
    /// Service.
    pub service: String,
    /// `stack/service#n`.
    pub name: String,
    /// Slot.
    pub n: u32,
    /// Counts every instance of the service.
    pub incarnation: u64,
    /// Host id.
    pub host: String,
    /// One word: pending, pulling, starting, running, backoff, draining, stopping, stopped,
    /// completed, failed, removing, blocked.
    pub status: String,
    /// Health.
    pub health: Health,
    /// Does it take traffic: running and healthy, not draining?
    pub ready: bool,
    /// Address in the managed network; empty when it has none.
    pub address: String,
    /// Host ports as `8080->80/tcp`.
    pub ports: Vec<String>,
    /// Revision it is made from.
    pub revision: u32,
    /// Image; empty for a balancer.
    pub image: String,
    /// Docker's name of the container.
    pub container_name: String,
    /// Docker's id of the container.
    pub container_id: String,
    /// Starts after the first.
    pub restarts: u32,
    /// Exit code of its last end.
    pub exit_code: Option<i64>,
    /// When its container started.
    pub started_at: Option<Timestamp>,
    /// Why it is not ready, or what of its slot is blocked; empty when all is well.
    pub reason: String,
    /// Another one is to take its slot on another host; it serves until then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Wishes on its place that could not be met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// The containers that share its fate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sidekicks: Vec<SidekickRow>,
}

/// A container that shares the fate of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SidekickRow {
    /// Its name in the service.
    pub name: String,
    /// One word, as of the instance.
    pub status: String,
    /// Health.
    pub health: Health,
    /// Address in the managed network; empty when it has none of its own.
    pub address: String,
    /// Image.
    pub image: String,
    /// Docker's id of the container.
    pub container_id: String,
    /// Starts after the first.
    pub restarts: u32,
    /// Exit code of its last end.
    pub exit_code: Option<i64>,
    /// When its container started.
    pub started_at: Option<Timestamp>,
    /// Why it is not well; empty when it is.
    pub reason: String,
}

/// Body of `SERVICE_SCALE`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Instances wanted.
    pub scale: u32,
}
