//! What agent and dataplane say to each other over DIR/dataplane.sock: JSON in frames with a
//! length before them. The dataplane speaks first, with its version; the agent answers with the
//! one that both know. Absence of a connection never means anything: all goes on as last told.

pub(crate) mod frame;
pub(crate) mod split;

use model::floating::FloatingSeen;
use model::health::Health;
use model::host_status::Requests;
use model::id::{HostId, InstanceId};
use model::metadata::{MetaDelta, MetaView};
use model::registration::CheckSeen;
use model::time::{Index, Timestamp};
use model::view::HostView;
use model::wireguard::{WireStatus, WireWish};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Version of this protocol; a side speaks its own and the one before.
pub const PROTOCOL_VERSION: u32 = 3;

/// Oldest version that this side still speaks.
pub(crate) const PROTOCOL_VERSION_MIN: u32 = 1;

/// From this version on a dataplane can be told what to encrypt.
pub(crate) const WIRE_VERSION: u32 = 2;

/// From this version on a dataplane is told of metadata, apart from the view.
pub(crate) const METADATA_VERSION: u32 = 3;

/// Containers of this host, newer than the View; an instance that is not in it is as the View says.
pub type Local = BTreeMap<InstanceId, LocalInstance>;

/// Verdicts of this dataplane's probes, by instance.
pub type Probes = BTreeMap<InstanceId, ProbeVerdict>;

/// The container of an instance as the agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalInstance {
    /// Its running container; `None` when it does not run.
    pub run: Option<Run>,
    /// What Docker's own HEALTHCHECK says of it.
    pub docker_health: Health,
    /// It has got its stop signal: it takes nothing new, what is in flight ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

/// One start of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When it started, by Docker.
    pub started_at: Timestamp,
    /// Docker's id.
    pub container_id: String,
}

/// What the probes of an instance found since its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeVerdict {
    /// The verdict.
    pub health: Health,
    /// The last result for people: `tcp 10.42.0.5:80: connection refused`.
    pub detail: String,
    /// Of which start; 0 when nobody told of a start.
    pub run_started_at: Timestamp,
}

/// How a listener of the View fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Does it listen?
    pub ok: bool,
    /// Why not; empty when it does.
    pub error: String,
}

/// What the dataplane has to say, always all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// View that is in force everywhere.
    pub view: Index,
    /// Verdicts of the instances of this host that are probed.
    pub probes: Probes,
    /// Listeners of that View, by id.
    pub listeners: BTreeMap<String, ListenerStatus>,
    /// Requests and connections in flight of the instances that take nothing new: those that
    /// drain, are down, or left the View. None in flight is left out.
    pub active: BTreeMap<InstanceId, u64>,
    /// Requests that went to the instances which the View wants counted, looked at every
    /// `DATAPLANE_COUNT_MS`; `None` while there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Names that are asked for here and that the View says nothing of but that they exist.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub asked: BTreeSet<String>,
    /// How the encryption between hosts fares; `None` from one that knows nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<WireStatus>,
    /// How its floating addresses stand.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub floating: BTreeMap<Ipv4Addr, FloatingSeen>,
    /// What it found by the checks of this host's node, by their ids.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, CheckSeen>,
}

/// From the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromAgent {
    /// The version that will be spoken.
    Hello {
        /// At most the dataplane's, at least its minimum.
        version: u32,
    },
    /// Publish this.
    View(Arc<HostView>),
    /// All containers of this host.
    Local(Arc<Local>),
    /// What to encrypt between hosts; since version 2.
    Wire(Arc<WireWish>),
    /// What is told to who asks for metadata; since version 3.
    Meta(Box<MetaUpdate>),
    /// End.
    Shutdown,
}

/// News of the metadata.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MetaUpdate {
    /// Of which host.
    pub(crate) host: HostId,
    /// Index of the view that it came with.
    pub(crate) index: Index,
    /// Nothing else of that view is other than before, so that no view follows.
    #[serde(default)]
    pub(crate) alone: bool,
    /// All of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) whole: Option<MetaView>,
    /// What has changed since the last update of this connection.
    #[serde(default, skip_serializing_if = "MetaDelta::is_empty")]
    pub(crate) delta: MetaDelta,
}

/// From the dataplane.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromDataplane {
    /// The first frame.
    Hello {
        /// Newest version it speaks.
        version: u32,
        /// Oldest version it speaks.
        version_min: u32,
        /// Its process id.
        pid: u32,
    },
    /// Something changed.
    Report(Box<Report>),
}

/// Where the dataplane of a folder listens.
pub(crate) fn socket_path(dir: &Path) -> PathBuf {
    dir.join("dataplane.sock")
}

/// The newest version that both sides speak.
pub(crate) fn common_version(theirs: u32, theirs_min: u32) -> Option<u32> {
    let newest = theirs.min(PROTOCOL_VERSION);
    (newest >= theirs_min.max(PROTOCOL_VERSION_MIN)).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_on_the_newest_common_version_or_on_none() {
        for (theirs, theirs_min, expect) in [
            (1, 1, Some(1)),
            (2, 1, Some(2)),
            (3, 1, Some(3)),
            (4, 1, Some(3)),
            (9, 4, None),
            (0, 0, None),
        ] {
            assert_eq!(common_version(theirs, theirs_min), expect, "{theirs} {theirs_min}");
        }
    }

    #[test]
    fn a_frame_of_version_1_is_read() {
        let text = r#"{"local":{"shop/web#1@7":{"run":{"started_at":5,"container_id":"ab"},
            "docker_health":"healthy"}}}"#;
        let FromAgent::Local(local) = serde_json::from_str(text).unwrap() else {
            panic!("not a local frame");
        };
        let instance = &local[&"shop/web#1@7".parse().unwrap()];
        assert_eq!(instance.run.as_ref().unwrap().started_at, Timestamp(5));
        assert_eq!(instance.docker_health, Health::Healthy);
        let text = r#"{"report":{"view":3,"active":{"shop/web#1@7":2}}}"#;
        let FromDataplane::Report(report) = serde_json::from_str(text).unwrap() else {
            panic!("not a report");
        };
        assert_eq!((report.view, report.active.len()), (Index(3), 1));
    }
}
