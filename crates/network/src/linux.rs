//! `Fabric` on a real host. It looks, lets `plan` think, writes down what will be ours, and does
//! the steps; a step that fails does not keep the others from being done.

pub(crate) mod announce;
mod bridge_filter;
mod entries;
mod iptables;
mod journal;
pub(crate) mod nft;
pub(crate) mod route;
mod settings;
mod table;

use crate::Error;
use crate::fabric::{Fabric, Facts, LocalAddress};
use crate::overlay::Device;
use crate::plan::{self, Leaving, Plan, Rules, Seen, Step, SwitchedOn};
use crate::rules::{self, RuleSet};
use crate::sockets::{self, Holder, HostPort};
use crate::wire;
use crate::wish::{FabricStatus, FabricWish};
use journal::{Journal, Loaded, Trace};
use route::{Link, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// This host's network: the namespace that the process runs in.
#[derive(Clone, Debug)]
pub struct Linux {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Where the journal is kept.
    dir: PathBuf,
    /// The turn to change the host, with the journal once it was read. It is held across awaits
    /// on purpose: two `ensure`s at a time would each see the other's half-done work.
    turn: Mutex<Option<Journal>>,
}

/// A look at the host, and what is needed to act on it.
struct Look {
    session: Session,
    links: BTreeMap<String, Link>,
    seen: Seen,
    /// The table's fingerprint.
    kernel: Option<u64>,
}

impl Linux {
    /// Keeps its journal in `data_dir`; does nothing yet.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { inner: Arc::new(Inner { dir: data_dir.into(), turn: Mutex::new(None) }) }
    }

    /// With what overlays there are, if `bridges` may have any; `underlay` is the host's address.
    async fn look(
        &self,
        bridges: Option<BTreeSet<String>>,
        underlay: Option<Ipv4Addr>,
    ) -> Result<Look, Error> {
        let session = Session::open()?;
        let links = session.links().await?;
        let raw = session.addresses().await?;
        let kernel = table::fingerprint().map_err(Error::TableRead)?;
        let mut seen = Seen {
            links: links.iter().map(|(name, link)| (name.clone(), link.up)).collect(),
            addresses: route::ours(&links, &raw),
            rules: if kernel.is_some() { Rules::Different } else { Rules::Absent },
            forwarding: read_forwarding().await?,
            ..Seen::default()
        };
        if let Some(bridges) = bridges {
            seen.underlay = underlay.and_then(|ip| entries::underlay(&links, &raw, ip));
            let devices = links.iter().filter_map(|(n, l)| Some((n.clone(), l.overlay.clone()?)));
            seen.devices = devices.collect();
            seen.entries = session.entries(&links).await?;
            let accepted = iptables::accepted().await?;
            seen.accepts = accepted.is_some();
            seen.entries.extend(accepted.into_iter().flatten());
            seen.settings = settings::read(bridges.iter().chain(seen.devices.keys())).await?;
        }
        Ok(Look { session, links, seen, kernel })
    }

    /// Does the steps; all of them, whatever fails.
    async fn carry_out(
        &self,
        look: &mut Look,
        steps: &[Step],
        text: &str,
        journal: &mut Journal,
    ) -> Vec<Error> {
        let mut errors = Vec::new();
        for step in steps {
            let done = match step {
                Step::ReplaceRules => self.load_rules(text, journal).await,
                Step::DropRules => {
                    journal.loaded = None;
                    nft::feed(nft::Mode::Load, rules::DROP).await
                }
                Step::Forwarding(on) => write_forwarding(*on).await,
                Step::MakeBridge { device } => make_bridge(look, device).await,
                Step::DropBridge { device } => {
                    look.session.drop_device(device, index(look, device)).await
                }
                Step::Up { device } => look.session.up(device, index(look, device)).await,
                Step::Add { device, ip, prefix } => {
                    look.session.add((device, index(look, device)), *ip, *prefix).await
                }
                Step::Remove { device, ip, prefix } => {
                    look.session.remove((device, index(look, device)), *ip, *prefix).await
                }
                Step::MakeDevice { device, made } => make_device(look, device, made).await,
                Step::DropDevice { device } => {
                    look.session.drop_device(device, index(look, device)).await
                }
                Step::Mtu { device, mtu } => {
                    look.session.set_mtu(device, index(look, device), *mtu).await
                }
                Step::Set { setting, device, value } => {
                    settings::write(*setting, device, *value).await
                }
                Step::Put(entry) => look.session.put(&look.links, entry).await,
                Step::Take(entry) => look.session.take(&look.links, entry).await,
            };
            match done {
                Ok(()) => tracing::info!(action = %step.repair(), "host network changed"),
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    async fn load_rules(&self, text: &str, journal: &mut Journal) -> Result<(), Error> {
        journal.loaded = None;
        nft::feed(nft::Mode::Load, text).await?;
        let kernel = table::fingerprint().map_err(Error::TableRead)?;
        journal.loaded = kernel.map(|kernel| Loaded { text: hash(text), kernel });
        journal::save(&self.inner.dir, journal).await
    }

    async fn ensure_in_turn(
        &self,
        wish: &FabricWish,
        journal: &mut Journal,
    ) -> Result<FabricStatus, Error> {
        let mut trace = Trace {
            bridge: wish.bridge.clone(),
            made_bridge: false,
            callers: wish.callers.clone(),
            link_local: wish.link_local,
            dns: wish.dns,
            metadata: wish.metadata,
            overlay: wish.overlay.as_ref().map(|overlay| overlay.trace(wish.subnet)),
            subnet: (!wish.policy.is_off()).then_some(wish.subnet),
            policy: Arc::clone(&wish.policy),
        };
        let bridges = tuned_bridges(journal.environments.values().chain([&trace]));
        let underlay = wish.overlay.as_ref().map(|overlay| overlay.underlay);
        let mut look = self.look(bridges, underlay).await?;
        let before = journal.environments.get(&wish.environment).cloned();
        let made = |old: &Trace| old.made_bridge && old.bridge == wish.bridge;
        let is_missing = !look.seen.links.contains_key(&wish.bridge);
        trace.made_bridge = wish.makes_bridge && (is_missing || before.as_ref().is_some_and(made));
        let mut next = journal.clone();
        next.environments.insert(wish.environment.clone(), trace.clone());
        let text = rule_text(&trace, &next);
        if look
            .kernel
            .is_some_and(|kernel| journal.loaded == Some(Loaded { text: hash(&text), kernel }))
        {
            look.seen.rules = Rules::AsWished;
        }
        let plan = plan::ensure(&look.seen, wish, before.as_ref().map(Trace::before));
        next.switched_on = SwitchedOn::by(&plan, &look.seen).or(next.switched_on);
        if next != *journal {
            journal::save(&self.inner.dir, &next).await?;
            *journal = next;
        }
        let mut errors = self.carry_out(&mut look, &plan.steps, &text, journal).await;
        if !wish.policy.is_off() && !plan.bridge_missing {
            errors.extend(bridge_filter::ensure(&wish.bridge).await.err());
        }
        forget_moved(&look, &wish.bridge, &plan.steps).await;
        if let Some(device) = plan.taken.clone() {
            errors.push(Error::DeviceTaken { device });
        }
        if plan.bridge_missing {
            errors.push(Error::BridgeMissing { bridge: wish.bridge.clone() });
        }
        Error::of_all(errors).map(|()| Plan::status(&plan))
    }

    async fn remove_in_turn(&self, environment: &str, journal: &mut Journal) -> Result<(), Error> {
        let mut rest = journal.clone();
        let leaving = rest.environments.remove(environment);
        // Without any journal all that has our mark is taken: it was ours, and nobody else's.
        if leaving.is_none() && !rest.environments.is_empty() {
            return Ok(());
        }
        // A journal that was lost may have known of one.
        let bridges = tuned_bridges(journal.environments.values());
        let bridges = bridges.or_else(|| leaving.is_none().then(BTreeSet::new));
        let mut look = self.look(bridges, None).await?;
        let (steps, text) = match (rest.environments.values().next().cloned(), &leaving) {
            (Some(other), Some(trace)) => {
                let text = rule_text(&other, &rest);
                if look
                    .kernel
                    .is_some_and(|kernel| rest.loaded == Some(Loaded { text: hash(&text), kernel }))
                {
                    look.seen.rules = Rules::AsWished;
                }
                (plan::remove(&look.seen, Leaving::One(trace.before())), text)
            }
            _ => {
                let switched_on = rest.switched_on;
                let before = leaving.as_ref().map(Trace::before);
                (plan::remove(&look.seen, Leaving::Last { before, switched_on }), String::new())
            }
        };
        let errors = self.carry_out(&mut look, &steps, &text, &mut rest).await;
        // Forgotten only when it is gone: what could not be taken away is tried again.
        if errors.is_empty() {
            if rest.environments.is_empty() {
                rest.switched_on = None;
            }
            journal::save(&self.inner.dir, &rest).await?;
            *journal = rest;
        }
        Error::of_all(errors)
    }
}

impl Fabric for Linux {
    async fn ensure(&self, wish: &FabricWish) -> Result<FabricStatus, Error> {
        wish.check()?;
        let mut turn = self.inner.turn.lock().await;
        let mut journal = match turn.take() {
            Some(journal) => journal,
            None => journal::load(&self.inner.dir).await?,
        };
        let done = self.ensure_in_turn(wish, &mut journal).await;
        *turn = Some(journal);
        done
    }

    async fn remove(&self, environment: &str) -> Result<(), Error> {
        let mut turn = self.inner.turn.lock().await;
        let mut journal = match turn.take() {
            Some(journal) => journal,
            None => journal::load(&self.inner.dir).await?,
        };
        let done = self.remove_in_turn(environment, &mut journal).await;
        *turn = Some(journal);
        done
    }

    async fn listening(&self, wanted: &[HostPort]) -> Result<Vec<Holder>, Error> {
        sockets::listening(wanted).await
    }

    async fn facts(&self) -> Result<Facts, Error> {
        let session = Session::open()?;
        let address = match session.primary_address().await? {
            Some(ip) => Some(IpAddr::V4(ip)),
            None => plain_address(&self.local_addresses().await?),
        };
        let underlay = match address {
            Some(IpAddr::V4(ip)) => {
                let links = session.links().await?;
                entries::underlay(&links, &session.addresses().await?, ip)
            }
            _ => None,
        };
        let system = rustix::system::uname();
        Ok(Facts {
            hostname: system.nodename().to_string_lossy().into_owned(),
            address,
            mtu: underlay.as_ref().map(|underlay| underlay.mtu),
            segment: underlay.map(|underlay| underlay.segment),
            kernel: system.release().to_string_lossy().into_owned(),
        })
    }

    async fn local_addresses(&self) -> Result<Vec<LocalAddress>, Error> {
        let session = Session::open()?;
        let links = session.links().await?;
        let names: BTreeMap<u32, &String> =
            links.iter().map(|(name, link)| (link.index, name)).collect();
        let all = session.addresses().await?;
        let named = all.into_iter().filter_map(|(index, ip, prefix, _label)| {
            let device = (*names.get(&index)?).clone();
            Some(LocalAddress { device, ip, prefix })
        });
        Ok(named.collect())
    }
}

/// Every step's device was seen in the same look.
fn index(look: &Look, device: &str) -> u32 {
    look.links.get(device).map_or(0, |link| link.index)
}

fn rule_text(services: &Trace, journal: &Journal) -> String {
    let bridges = journal.environments.values().flat_map(|trace| {
        let callers = trace.callers.iter().map(String::as_str);
        callers.chain([trace.bridge.as_str()])
    });
    let bridges = bridges.collect();
    let overlays = journal.environments.values().filter_map(|trace| {
        let overlay = trace.overlay.as_ref()?;
        Some((trace.bridge.as_str(), overlay))
    });
    let overlays = overlays.collect();
    let policies = journal.environments.values();
    let policies = policies
        .filter_map(|trace| Some((trace.bridge.as_str(), (trace.subnet?, &*trace.policy))))
        .collect();
    let Trace { link_local, dns, metadata, .. } = *services;
    RuleSet { link_local, dns, metadata, bridges, overlays, policies }.text()
}

/// The bridges of these, if any of them has more than its rules: an overlay, or a policy.
fn tuned_bridges<'a>(traces: impl Iterator<Item = &'a Trace> + Clone) -> Option<BTreeSet<String>> {
    let mut all = traces.clone();
    let any = all.any(|trace| trace.overlay.is_some() || !trace.policy.is_off());
    any.then(|| traces.map(|trace| trace.bridge.clone()).collect())
}

/// Makes the overlay's device and learns its index.
async fn make_device(look: &mut Look, device: &str, made: &Device) -> Result<(), Error> {
    match made {
        Device::Vxlan(vxlan) => look.session.make_vxlan(device, vxlan).await?,
        Device::Tun { mtu } => {
            wire::make_tun(device)
                .map_err(|source| Error::Tun { device: device.to_owned(), source })?;
            look.links = look.session.links().await?;
            let index = index(look, device);
            look.session.set_mtu(device, index, *mtu).await?;
            look.session.up(device, index).await?;
        }
    }
    look.links = look.session.links().await?;
    Ok(())
}

/// Makes a bridge that is up, and learns its index.
async fn make_bridge(look: &mut Look, device: &str) -> Result<(), Error> {
    look.session.make_bridge(device).await?;
    look.links = look.session.links().await?;
    match look.links.get(device) {
        Some(link) => look.session.keep_mac(device, link).await,
        None => Ok(()),
    }
}

/// Containers and this host forget the MACs of addresses that have just moved to other hosts. They
/// would by themselves, later.
async fn forget_moved(look: &Look, bridge: &str, steps: &[Step]) {
    let Some(link) = look.links.get(bridge) else { return };
    let gone = announce::gone(bridge, steps);
    if gone.is_empty() {
        return;
    }
    if let Err(error) = announce::announce(link.index, link.mac, &gone) {
        tracing::debug!(%error, bridge, "addresses that moved away are not announced");
    }
    if let Err(error) = look.session.forget(link.index, &gone.into_iter().collect()).await {
        tracing::debug!(%error, bridge, "addresses that moved away are not forgotten");
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// For hosts without a default route.
fn plain_address(all: &[LocalAddress]) -> Option<IpAddr> {
    let inside = ["lo", "docker", "br-", "remuda", "veth", "virbr"];
    let plain = |a: &&LocalAddress| {
        let local = matches!(a.ip, IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_link_local());
        local && !inside.iter().any(|name| a.device.starts_with(name))
    };
    all.iter().find(plain).map(|a| a.ip)
}

/// Is IPv4 forwarding on?
pub(crate) async fn read_forwarding() -> Result<bool, Error> {
    let text = tokio::fs::read_to_string(FORWARDING).await.map_err(forwarding_failed)?;
    Ok(text.trim() != "0")
}

async fn write_forwarding(on: bool) -> Result<(), Error> {
    tokio::fs::write(FORWARDING, if on { "1\n" } else { "0\n" }).await.map_err(forwarding_failed)
}

fn forwarding_failed(source: std::io::Error) -> Error {
    Error::Setting { path: FORWARDING.into(), source }
}
