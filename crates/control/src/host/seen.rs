//! What an agent sees of its host: all that `host::plan` knows of the world.

use super::{ActionKind, Memo};
use model::health::Health;
use model::id::InstanceId;
use model::instance::InstanceStatus;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// What is seen of a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Does the engine answer? While it does not, nothing is begun, and the containers below are
    /// those of the last time it did.
    pub engine_ok: bool,
    /// By instance: of the spec, and containers of ours that are in no entry of it. What is not
    /// here has no container. `containers` must come from a list that began after the instance's
    /// last action ended.
    pub instances: BTreeMap<InstanceId, SeenInstance>,
    /// By Docker's name.
    pub volumes: BTreeMap<String, SeenVolume>,
    /// Listeners of the view by id, as the dataplane reports them; one that is not here has not
    /// been reported yet.
    pub listeners: BTreeMap<String, Listening>,
    /// `HostPlan::statuses` of the last plan.
    pub reported: BTreeMap<InstanceId, InstanceStatus>,
}

/// What is seen of one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenInstance {
    /// Its containers: none, one, or more after an answer of Docker was lost.
    pub containers: Vec<SeenContainer>,
    /// What is being done to it now.
    pub in_flight: Option<InFlight>,
    /// What was done and how it went.
    pub memo: Memo,
    /// Verdict of the dataplane's probes on the present start; `None` when there is none.
    pub probe: Option<ProbeResult>,
    /// Nothing is sent to it any more: the dataplane has acknowledged a view where it drains, the
    /// grace for DNS is over, and no request is in flight, or `drain_ms` is over.
    pub drained: bool,
}

/// A container of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenContainer {
    /// Docker's id.
    pub id: String,
    /// Docker's name.
    pub name: String,
    /// Does its process exist?
    pub running: bool,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Its last start.
    pub started_at: Option<Timestamp>,
    /// Its last end; may be older than `started_at`.
    pub finished_at: Option<Timestamp>,
    /// Exit code of its last end.
    pub exit_code: Option<i64>,
    /// Killed for want of memory.
    pub oom_killed: bool,
    /// Why Docker could not start it; empty when it could.
    pub error: String,
    /// Docker's own HEALTHCHECK.
    pub docker_health: Health,
    /// What its last check wrote.
    pub health_output: String,
    /// The image's id.
    pub image_id: String,
}

/// An action under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Which.
    pub kind: ActionKind,
    /// Since when.
    pub since: Timestamp,
    /// How far, for people: `layer 3 of 7, 12 of 80 MB`; empty when not known.
    pub progress: String,
}

/// What the dataplane's probes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// The verdict.
    pub health: Health,
    /// The last result: `tcp 10.42.0.5:80: connection refused`.
    pub detail: String,
}

/// What is seen of a named volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenVolume {
    /// It is there.
    pub ready: bool,
    /// It is being made.
    pub in_flight: bool,
    /// How it went.
    pub memo: Memo,
}

/// How a listener of the view fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// Does it listen?
    pub ok: bool,
    /// Why not; empty when it does.
    pub error: String,
}
