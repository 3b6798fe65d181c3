//! The server's thinking: which instances should exist, and where. It never fails: what cannot be
//! done is written into the service's status as `Blocked`, with its reason.

pub mod change;
pub mod outlook;

use model::change::Proposal;
use model::time::Timestamp;

/// What the leader should commit now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterPlan {
    /// At most one per service, each good by itself: one that is refused because a record it rests
    /// on has moved is dropped, the next plan makes it anew. Plan again only when the commits that
    /// went through have been applied to the `Cluster` that is planned from.
    pub proposals: Vec<Proposal>,
    /// Plan again then even if nothing has changed; `None` is only on a change.
    pub wake_at: Option<Timestamp>,
}
