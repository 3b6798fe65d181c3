//! What one host should hold (`spec`, on the server), and how its agent gets there (`plan`).

pub mod memo;
pub mod seen;

pub use memo::{Failure, Memo};
pub use seen::{InFlight, Listening, ProbeResult, Seen, SeenContainer, SeenInstance, SeenVolume};

use model::container_spec::PullPolicy;
use model::id::InstanceId;
use model::instance::InstanceStatus;
use model::stack::VolumeSpec;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// What an agent should do now, and what it should report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostPlan {
    /// To start now, side by side; at most one per instance and per volume, none for one that has
    /// an action in flight.
    pub actions: Vec<Action>,
    /// To report, and to give back as `Seen::reported` next time. An instance that could not be
    /// looked at is not in it.
    pub statuses: BTreeMap<InstanceId, InstanceStatus>,
    /// Plan again then even if nothing has changed.
    pub wake_at: Option<Timestamp>,
}

/// One effect on the world. Each may be carried out twice without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have the image here.
    Pull {
        /// For whom.
        instance: InstanceId,
        /// Image reference.
        image: String,
        /// When it is fetched.
        policy: PullPolicy,
    },
    /// Have the named volume. Its spec is `HostSpec::volumes`'.
    EnsureVolume {
        /// Docker's name.
        name: String,
        /// What it is made from.
        spec: VolumeSpec,
    },
    /// Make the container as `HostSpec::instances` says.
    Create {
        /// Whose.
        instance: InstanceId,
    },
    /// Start it.
    Start {
        /// Whose.
        instance: InstanceId,
        /// Docker's id.
        container: String,
    },
    /// Stop it, and keep it.
    Stop {
        /// Whose.
        instance: InstanceId,
        /// Docker's id.
        container: String,
        /// SIGTERM to SIGKILL, milliseconds.
        grace_ms: u64,
    },
    /// Take it away, killing it if it runs.
    Remove {
        /// Whose.
        instance: InstanceId,
        /// Docker's id.
        container: String,
    },
}

impl Action {
    /// Whose it is; `None` for a volume.
    #[must_use]
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Pull { instance, .. }
            | Self::Create { instance }
            | Self::Start { instance, .. }
            | Self::Stop { instance, .. }
            | Self::Remove { instance, .. } => Some(instance),
            Self::EnsureVolume { .. } => None,
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Pull { .. } => ActionKind::Pull,
            Self::EnsureVolume { .. } => ActionKind::EnsureVolume,
            Self::Create { .. } => ActionKind::Create,
            Self::Start { .. } => ActionKind::Start,
            Self::Stop { .. } => ActionKind::Stop,
            Self::Remove { .. } => ActionKind::Remove,
        }
    }
}

/// Kind of an action.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// `Action::Pull`.
    Pull,
    /// `Action::EnsureVolume`.
    EnsureVolume,
    /// `Action::Create`.
    Create,
    /// `Action::Start`.
    Start,
    /// `Action::Stop`.
    Stop,
    /// `Action::Remove`.
    Remove,
}

impl std::fmt::Display for ActionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pull => "pull",
            Self::EnsureVolume => "ensure_volume",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "remove",
        })
    }
}
