//! What a proposal leads to, instance by instance, if all goes well: for `remuda plan`.

use model::id::{HostId, ServiceId};
use model::reason::Reason;
use model::service::Transport;
use std::collections::BTreeMap;

/// Ports of hosts that programs of others hold, with what is known of the holder.
pub type ForeignPorts = BTreeMap<(HostId, Transport, u16), String>;

/// What a proposal leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// Instance by instance, by service and slot.
    pub steps: Vec<Step>,
    /// What cannot be done, or not at once.
    pub blocked: Vec<Obstacle>,
}

/// What happens to one slot of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of which service.
    pub service: ServiceId,
    /// Which slot.
    pub n: u32,
    /// What.
    pub sign: Sign,
    /// Where it is (afterwards).
    pub host: HostId,
    /// Why.
    pub why: String,
}

/// What happens to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// An instance is made.
    Add,
    /// Its instance goes.
    Remove,
    /// Its instance is replaced.
    Replace,
    /// Its instance is changed in place.
    Edit,
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Add => "+",
            Self::Remove => "-",
            Self::Replace => "±",
            Self::Edit => "~",
        })
    }
}

/// Something that a proposal runs into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Which service.
    pub service: ServiceId,
    /// Slot, 0 for all of it.
    pub n: u32,
    /// Why.
    pub reason: Reason,
    /// Does it go away by itself, as other parts of the proposal are carried out?
    pub passing: bool,
}
