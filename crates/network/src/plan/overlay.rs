//! The steps of the overlay: its device, what is on it, and what lets its packets pass.

use super::{Before, Plan, Seen, Step, ours_on};
use crate::overlay::{
    self, BRIDGE_SETTINGS, DEVICE_SETTINGS, Entry, Overlay, OverlayTrace, Setting,
};
use crate::wish::FabricWish;
use std::collections::BTreeSet;

/// Steps for the environment's overlay: it is exactly as wished, or gone.
pub(super) fn ensure(seen: &Seen, wish: &FabricWish, before: Option<Before<'_>>, plan: &mut Plan) {
    let trace = before.and_then(|before| before.overlay);
    let left = before.filter(|before| before.bridge != wish.bridge && before.overlay.is_some());
    if let Some(left) = left {
        plan.steps.extend(leave_bridge(seen, left.bridge));
    }
    let Some(overlay) = &wish.overlay else {
        if let Some(trace) = trace {
            plan.steps.extend(remove(seen, &wish.bridge, trace));
        }
        return;
    };
    let device = overlay.device_name();
    let device = device.as_deref();
    if let Some(old) =
        trace.and_then(|trace| trace.device.as_deref()).filter(|d| Some(*d) != device)
    {
        plan.steps.extend(drop_device(seen, old));
    }
    plan.off_segment = overlay.off_segment(seen.underlay.as_ref());
    let mut fresh = false;
    if let Some(device) = device {
        match make_device(seen, overlay, device, plan) {
            Some(made) => fresh = made,
            // Somebody else has the name: nothing can be put there.
            None => return,
        }
    }
    if seen.links.contains_key(&wish.bridge) {
        set(seen, &wish.bridge, &BRIDGE_SETTINGS, plan);
    }
    entries(seen, wish, overlay, before, device.filter(|_| fresh), plan);
}

/// Makes the device as wished; is it a new one? `None` when somebody else has its name.
fn make_device(seen: &Seen, overlay: &Overlay, device: &str, plan: &mut Plan) -> Option<bool> {
    let wished = overlay.made(seen.underlay.as_ref())?;
    let found = seen.devices.get(device);
    if found.is_none() && seen.links.contains_key(device) {
        plan.taken = Some(device.to_owned());
        return None;
    }
    let alike = found.filter(|found| found.is_alike(&wished));
    if let Some(alike) = alike {
        if alike.mtu() != wished.mtu() {
            plan.steps.push(Step::Mtu { device: device.to_owned(), mtu: wished.mtu() });
        }
        if seen.links.get(device) == Some(&false) {
            plan.steps.push(Step::Up { device: device.to_owned() });
        }
    } else {
        plan.steps.extend(drop_device(seen, device));
        plan.steps.push(Step::MakeDevice { device: device.to_owned(), made: wished });
    }
    let fresh = alike.is_none();
    let ip = overlay.underlay;
    let mut addresses = seen.addresses.iter().filter(|a| a.device == device);
    if fresh || !addresses.any(|a| a.ip == ip) {
        plan.steps.push(Step::Add { device: device.to_owned(), ip, prefix: 32 });
    }
    if fresh {
        let steps = DEVICE_SETTINGS.map(|(setting, value)| set_step(setting, device, value));
        plan.steps.extend(steps);
    } else {
        plan.steps.extend(ours_on(seen, device, |ip| ip != overlay.underlay));
        set(seen, device, &DEVICE_SETTINGS, plan);
    }
    Some(fresh)
}

