//! Reasons: why something wanted is not there. Planning cannot fail, it says `Blocked`.

use crate::id::{HostId, ServiceId};
use crate::limits::REASON_BYTES_MAX;
use crate::service::{Condition, Transport};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that cannot be done now, and why. Shown wherever the service is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Blocked {
    /// Slot of the service, 0 for all of it.
    pub n: u32,
    /// Why.
    pub reason: Reason,
}

/// Why something is blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Reason {
    /// No host can take anything.
    NoHost {
        /// Hosts known.
        known: u32,
    },
    /// A host port is held by another service of ours.
    PortHeld {
        /// The port.
        port: u16,
        /// tcp or udp.
        transport: Transport,
        /// Who holds it.
        #[schema(value_type = String)]
        holder: ServiceId,
        /// Where.
        #[schema(value_type = String)]
        host: HostId,
    },
    /// A host port is held by a program that is not ours.
    PortTaken {
        /// The port.
        port: u16,
        /// tcp or udp.
        transport: Transport,
        /// Where.
        #[schema(value_type = String)]
        host: HostId,
        /// What is known of the holder.
        by: String,
    },
    /// The managed network has no free address.
    NoAddress {
        /// Its range.
        subnet: String,
    },
    /// A dependency has not reached its condition.
    Waiting {
        /// The dependency.
        #[schema(value_type = String)]
        on: ServiceId,
        /// What is waited for.
        condition: Condition,
        /// How far it is.
        so_far: String,
    },
    /// A dependency can no longer reach its condition.
    DependencyFailed {
        /// The dependency.
        #[schema(value_type = String)]
        on: ServiceId,
        /// Why.
        why: String,
    },
    /// More memory or cpu is reserved than a host has left.
    NoResources {
        /// "memory 512 MiB", "cpu 2.0".
        wanted: String,
        /// What the best host has left.
        free: String,
    },
    /// The rollout stopped.
    RolloutFailed {
        /// To which revision.
        revision: u32,
        /// Why.
        why: String,
    },
    /// A replacement waits for its back-off.
    Backoff {
        /// Replacements so far.
        count: u32,
        /// Why the last one was replaced.
        why: String,
    },
}

/// The text of a reason within `REASON_BYTES_MAX`, cut between two characters.
#[must_use]
pub fn within_limit(mut text: String) -> String {
    if text.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost { known: 0 } => f.write_str("no host has joined yet"),
            Self::NoHost { known } => write!(f, "none of {known} hosts is connected"),
            Self::PortHeld { port, transport, holder, host } => {
                write!(f, "port {port}/{transport} on host {host} is held by {holder}")
            }
            Self::PortTaken { port, transport, host, by } => {
                write!(f, "port {port}/{transport} on host {host} is taken by {by}")
            }
            Self::NoAddress { subnet } => write!(f, "no free address in {subnet}"),
            Self::Waiting { on, condition, so_far } => {
                let what = match condition {
                    Condition::Started => "to start",
                    Condition::Healthy => "to get healthy",
                    Condition::Completed => "to complete",
                };
                write!(f, "waits for {on} {what} ({so_far})")
            }
            Self::DependencyFailed { on, why } => write!(f, "its dependency {on} failed: {why}"),
            Self::NoResources { wanted, free } => {
                write!(f, "no host has {wanted} left to reserve (most is {free})")
            }
            Self::RolloutFailed { revision, why } => {
                write!(f, "rollout to revision {revision} stopped: {why}")
            }
            Self::Backoff { count, why } => {
                write!(f, "replaced {count} times, waits before the next try: {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        assert_eq!(within_limit("short".into()), "short");
        let long = within_limit("停".repeat(REASON_BYTES_MAX));
        assert!(long.len() <= REASON_BYTES_MAX && long.len() > REASON_BYTES_MAX - 3);
        assert!(long.chars().all(|c| c == '停'));
    }
}
