//! `HostStatus`: what an agent sees. It goes up to the server, whole and idempotent.

use crate::host::HostFacts;
use crate::id::{HostId, InstanceId};
use crate::instance::InstanceStatus;
use crate::time::{Generation, Index};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one host is seen to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Of which host.
    pub host: HostId,
    /// Spec that the agent works on.
    pub generation: Generation,
    /// View that its dataplane serves.
    pub view: Index,
    /// Facts of the host.
    pub facts: HostFacts,
    /// By instance; an instance of the spec that is not here has not been looked at yet.
    pub instances: BTreeMap<InstanceId, InstanceStatus>,
}
