//! Floating addresses: one address of a service that one host of a set has at a time. What is asked
//! for, the seat that hosts get for it, and how it stands.

use crate::id::{HostId, ServiceId};
use crate::limits::{FLOATING_HOSTS_MAX, FLOATING_MAX, REASON_BYTES_MAX};
use crate::reason::cut;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// What a service asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FloatingIp {
    /// The address, outside the managed network.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
    /// Labels that a host must have to be given it; none is every host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, String>,
}

impl FloatingIp {
    /// Why no host can ever have this address; `None` when one can.
    #[must_use]
    pub fn broken_rule(&self) -> Option<&'static str> {
        let address = self.address;
        if address.is_loopback() || address.is_unspecified() || address.octets()[0] == 0 {
            Some("no host on a network has such an address")
        } else if address.is_multicast() || address.octets()[0] >= 240 {
            Some("it is not the address of one host")
        } else if address.is_link_local() {
            Some("it is link-local: every host has such addresses of its own")
        } else if self.hosts.len() > FLOATING_HOSTS_MAX {
            Some("it names too many labels")
        } else {
            None
        }
    }
}

/// A floating address as decided and as it stands. Kept until the hosts that vote about it have
/// said that they know that nobody asks any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floating {
    /// The address.
    pub address: Ipv4Addr,
    /// Whose it is; `None` when nobody asks any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// Number of this set of voters: a later one is higher.
    pub number: u64,
    /// Hosts that vote about who has it.
    pub voters: BTreeSet<HostId>,
    /// Hosts that may have it.
    #[serde(default)]
    pub candidates: BTreeSet<HostId>,
    /// Where all of these are reached.
    pub addresses: BTreeMap<HostId, Ipv4Addr>,
    /// Voters who have known this number for so long that no older vote of theirs counts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub settled: BTreeSet<HostId>,
    /// Who has it, as far as the server has heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<FloatingHolder>,
    /// Why nobody can have it now, or what is not as it should be; empty when all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What keeps a host that may have it from it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub problems: BTreeMap<HostId, String>,
}

impl Floating {
    /// Votes that are needed.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Has a majority of the voters left all older votes behind? The voters may be changed then.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.intersection(&self.voters).count() >= self.majority()
    }
}

/// Who has a floating address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingHolder {
    /// The host.
    pub host: HostId,
    /// Which holding of it: a later one is higher.
    pub term: u64,
    /// When the server heard of it.
    pub since: Timestamp,
}

/// What one host has to do with a floating address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingSeat {
    /// Number of this set of voters.
    pub number: u64,
    /// What its messages are signed with.
    pub key: SeatKey,
    /// Hosts that vote about it.
    pub voters: BTreeSet<HostId>,
    /// Where voters and candidates are reached; this host is in it.
    pub addresses: BTreeMap<HostId, Ipv4Addr>,
    /// May this host have it?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub candidate: bool,
    /// Upstreams of the view that are the service's ports on this host: it has the address only
    /// while one of them has an endpoint that takes traffic. None when that does not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
}

/// A secret that voters and candidates of one address share. Never shown.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatKey(pub [u8; 32]);

impl fmt::Debug for SeatKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeatKey")
    }
}

/// What a dataplane says of a floating address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloatingSeen {
    /// The newest number that it has known for so long that no older vote of it counts; 0 is none.
    pub settled: u64,
    /// Which holding it is, when this host has the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// What keeps it from taking the address; empty when nothing does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// Takes away what no dataplane of ours would say.
pub(crate) fn bound(all: &mut BTreeMap<Ipv4Addr, FloatingSeen>) {
    while all.len() > FLOATING_MAX {
        all.pop_last();
    }
    all.values_mut().for_each(|seen| cut(&mut seen.problem, REASON_BYTES_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_no_host_can_have_is_refused() {
        let broken = |text: &str| {
            let ip = FloatingIp { address: text.parse().unwrap(), hosts: BTreeMap::new() };
            ip.broken_rule().is_some()
        };
        for bad in
            ["127.0.0.9", "0.0.0.0", "0.1.2.3", "224.0.0.5", "255.255.255.255", "169.254.1.1"]
        {
            assert!(broken(bad), "{bad}");
        }
        for good in ["192.0.2.50", "10.0.0.9", "203.0.113.1"] {
            assert!(!broken(good), "{good}");
        }
    }

    #[test]
    fn a_majority_is_more_than_half_and_only_voters_count() {
        let hosts = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let mut floating = Floating {
            address: Ipv4Addr::new(192, 0, 2, 50),
            service: None,
            number: 7,
            voters: hosts(&["a", "b", "c", "d"]),
            candidates: BTreeSet::new(),
            addresses: BTreeMap::new(),
            settled: hosts(&["a", "b", "x"]),
            holder: None,
            why: String::new(),
            problems: BTreeMap::new(),
        };
        assert!(floating.majority() == 3 && !floating.is_settled());
        floating.settled.insert("d".parse().unwrap());
        assert!(floating.is_settled());
    }

    #[test]
    fn the_key_is_not_in_what_is_shown() {
        assert_eq!(format!("{:?}", SeatKey([7; 32])), "SeatKey");
    }
}
