//! `Fabric` in memory, for tests of others and for the simulation. It plans with the same `plan`
//! as `Linux` and plays the host; the contract suite keeps it honest.

use crate::Error;
use crate::fabric::{Fabric, Facts, LocalAddress};
use crate::overlay::{self, Device, Entry, MAIN, OverlayTrace, Setting, Underlay};
use crate::plan::{self, Address, Before, Leaving, Rules, Seen, Step, SwitchedOn};
use crate::sockets::{Holder, HostPort};
use crate::wish::{FabricStatus, FabricWish};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A host's network in memory; clones are the same host.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    /// Guards the played host; never held across an await.
    world: Arc<Mutex<FakeWorld>>,
}

/// The played host: change it as others would, or look at what was made.
#[derive(Debug, Default)]
pub struct FakeWorld {
    /// Interfaces besides `lo`: are they up?
    pub links: BTreeMap<String, bool>,
    /// IPv4 addresses.
    pub addresses: Vec<FakeAddress>,
    /// Bridges that our rules let in; `None` without rules.
    pub rules: Option<BTreeSet<String>>,
    /// Is IPv4 forwarding on?
    pub forwarding: bool,
    /// Answers of `listening`: those whose `wanted` is asked for.
    pub holders: Vec<Holder>,
    /// The next calls of `ensure` and `remove` fail with these.
    pub failures: Vec<Error>,
    /// `ensure` calls until now.
    pub ensured: u64,
    /// Has Docker a chain for rules of others?
    pub docker_user: bool,
    /// MTU of the device that the host's address is on.
    pub mtu: u32,
    devices: BTreeMap<String, Device>,
    entries: BTreeSet<Entry>,
    settings: BTreeMap<(Setting, String), i32>,
    environments: BTreeMap<String, Had>,
    switched_on: Option<SwitchedOn>,
}

/// What an environment has on the played host.
#[derive(Debug)]
struct Had {
    bridge: String,
    /// We made it.
    made_bridge: bool,
    overlay: Option<OverlayTrace>,
    guarded: bool,
}

/// An address on the played host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeAddress {
    /// Interface.
    pub device: String,
    /// Address.
    pub ip: Ipv4Addr,
    /// Prefix length.
    pub prefix: u8,
    /// Did we add it?
    pub ours: bool,
}

impl Fake {
    /// A host with loopback alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the host or changes it.
    pub fn with<T>(&self, act: impl FnOnce(&mut FakeWorld) -> T) -> T {
        act(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, FakeWorld> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeWorld {
    /// Plays Docker: makes the bridge with its gateway address.
    pub fn make_bridge(&mut self, name: &str, gateway: Ipv4Addr, prefix: u8) {
        self.links.insert(name.to_owned(), true);
        self.addresses.push(FakeAddress {
            device: name.to_owned(),
            ip: gateway,
            prefix,
            ours: false,
        });
    }

    /// Plays Docker: takes the bridge away with all its addresses.
    pub fn remove_bridge(&mut self, name: &str) {
        self.links.remove(name);
        self.addresses.retain(|a| a.device != name);
    }

    /// What there are ways to on other hosts, with the next host.
    #[must_use]
    pub fn ways(&self) -> BTreeMap<Ipv4Net, Option<Ipv4Addr>> {
        let ways = self.entries.iter().filter_map(|entry| match entry {
            Entry::Route { table: MAIN, to, via, .. } => Some((*to, *via)),
            _ => None,
        });
        ways.collect()
    }

    /// Plays somebody who takes the ways to an address away.
    pub fn cut_way(&mut self, to: Ipv4Net) {
        self.entries.retain(|entry| !matches!(entry, Entry::Route { to: of, .. } if *of == to));
    }

    /// MTU of the overlay's device.
    #[must_use]
    pub fn overlay_mtu(&self, device: &str) -> Option<u32> {
        self.devices.get(device).map(Device::mtu)
    }

    /// Entries, devices and settings that are not as the kernel has them by itself, to compare.
    #[cfg(test)]
    pub(crate) fn overlay_state(&self) -> (BTreeSet<Entry>, Vec<String>, Vec<(Setting, String)>) {
        let set = self.settings.iter().filter(|((setting, _), value)| **value != setting.plain());
        (
            self.entries.clone(),
            self.devices.keys().cloned().collect(),
            set.map(|(key, _)| key.clone()).collect(),
        )
    }

    fn seen(&self, bridges: &BTreeSet<String>) -> Seen {
        Seen {
            links: self.links.clone(),
            addresses: self
                .addresses
                .iter()
                .map(|a| Address {
                    device: a.device.clone(),
                    ip: a.ip,
                    prefix: a.prefix,
                    ours: a.ours,
                })
                .collect(),
            rules: match &self.rules {
                None => Rules::Absent,
                Some(loaded) if loaded == bridges => Rules::AsWished,
                Some(_) => Rules::Different,
            },
            forwarding: self.forwarding,
            underlay: Some(Underlay {
                device: "eth0".to_owned(),
                mtu: self.mtu.max(overlay::MTU),
                segment: Ipv4Net::default(),
            }),
            devices: self.devices.clone(),
            entries: self.entries.clone(),
            settings: self.settings.clone(),
            accepts: self.docker_user,
        }
    }

    fn bridges(&self) -> BTreeSet<String> {
        self.environments.values().map(|had| had.bridge.clone()).collect()
    }

    fn carry_out(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::ReplaceRules => self.rules = Some(self.bridges()),
                Step::DropRules => self.rules = None,
                Step::Forwarding(on) => self.forwarding = *on,
                Step::MakeBridge { device } => _ = self.links.insert(device.clone(), true),
                Step::DropBridge { device } => self.remove_bridge(device),
                Step::Up { device } => _ = self.links.insert(device.clone(), true),
                Step::Add { device, ip, prefix } => self.addresses.push(FakeAddress {
                    device: device.clone(),
                    ip: *ip,
                    prefix: *prefix,
                    ours: true,
                }),
                Step::Remove { device, ip, .. } => {
                    self.addresses.retain(|a| !(a.ours && a.device == *device && a.ip == *ip));
                }
                Step::MakeDevice { device, made } => {
                    self.links.insert(device.clone(), true);
                    self.devices.insert(device.clone(), made.clone());
                }
                Step::DropDevice { device } => {
                    self.remove_bridge(device);
                    self.devices.remove(device);
                    self.entries.retain(|entry| !entry.is_on(device));
                    self.settings.retain(|(_, of), _| of != device);
                }
                Step::Mtu { device, mtu } => {
                    if let Some(made) = self.devices.get_mut(device) {
                        *made = made.with_mtu(*mtu);
                    }
                }
                Step::Set { setting, device, value } => {
                    self.settings.insert((*setting, device.clone()), *value);
                }
                Step::Put(entry) => {
                    self.entries.retain(|other| !entry.replaces(other));
                    self.entries.insert(entry.clone());
                }
                Step::Take(entry) => _ = self.entries.remove(entry),
            }
        }
    }

    fn next_failure(&mut self) -> Result<(), Error> {
        if self.failures.is_empty() { Ok(()) } else { Err(self.failures.remove(0)) }
    }
}

fn before_of(had: &Had) -> Before<'_> {
    let Had { bridge, made_bridge, overlay, guarded } = had;
    Before { bridge, made_bridge: *made_bridge, overlay: overlay.as_ref(), guarded: *guarded }
}

