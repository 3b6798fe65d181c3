//! How each of the two directions of one pair is, in a word and in sentences.

use super::Checked;
use model::id::HostId;
use model::limits::NET_CHECK_SMALL_BYTES;
use model::net_check::{Counts, NetVerdict, NetWay, PeerSeen};
use model::wireguard::{WIREGUARD_BYTES, WIREGUARD_PORT};
use std::net::Ipv4Addr;

/// Packets of a direction that may be lost without a word.
const LOSSES_UNSAID: u32 = 1;

/// One end of a pair: a host, and what it has seen of the other one.
#[derive(Debug)]
pub(super) struct End<'a> {
    host: &'a HostId,
    address: Ipv4Addr,
    mtu: u16,
    overhead: u16,
    seen: PeerSeen,
    /// Of its own containers those that answer at home.
    own: &'a [Ipv4Addr],
}

impl<'a> End<'a> {
    /// `None` when the host has told nothing.
    pub(super) fn of(host: &'a Checked, other: usize) -> Option<Self> {
        let all = host.seen.as_ref().ok()?;
        let seen = u16::try_from(other).ok().and_then(|number| all.peers.get(&number).cloned());
        Some(Self {
            host: &host.host,
            address: host.ready.address?,
            mtu: host.ready.mtu,
            overhead: host.ready.overhead,
            seen: seen.unwrap_or_default(),
            own: &all.own,
        })
    }

    /// Where packets of others come in.
    fn device(&self) -> &'static str {
        if self.overhead == 0 {
            "its outer device"
        } else if self.encrypts() {
            "remudawg0"
        } else {
            "remudavx0"
        }
    }

    fn encrypts(&self) -> bool {
        u32::from(self.overhead) == WIREGUARD_BYTES
    }

    /// What its packets are in, and the UDP port of that.
    fn carrier(&self) -> (&'static str, u16) {
        if self.encrypts() { ("WireGuard", WIREGUARD_PORT) } else { ("VXLAN", 4_789) }
    }
}

/// Verdict, what was seen, what helps.
type Judged = (NetVerdict, String, String);

/// Both directions: from `a` to `b`, and back.
pub(super) fn both(a: &End<'_>, b: &End<'_>) -> [NetWay; 2] {
    let (mut there, mut back) = (packets(a, b), packets(b, a));
    // Who asks for a MAC address and never hears the answer cannot send, though what it sends
    // arrives. Its questions do.
    let asks = |from: &End<'_>, to: &End<'_>| to.seen.arp_arrived > 0 && from.seen.arp_arrived == 0;
    let is_lost = |judged: &Judged| judged.0 == NetVerdict::Lost;
    if is_lost(&there) && is_lost(&back) {
        if asks(a, b) {
            there = waits(a, b);
        } else if asks(b, a) {
            back = waits(b, a);
        }
    }
    // Hands are shaken both ways: what arrives outside of the overlay and not in it waits for that.
    let waits_for = |one: &Judged, other: &Judged| {
        a.encrypts() && one.0 == NetVerdict::Overlay && other.0 == NetVerdict::Lost
    };
    if waits_for(&there, &back) {
        there = no_hands(a, b);
    } else if waits_for(&back, &there) {
        back = no_hands(b, a);
    }
    // What needs both directions says nothing of one when the other is broken.
    if there.0 == NetVerdict::Ok && back.0 == NetVerdict::Ok {
        there = answers(a, b);
        back = answers(b, a);
    }
    let way = |from: &End<'_>, to: &End<'_>, (verdict, why, todo): Judged| NetWay {
        from: from.host.clone(),
        to: to.host.clone(),
        verdict,
        rtt_us: from.seen.rtt_us,
        why,
        todo,
    };
    [way(a, b, there), way(b, a, back)]
}

fn ok() -> Judged {
    (NetVerdict::Ok, String::new(), String::new())
}

fn of(counts: &Counts, size: u16) -> u32 {
    counts.get(&size).copied().unwrap_or(0)
}

/// Of what the one has sent, what has arrived at the other.
fn packets(from: &End<'_>, to: &End<'_>) -> Judged {
    let (sent, arrived) = (&from.seen.sent, &to.seen.arrived);
    let small = of(arrived, NET_CHECK_SMALL_BYTES);
    let full = sent.keys().next_back().copied().unwrap_or(from.mtu);
    if arrived.values().all(|count| *count == 0) {
        // A connection takes both directions: they carry, and somebody drops ICMP alone.
        if from.seen.connected || to.seen.connected {
            return ok();
        }
        return nothing(from, to);
    }
    if of(arrived, full) == 0 {
        return too_large(from, to, full);
    }
    let all_sent = of(sent, NET_CHECK_SMALL_BYTES) + of(sent, full);
    let lost = all_sent.saturating_sub(small + of(arrived, full));
    if lost > LOSSES_UNSAID {
        let why = format!("{lost} of {all_sent} packets of {} do not arrive", from.host);
        let todo = format!(
            "look for a bad cable, a full link or a host without time between {} and {}",
            from.address, to.address
        );
        return (NetVerdict::Lossy, why, todo);
    }
    ok()
}

