//! Events: the change log told to people.

use crate::id::{HostId, InstanceId, ServiceId, StackName};
use crate::time::{Index, Timestamp};
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// At which change.
    pub index: Index,
    /// When.
    pub at: Timestamp,
    /// `error` asks for a person, `warn` heals itself, `info` is a change.
    pub severity: Severity,
    /// A fixed word: `instance.running`, `rollout.failed`, `service.blocked` …
    pub action: String,
    /// In which stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub stack: Option<StackName>,
    /// Of which service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceId>,
    /// Of which instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceId>,
    /// On which host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub host: Option<HostId>,
    /// For people, with the reason.
    pub message: String,
}

/// How much an event asks for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A change.
    Info,
    /// Degraded, heals itself.
    Warn,
    /// A person must act.
    Error,
}
