//! How a rollout goes: compose's `deploy.update_config`, Rancher's `upgrade_strategy`, and what
//! both never had.

use serde::{Deserialize, Serialize};

/// How a rollout goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct UpdatePolicy {
    /// Instances changed at the same time; `None` is a quarter of the scale, at least 1.
    pub batch_size: Option<u32>,
    /// Pause between two batches.
    pub interval_ms: u64,
    /// Which goes first; `None`: the new one, unless the host's ports or an address that is kept
    /// leave no room for two.
    pub order: Option<UpdateOrder>,
    /// With stop-first: slots that may be without a ready instance by our own doing; `None` is the
    /// batch.
    pub max_unavailable: Option<u32>,
    /// How long a new instance must stay well before its predecessor goes, in milliseconds;
    /// `None` is `limits::ROLLOUT_PROVEN_MS`.
    pub monitor_ms: Option<u64>,
    /// What a failure leads to.
    pub on_failure: FailureAction,
    /// Instances that change first and then wait for `promote`; `None` or 0 is no canary.
    pub canary: Option<u32>,
    /// When the old instances are let go for good.
    pub finish: Finish,
}

/// Which goes first in a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOrder {
    /// The new instance starts and takes traffic, then the old one drains and stops.
    #[default]
    StartFirst,
    /// The old one drains and stops, then the new one starts.
    StopFirst,
}

/// What the failure of a new instance leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    /// Back to what served before.
    #[default]
    Rollback,
    /// The rollout stops where it is until somebody decides.
    Pause,
    /// It goes on; what fails is tried again.
    Continue,
}

/// When the old instances are let go for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// As soon as their successors are proven.
    #[default]
    Auto,
    /// They are stopped and kept until `finish`, as Rancher does: a rollback starts them again.
    Manual,
}
