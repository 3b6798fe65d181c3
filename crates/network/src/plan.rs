//! The thinking: what a host's network lacks of a wish, and what of it is ours to take away.
//! Pure: it looks at what was seen and says which steps, it does none of them.

mod overlay;
mod policy;

use crate::overlay::{Device, Entry, OverlayTrace, Setting, Underlay, is_device_name};
use crate::wish::{FabricStatus, FabricWish, Repair};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// End of the label of every address that we add, e.g. `lo:rmd`. It lives and dies with the
/// address, so that no file can be wrong about which ones are ours. What is before the colon
/// must be the device: programs that list interfaces the old way look it up.
pub(crate) const MARK: &str = ":rmd";

/// The device of the link-local address: containers of every bridge reach it there.
pub(crate) const LOOPBACK: &str = "lo";

/// An IPv4 address of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) device: String,
    pub(crate) ip: Ipv4Addr,
    pub(crate) prefix: u8,
    /// Does it have our mark?
    pub(crate) ours: bool,
}

/// How our nftables table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rules {
    #[default]
    Absent,
    Different,
    AsWished,
}

/// What is seen of a host's network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Interfaces by name: is it set up?
    pub(crate) links: BTreeMap<String, bool>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) rules: Rules,
    pub(crate) forwarding: bool,
    /// The device that the host's address in the overlay's wish is on.
    pub(crate) underlay: Option<Underlay>,
    /// VXLAN and TUN devices that have a name of ours.
    pub(crate) devices: BTreeMap<String, Device>,
    /// Entries that have our mark or are on such a device.
    pub(crate) entries: BTreeSet<Entry>,
    /// Settings of bridges and of such devices.
    pub(crate) settings: BTreeMap<(Setting, String), i32>,
    /// Has Docker a chain for rules of others?
    pub(crate) accepts: bool,
}

/// What an environment had on this host until now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before<'a> {
    pub(crate) bridge: &'a str,
    /// It is one that we made.
    pub(crate) made_bridge: bool,
    pub(crate) overlay: Option<&'a OverlayTrace>,
    /// Had it a network policy?
    pub(crate) guarded: bool,
}

/// One effect on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    ReplaceRules,
    DropRules,
    Forwarding(bool),
    MakeBridge { device: String },
    DropBridge { device: String },
    Up { device: String },
    Add { device: String, ip: Ipv4Addr, prefix: u8 },
    Remove { device: String, ip: Ipv4Addr, prefix: u8 },
    MakeDevice { device: String, made: Device },
    DropDevice { device: String },
    Mtu { device: String, mtu: u32 },
    Set { setting: Setting, device: String, value: i32 },
    Put(Entry),
    Take(Entry),
}

impl Step {
    /// How `FabricStatus` shows it.
    pub(crate) fn repair(&self) -> Repair {
        match self {
            Self::ReplaceRules | Self::DropRules => Repair::Rules,
            Self::Forwarding(_) => Repair::Forwarding,
            Self::MakeBridge { .. } => Repair::BridgeMade,
            Self::DropBridge { .. } => Repair::BridgeRemoved,
            Self::Up { device } if is_device_name(device) => Repair::OverlayTuned,
            Self::Up { .. } => Repair::BridgeUp,
            Self::Add { ip, .. } => Repair::AddressAdded(*ip),
            Self::Remove { ip, .. } => Repair::AddressRemoved(*ip),
            Self::MakeDevice { .. } => Repair::OverlayMade,
            Self::DropDevice { .. } => Repair::OverlayRemoved,
            Self::Mtu { .. } => Repair::OverlayTuned,
            Self::Set { .. } => Repair::Setting,
            Self::Put(entry) => match entry {
                Entry::Neighbour { ip, .. } | Entry::Forward { host: ip, .. } => {
                    Repair::PeerAdded(*ip)
                }
                Entry::Route { to, .. } => Repair::RouteAdded(*to),
                Entry::Rule { .. } => Repair::Rule,
                Entry::Accept { .. } => Repair::Accepted,
            },
            Self::Take(entry) => match entry {
                Entry::Neighbour { ip, .. } | Entry::Forward { host: ip, .. } => {
                    Repair::PeerRemoved(*ip)
                }
                Entry::Route { to, .. } => Repair::RouteRemoved(*to),
                Entry::Rule { .. } => Repair::Rule,
                Entry::Accept { .. } => Repair::AcceptRemoved,
            },
        }
    }
}