impl Fabric for Fake {
    async fn ensure(&self, wish: &FabricWish) -> Result<FabricStatus, Error> {
        wish.check()?;
        let mut world = self.lock();
        world.ensured += 1;
        world.next_failure()?;
        let overlay = wish.overlay.as_ref().map(|overlay| overlay.trace(wish.subnet));
        let known = world.environments.get(&wish.environment);
        let made = known.is_some_and(|had| had.made_bridge && had.bridge == wish.bridge);
        let made_bridge = wish.makes_bridge && (made || !world.links.contains_key(&wish.bridge));
        let guarded = !wish.policy.is_off();
        let next = Had { bridge: wish.bridge.clone(), made_bridge, overlay, guarded };
        let before = world.environments.insert(wish.environment.clone(), next);
        let seen = world.seen(&world.bridges());
        let plan = plan::ensure(&seen, wish, before.as_ref().map(before_of));
        world.switched_on = SwitchedOn::by(&plan, &seen).or(world.switched_on);
        world.carry_out(&plan.steps);
        if let Some(device) = plan.taken {
            return Err(Error::DeviceTaken { device });
        }
        if plan.bridge_missing {
            return Err(Error::BridgeMissing { bridge: wish.bridge.clone() });
        }
        Ok(plan.status())
    }

    async fn remove(&self, environment: &str) -> Result<(), Error> {
        let mut world = self.lock();
        world.next_failure()?;
        let leaving = world.environments.remove(environment);
        let seen = world.seen(&world.bridges());
        let steps = match (&leaving, world.environments.is_empty()) {
            (None, false) => return Ok(()),
            (Some(trace), false) => plan::remove(&seen, Leaving::One(before_of(trace))),
            (_, true) => {
                let switched_on = world.switched_on.take();
                let before = leaving.as_ref().map(before_of);
                plan::remove(&seen, Leaving::Last { before, switched_on })
            }
        };
        world.carry_out(&steps);
        Ok(())
    }

    async fn listening(&self, wanted: &[HostPort]) -> Result<Vec<Holder>, Error> {
        let world = self.lock();
        Ok(world.holders.iter().filter(|h| wanted.contains(&h.wanted)).cloned().collect())
    }

    async fn facts(&self) -> Result<Facts, Error> {
        Ok(Facts {
            hostname: "fake".to_owned(),
            address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            mtu: Some(self.lock().mtu.max(overlay::MTU)),
            segment: None,
            kernel: "6.1.0-fake".to_owned(),
        })
    }

    async fn local_addresses(&self) -> Result<Vec<LocalAddress>, Error> {
        let local = LocalAddress {
            device: plan::LOOPBACK.to_owned(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            prefix: 8,
        };
        let world = self.lock();
        let others = world.addresses.iter().map(|a| LocalAddress {
            device: a.device.clone(),
            ip: IpAddr::V4(a.ip),
            prefix: a.prefix,
        });
        Ok(std::iter::once(local).chain(others).collect())
    }
}
