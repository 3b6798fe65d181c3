//! How the instances of a service come to be: copies, one a host, or runs of a job; and who
//! decides how many.

use crate::limits;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// How the instances of a service come to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Mode {
    /// As many copies as the scale says.
    #[default]
    Replicated,
    /// One on each host that may take it: Rancher's `io.rancher.scheduler.global`.
    Global,
    /// Runs that end, by the clock or when asked for.
    Job(Box<JobSpec>),
}

impl Mode {
    /// Is it the default?
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        *self == Self::Replicated
    }
}

/// A job: each run is one instance that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobSpec {
    /// When it runs by itself; `None` only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What happens when the last run is not over.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// A run that takes longer is stopped and counts as failed, in milliseconds; `None` is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Ended runs whose containers and results are kept.
    #[serde(default = "history_default")]
    pub history: u32,
    /// A run that could not begin within this time is left out, in milliseconds.
    #[serde(default = "deadline_default")]
    pub starting_deadline_ms: u64,
}

fn history_default() -> u32 {
    limits::JOB_HISTORY_DEFAULT
}

fn deadline_default() -> u64 {
    limits::JOB_STARTING_DEADLINE_MS_DEFAULT
}

impl Default for JobSpec {
    fn default() -> Self {
        Self {
            schedule: None,
            concurrency: Concurrency::default(),
            timeout_ms: None,
            history: history_default(),
            starting_deadline_ms: deadline_default(),
        }
    }
}

/// What happens when a run is due and the last one is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Concurrency {
    /// The new one is left out.
    #[default]
    Forbid,
    /// Both run.
    Allow,
    /// The old one is stopped.
    Replace,
}

/// Who decides on the scale besides people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Scaling {
    /// Rancher's `scale_policy`: from `min` on, `increment` more whenever all are well, to `max`
    /// or to as many as fit.
    Fit {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
        /// Step.
        increment: u32,
    },
    /// By load.
    Load {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
        /// What is measured.
        metric: Metric,
        /// Value that each instance should have on average, in the metric's unit.
        target: u64,
        /// How long the load must have been low before instances go, in milliseconds.
        down_after_ms: u64,
        /// How long it must have been high before instances come, in milliseconds.
        up_after_ms: u64,
    },
}

impl Scaling {
    /// Least and most instances.
    #[must_use]
    pub fn bounds(self) -> (u32, u32) {
        match self {
            Self::Fit { min, max, .. } | Self::Load { min, max, .. } => (min, max.max(min)),
        }
    }
}

/// What autoscaling measures, per instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Per cent of the cpu that is reserved, else limited to, else of one core.
    Cpu,
    /// Per cent of the memory that is reserved, else limited to, else of the host's.
    Memory,
    /// Requests per second through balancers and host ports.
    Requests,
}