/// What is seen and not wished goes, what is wished and not seen is made. What is on a `fresh`
/// device is seen no longer.
fn entries(
    seen: &Seen,
    wish: &FabricWish,
    overlay: &Overlay,
    before: Option<Before<'_>>,
    fresh: Option<&str>,
    plan: &mut Plan,
) {
    let trace = before.and_then(|before| before.overlay);
    let has_bridge = seen.links.contains_key(&wish.bridge);
    let can_be = |entry: &Entry| match entry {
        Entry::Accept { .. } => seen.accepts,
        Entry::Route { device, .. } => has_bridge || *device != wish.bridge,
        _ => true,
    };
    let wished: BTreeSet<Entry> = overlay::entries(wish, overlay, seen.underlay.as_ref())
        .into_iter()
        .filter(can_be)
        .collect();
    let now = overlay.trace(wish.subnet);
    let is_ours = |entry: &&Entry| {
        entry.is_of(&wish.bridge, &now)
            || trace.is_some_and(|trace| entry.is_of(&wish.bridge, trace))
    };
    let dropped = trace.and_then(|trace| trace.device.as_deref());
    let dropped = dropped.filter(|old| now.device.as_deref() != Some(*old));
    let dropped = dropped.filter(|old| seen.devices.contains_key(*old));
    let left = before.map(|before| before.bridge).filter(|bridge| *bridge != wish.bridge);
    let gone = |entry: &&Entry| {
        [fresh, dropped, left].into_iter().flatten().any(|device| entry.is_on(device))
    };
    let there: BTreeSet<&Entry> =
        seen.entries.iter().filter(is_ours).filter(|entry| !gone(entry)).collect();
    let missing: Vec<&Entry> = wished.iter().filter(|entry| !there.contains(entry)).collect();
    let surplus = there.iter().rev().filter(|entry| !wished.contains(**entry));
    // What is replaced in place leaves no gap.
    let surplus = surplus.filter(|old| !missing.iter().any(|new| new.replaces(old)));
    plan.steps.extend(surplus.map(|entry| Step::Take((*entry).clone())));
    plan.steps.extend(missing.into_iter().map(|entry| Step::Put(entry.clone())));
}

/// The environment has another bridge now: what the old one had of the overlay.
fn leave_bridge(seen: &Seen, bridge: &str) -> Vec<Step> {
    let of_it = seen.entries.iter().filter(|entry| match entry {
        Entry::Accept { bridge: theirs, .. } => theirs == bridge,
        entry => entry.is_on(bridge),
    });
    of_it
        .map(|entry| Step::Take(entry.clone()))
        .chain(unset(seen, bridge, &BRIDGE_SETTINGS))
        .collect()
}

/// Puts settings of a bridge back.
pub(super) fn unset(seen: &Seen, bridge: &str, settings: &[(Setting, i32)]) -> Vec<Step> {
    let steps = settings.iter().filter_map(|(setting, _)| {
        let now = seen.settings.get(&(*setting, bridge.to_owned()))?;
        (*now != setting.plain()).then(|| set_step(*setting, bridge, setting.plain()))
    });
    steps.collect()
}

/// What is ours of an environment's overlay.
pub(super) fn remove(seen: &Seen, bridge: &str, trace: &OverlayTrace) -> Vec<Step> {
    let on_device = |entry: &&Entry| trace.device.as_ref().is_some_and(|name| entry.is_on(name));
    let of_it = seen.entries.iter().rev().filter(|entry| entry.is_of(bridge, trace));
    // What is on the device goes with it.
    let mut steps: Vec<Step> =
        of_it.filter(|entry| !on_device(entry)).map(|entry| Step::Take(entry.clone())).collect();
    if let Some(device) = &trace.device {
        steps.extend(drop_device(seen, device));
    }
    steps.extend(unset(seen, bridge, &BRIDGE_SETTINGS));
    steps
}

/// All overlays' things that have our mark.
pub(super) fn remove_all(seen: &Seen) -> Vec<Step> {
    let marked = seen.entries.iter().rev().filter(|entry| match entry {
        Entry::Route { ours, device, .. } => *ours && !seen.devices.contains_key(device),
        Entry::Rule { .. } | Entry::Accept { .. } => true,
        Entry::Neighbour { .. } | Entry::Forward { .. } => false,
    });
    let steps = marked.map(|entry| Step::Take(entry.clone()));
    steps.chain(seen.devices.keys().flat_map(|device| drop_device(seen, device))).collect()
}

/// The device with all that is on it.
fn drop_device(seen: &Seen, device: &str) -> Option<Step> {
    let there = seen.devices.contains_key(device);
    there.then(|| Step::DropDevice { device: device.to_owned() })
}

pub(super) fn set(seen: &Seen, device: &str, settings: &[(Setting, i32)], plan: &mut Plan) {
    for (setting, value) in settings {
        if seen.settings.get(&(*setting, device.to_owned())) != Some(value) {
            plan.steps.push(set_step(*setting, device, *value));
        }
    }
}

fn set_step(setting: Setting, device: &str, value: i32) -> Step {
    Step::Set { setting, device: device.to_owned(), value }
}