/// What `ensure` is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In order.
    pub(crate) steps: Vec<Step>,
    /// Wished addresses that somebody else has set.
    pub(crate) foreign: Vec<Ipv4Addr>,
    /// The bridge is not there: what belongs on it waits.
    pub(crate) bridge_missing: bool,
    /// Somebody else's device that has the name of the overlay's.
    pub(crate) taken: Option<String>,
    /// Other hosts that plain routes do not lead to.
    pub(crate) off_segment: BTreeSet<Ipv4Addr>,
}

impl Plan {
    /// What it comes to when every step was done.
    pub(crate) fn status(&self) -> FabricStatus {
        let repaired = self.steps.iter().map(Step::repair).collect();
        FabricStatus {
            repaired,
            foreign: self.foreign.clone(),
            off_segment: self.off_segment.clone(),
        }
    }
}

/// What `seen` lacks of `wish`. `before` is what the environment had until now: what is ours there
/// goes when the wish names something else.
pub(crate) fn ensure(seen: &Seen, wish: &FabricWish, before: Option<Before<'_>>) -> Plan {
    let mut plan = Plan::default();
    let with_bridge;
    let seen = if wish.makes_bridge && !seen.links.contains_key(&wish.bridge) {
        plan.steps.push(Step::MakeBridge { device: wish.bridge.clone() });
        let links = seen.links.iter().map(|(name, up)| (name.clone(), *up));
        let links = links.chain([(wish.bridge.clone(), true)]).collect();
        with_bridge = Seen { links, ..seen.clone() };
        &with_bridge
    } else {
        seen
    };
    // Rules come before the address: it is never reachable from outside the host, not for a moment.
    if seen.rules != Rules::AsWished {
        plan.steps.push(Step::ReplaceRules);
    }
    if !seen.forwarding {
        plan.steps.push(Step::Forwarding(true));
    }
    // One of ours on another device is a leftover; one of somebody else serves wherever it is.
    let usable = |a: &&Address| a.ip == wish.link_local && (!a.ours || a.device == LOOPBACK);
    match seen.addresses.iter().find(usable) {
        Some(address) if address.ours => {}
        Some(_) => plan.foreign.push(wish.link_local),
        None => plan.steps.push(Step::Add {
            device: LOOPBACK.to_owned(),
            ip: wish.link_local,
            prefix: 32,
        }),
    }
    if let Some(old) = before.filter(|old| old.bridge != wish.bridge) {
        plan.steps.extend(ours_on(seen, old.bridge, |_| true));
    }
    match seen.links.get(&wish.bridge) {
        None => plan.bridge_missing = true,
        Some(up) => {
            if !up {
                plan.steps.push(Step::Up { device: wish.bridge.clone() });
            }
            on_bridge(seen, wish, &mut plan);
            policy::ensure(seen, wish, before, &mut plan);
        }
    }
    overlay::ensure(seen, wish, before, &mut plan);
    if let Some(old) = before.filter(|old| old.bridge != wish.bridge) {
        plan.steps.extend(drop_bridge(seen, old));
    }
    plan
}

/// Takes a bridge away that we made.
fn drop_bridge(seen: &Seen, of: Before<'_>) -> Option<Step> {
    let there = of.made_bridge && seen.links.contains_key(of.bridge);
    there.then(|| Step::DropBridge { device: of.bridge.to_owned() })
}

fn on_bridge(seen: &Seen, wish: &FabricWish, plan: &mut Plan) {
    let gateway = model::host::gateway(wish.subnet);
    let wished = std::iter::once((gateway, wish.subnet.prefix_len()))
        .chain(wish.bridge_addresses.iter().map(|ip| (*ip, 32)));
    for (ip, prefix) in wished {
        match seen.addresses.iter().find(|a| a.device == wish.bridge && a.ip == ip) {
            // Docker sets the gateway itself, so that is nothing to report.
            Some(address) if !address.ours && ip != gateway => plan.foreign.push(ip),
            Some(_) => {}
            None => plan.steps.push(Step::Add { device: wish.bridge.clone(), ip, prefix }),
        }
    }
    let stale = |ip: Ipv4Addr| ip != gateway && !wish.bridge_addresses.contains(&ip);
    plan.steps.extend(ours_on(seen, &wish.bridge, stale));
}

