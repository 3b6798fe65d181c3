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
    /// Hosts are there, and none of them can take it.
    NoFit {
        /// Hosts known.
        hosts: u32,
        /// What they lack, each with how many lack it first; the most frequent first.
        lacks: Vec<(Lack, u32)>,
    },
    /// Somebody paused the rollout.
    Paused,
    /// The canaries wait for `promote` or `abort`.
    CanaryWaits {
        /// How many.
        canaries: u32,
        /// Of which revision.
        revision: u32,
    },
    /// The rollout is done and what was before is kept until `finish` or `rollback`.
    FinishWaits {
        /// The revision that runs.
        revision: u32,
    },
    /// The host drains and this instance cannot move.
    DrainWaits {
        /// Which host.
        #[schema(value_type = String)]
        host: HostId,
        /// Why.
        why: String,
    },
    /// The host is away, and its policy says to wait.
    HostAway {
        /// Which host.
        #[schema(value_type = String)]
        host: HostId,
        /// What is waited for.
        why: String,
    },
    /// The external scheduler did not answer.
    SchedulerDown {
        /// Why.
        why: String,
    },
    /// A policy would have it larger or smaller and cannot.
    ScaleHeld {
        /// Why.
        why: String,
    },
    /// Nobody can have its floating address.
    FloatingIp {
        /// The address.
        #[schema(value_type = String)]
        address: std::net::Ipv4Addr,
        /// Why.
        why: String,
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

/// Why one host cannot take an instance.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case", tag = "lack")]
pub enum Lack {
    /// Its agent is not connected.
    Connection,
    /// It is cordoned.
    Cordoned,
    /// It is draining.
    Draining,
    /// It is not the requested one.
    NotRequested {
        /// Which is.
        wanted: String,
    },
    /// It accepts only containers with one of these labels.
    RequiredLabel {
        /// `io.rancher.scheduler.require_any`.
        any_of: String,
    },
    /// A hard constraint.
    Constraint {
        /// As it reads: "must have host label zone=a".
        text: String,
    },
    /// It has as many instances of the service as it may.
    MaxPerHost {
        /// How many.
        max: u32,
    },
    /// Less memory is left than is reserved.
    Memory {
        /// "512 MiB".
        wanted: String,
    },
    /// Less cpu is left than is reserved.
    Cpu {
        /// "1.5".
        wanted: String,
    },
    /// A host port is held.
    Port {
        /// The port.
        port: u16,
        /// tcp or udp.
        transport: Transport,
        /// By what: a service of ours or a program.
        by: String,
    },
    /// No address of `io.rancher.scheduler.ips` has the port free, or the asked one is not in it.
    PortAddress {
        /// The port.
        port: u16,
    },
    /// The external scheduler left it out.
    Scheduler,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("not connected"),
            Self::Cordoned => f.write_str("cordoned"),
            Self::Draining => f.write_str("draining"),
            Self::NotRequested { wanted } => write!(f, "not the requested host {wanted}"),
            Self::RequiredLabel { any_of } => write!(f, "take only containers with {any_of}"),
            Self::Constraint { text } => f.write_str(text),
            Self::MaxPerHost { max } => write!(f, "have {max} of it already"),
            Self::Memory { wanted } => write!(f, "lack memory {wanted}"),
            Self::Cpu { wanted } => write!(f, "lack cpu {wanted}"),
            Self::Port { port, transport, by } => {
                write!(f, "port {port}/{transport} taken by {by}")
            }
            Self::PortAddress { port } => write!(f, "no address with port {port} free"),
            Self::Scheduler => f.write_str("left out by the external scheduler"),
        }
    }
}

/// The text of a reason within `REASON_BYTES_MAX`, cut between two characters.
#[must_use]
pub fn within_limit(mut text: String) -> String {
    cut(&mut text, REASON_BYTES_MAX);
    text
}

/// Cuts a text to some bytes, between two characters.
pub(crate) fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
    }
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
            Self::NoFit { hosts, lacks } => {
                write!(f, "{hosts} {}:", if *hosts == 1 { "host" } else { "hosts" })?;
                for (i, (lack, count)) in lacks.iter().enumerate() {
                    write!(f, "{} {count} {lack}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Paused => {
                f.write_str("the rollout is paused: `resume` goes on, `abort` goes back")
            }
            Self::CanaryWaits { canaries, revision } => write!(
                f,
                "{canaries} of revision {revision} run as canaries: `promote` goes on, `abort` goes back"
            ),
            Self::FinishWaits { revision } => write!(
                f,
                "revision {revision} runs, what was before is kept: `finish` or `rollback`"
            ),
            Self::DrainWaits { host, why } => write!(f, "cannot leave draining host {host}: {why}"),
            Self::HostAway { host, why } => write!(f, "host {host} is away: {why}"),
            Self::SchedulerDown { why } => {
                write!(f, "the external scheduler gave no answer: {why}")
            }
            Self::ScaleHeld { why } => write!(f, "the scale stays: {why}"),
            Self::FloatingIp { address, why } => {
                write!(f, "no host has the floating address {address}: {why}")
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