fn nothing(from: &End<'_>, to: &End<'_>) -> Judged {
    let (one, other) = (from.host, to.host);
    if to.seen.outer_arrived > 0 {
        let (carrier, port) = from.carrier();
        let why = format!(
            "packets of {one} arrive at {other}, but {carrier}, UDP port {port}, does not: a firewall \
             drops it on {one}, on {other} or on the way"
        );
        let todo = format!(
            "accept UDP port {port} from {} on {other}: nft add rule inet filter input udp dport \
             {port} ip saddr {} accept",
            from.address, from.address
        );
        return (NetVerdict::Overlay, why, todo);
    }
    let why = match from.seen.error.as_str() {
        "" => format!("no packet of {one} arrives at {other}, in the overlay or outside of it"),
        error => format!("{one} cannot send to {other}: {error}"),
    };
    let todo = format!(
        "look at cable, switch, routes and firewalls between {} and {}, in this direction",
        from.address, to.address
    );
    (NetVerdict::Lost, why, todo)
}

fn waits(from: &End<'_>, to: &End<'_>) -> Judged {
    let (one, other) = (from.host, to.host);
    let why = format!(
        "{one} asks for the MAC address of {other}, and does not hear the answer: only {other} -> \
         {one} is broken"
    );
    (NetVerdict::Waits, why, format!("mend {other} -> {one}"))
}

fn no_hands(from: &End<'_>, to: &End<'_>) -> Judged {
    let (one, other) = (from.host, to.host);
    let why = format!(
        "{one} and {other} cannot agree on keys, which takes both directions: only {other} -> {one} \
         is broken"
    );
    (NetVerdict::Waits, why, format!("mend {other} -> {one}"))
}

fn too_large(from: &End<'_>, to: &End<'_>, full: u16) -> Judged {
    let passes = to.seen.arrived.iter().filter(|(_, count)| **count > 0);
    let passes = passes.map(|(size, _)| *size).max().unwrap_or(NET_CHECK_SMALL_BYTES);
    let (one, other) = (from.host, to.host);
    let fits = passes.saturating_add(from.overhead);
    if from.mtu > to.mtu && passes >= to.mtu.min(full) {
        let why = format!(
            "packets of {full} bytes are lost, those of {passes} pass: {one} has an MTU of {} and \
             {other} one of {}",
            from.mtu.saturating_add(from.overhead),
            to.mtu.saturating_add(to.overhead)
        );
        let todo = format!("give all hosts the same MTU, on {one} at most {fits}");
        return (NetVerdict::Mtu, why, todo);
    }
    let why = format!(
        "packets of {full} bytes are lost, those of {passes} pass: the way from {one} to {other} \
         carries less than {} bytes",
        full.saturating_add(from.overhead)
    );
    let todo = format!(
        "mend the MTU of what is between {} and {}, or set that of the hosts' devices to {fits}: \
         the overlay follows within ten seconds, containers when they are made anew",
        from.address, to.address
    );
    (NetVerdict::Mtu, why, todo)
}

/// What takes both directions: connections and containers.
fn answers(from: &End<'_>, to: &End<'_>) -> Judged {
    let (one, other) = (from.host, to.host);
    if !from.seen.tcp.is_empty() {
        let why = format!(
            "packets pass both ways, but {one} cannot connect to {other} through the overlay: {}",
            from.seen.tcp
        );
        let todo = format!(
            "a firewall on {one} or {other} drops TCP, and balancers there are out of reach \
             too: accept what comes in by {} on {other}",
            to.device()
        );
        return (NetVerdict::Tcp, why, todo);
    }
    let silent = !to.own.is_empty() && !to.own.iter().any(|ip| from.seen.containers.contains(ip));
    if silent {
        return no_containers(from, to);
    }
    ok()
}

fn no_containers(from: &End<'_>, to: &End<'_>) -> Judged {
    let (one, other) = (from.host, to.host);
    let some: Vec<String> = to.own.iter().map(ToString::to_string).collect();
    let some = some.join(", ");
    let (why, todo) = match from.seen.wrong_way.as_str() {
        "" => (
            format!("{one} reaches {other}, but not its containers ({some}), which answer at home"),
            format!(
                "a firewall on {other} drops what is forwarded between {} and remuda0: see `nft \
                 list ruleset` and `iptables -S FORWARD` there",
                to.device()
            ),
        ),
        device => (
            format!("{one} sends what is for the containers of {other} ({some}) out by {device}"),
            format!(
                "another program on {one} has a route or a rule for these addresses: see `ip rule` \
                 and `ip route get {}` there",
                to.own.first().copied().unwrap_or(to.address)
            ),
        ),
    };
    (NetVerdict::Containers, why, todo)
}
