//! What an `up` changes, told service by service before it is done.

use model::change::Proposal;
use model::id::ServiceName;
use std::collections::BTreeMap;

/// What bringing a stack up changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StackDiff {
    /// Service by service: those of the file, and those that are removed.
    pub services: BTreeMap<ServiceName, ServiceDiff>,
    /// Services of the stack that the file does not know and that stay.
    pub orphans: Vec<ServiceName>,
    /// To commit. Empty when nothing changes.
    pub proposal: Proposal,
}

/// What happens to one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDiff {
    /// In one word.
    pub change: ServiceChange,
    /// `path: old -> new`, secrets masked, bounded.
    pub details: Vec<String>,
}

/// What happens to a service, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