fn ours_on<'a>(
    seen: &'a Seen,
    device: &'a str,
    unwanted: impl Fn(Ipv4Addr) -> bool + 'a,
) -> impl Iterator<Item = Step> + 'a {
    seen.addresses
        .iter()
        .filter(move |a| a.ours && a.device == device && unwanted(a.ip))
        .map(removal)
}

fn removal(a: &Address) -> Step {
    Step::Remove { device: a.device.clone(), ip: a.ip, prefix: a.prefix }
}

/// Docker's own bridge: while it is there, dockerd counts on forwarding.
const DOCKER_BRIDGE: &str = "docker0";

/// We switched forwarding on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SwitchedOn {
    /// Was Docker's bridge there already? If it came later, dockerd found forwarding on, and would
    /// have switched it on itself.
    docker_was_there: bool,
}

impl SwitchedOn {
    /// If `plan` switches forwarding on.
    pub(crate) fn by(plan: &Plan, seen: &Seen) -> Option<Self> {
        let docker_was_there = seen.links.contains_key(DOCKER_BRIDGE);
        plan.steps.contains(&Step::Forwarding(true)).then_some(Self { docker_was_there })
    }

    fn is_ours_to_undo(self, seen: &Seen) -> bool {
        seen.forwarding && (self.docker_was_there || !seen.links.contains_key(DOCKER_BRIDGE))
    }
}

/// Whose things are to go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaving<'a> {
    /// One environment's, while others stay on this host.
    One(Before<'a>),
    /// All that is ours: the last environment leaves, or the journal was lost.
    Last {
        /// What it had, when it is known.
        before: Option<Before<'a>>,
        /// Did we switch forwarding on since this boot?
        switched_on: Option<SwitchedOn>,
    },
}

/// What is ours to take away.
pub(crate) fn remove(seen: &Seen, leaving: Leaving<'_>) -> Vec<Step> {
    match leaving {
        Leaving::One(before) => {
            let Before { bridge, overlay, guarded, .. } = before;
            let mut steps: Vec<Step> = ours_on(seen, bridge, |_| true).collect();
            steps.extend(overlay.into_iter().flat_map(|t| overlay::remove(seen, bridge, t)));
            steps.extend(guarded.then(|| policy::unset(seen, bridge)).into_iter().flatten());
            if seen.rules != Rules::AsWished {
                steps.push(Step::ReplaceRules);
            }
            steps.extend(drop_bridge(seen, before));
            steps
        }
        Leaving::Last { before, switched_on } => {
            let guarded = before.filter(|before| before.guarded).map(|before| before.bridge);
            let known = before.and_then(|before| Some((before.bridge, before.overlay?)));
            let mut steps: Vec<Step> = known
                .map(|(bridge, trace)| overlay::remove(seen, bridge, trace))
                .unwrap_or_default();
            let rest = overlay::remove_all(seen);
            steps.extend(rest.into_iter().filter(|step| !steps.contains(step)).collect::<Vec<_>>());
            steps.extend(guarded.into_iter().flat_map(|bridge| policy::unset(seen, bridge)));
            // The address goes before the rules that keep others from it.
            let on_dropped = |a: &&Address| seen.devices.contains_key(&a.device);
            let ours = seen.addresses.iter().filter(|a| a.ours && !on_dropped(a));
            steps.extend(ours.map(removal));
            steps.extend(before.and_then(|before| drop_bridge(seen, before)));
            if seen.rules != Rules::Absent {
                steps.push(Step::DropRules);
            }
            if switched_on.is_some_and(|switch| switch.is_ours_to_undo(seen)) {
                steps.push(Step::Forwarding(false));
            }
            steps
        }
    }
}

#[cfg(test)]
mod tests;
