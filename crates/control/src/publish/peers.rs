//! Through which host each part of the managed network is reached: a block of 64 addresses is the
//! block of the host that has its lowest address; what another host has of it is a route of its
//! own, which is stronger. Nothing of it is kept: it follows from where the instances and attached plain containers are.

use ipnet::Ipv4Net;
use model::cluster::Cluster;
use model::host_spec::Peer;
use model::id::HostId;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Bits of an address that name its block.
const BLOCK_PREFIX: u8 = 26;

/// Every host of which another address is known, with what is reached through it.
pub(crate) fn peers(cluster: &Cluster) -> BTreeMap<HostId, Peer> {
    let mut peers: BTreeMap<HostId, Peer> = BTreeMap::new();
    for host in cluster.hosts() {
        if let Ok(IpAddr::V4(address)) = host.facts.address.parse() {
            let routes = Default::default();
            peers.insert(host.id.clone(), Peer { address, routes });
        }
    }
    let mut held: BTreeMap<Ipv4Addr, &HostId> = BTreeMap::new();
    for instance in cluster.instances() {
        let all = instance.address.iter().chain(instance.sidekick_addresses.values());
        held.extend(all.map(|address| (*address, &instance.host)));
    }
    held.extend(cluster.attachments().map(|one| (one.address, &one.id.host)));
    let mut block: Option<(Ipv4Net, &HostId)> = None;
    for (address, host) in held {
        let owner = match block {
            Some((range, owner)) if range.contains(&address) => owner,
            _ => {
                let Ok(range) = Ipv4Net::new(address, BLOCK_PREFIX) else { continue };
                block = Some((range.trunc(), host));
                if let Some(peer) = peers.get_mut(host) {
                    peer.routes.insert(range.trunc());
                }
                continue;
            }
        };
        if owner != host
            && let Some(peer) = peers.get_mut(host)
        {
            peer.routes.insert(Ipv4Net::from(address));
        }
    }
    peers
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::change::{Change, Edit};
    use model::host::{Host, HostFacts, HostLink, Scheduling};
    use model::instance::{Goal, Instance, Target};
    use model::record::Record;
    use model::time::{Index, Timestamp};
    use std::sync::Arc;

    fn host(id: &str, address: &str) -> Record {
        let facts = HostFacts { address: address.into(), ..HostFacts::default() };
        Record::Host(Arc::new(Host {
            id: id.parse().unwrap(),
            facts,
            status: HostLink::Lost,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        }))
    }

    fn instance(n: u64, host: &str, address: &str) -> Record {
        Record::Instance(Arc::new(Instance {
            id: format!("shop/web#{n}@{n}").parse().unwrap(),
            host: host.parse().unwrap(),
            address: address.parse().ok(),
            sidekick_addresses: BTreeMap::new(),
            container_name: String::new(),
            target: Target { revision: 1, restart: 0 },
            ports: vec![],
            goal: Goal::Remove,
            leaving: false,
            dropped: vec![],
            reason: String::new(),
            placed_at: Timestamp(0),
            goal_at: Timestamp(0),
        }))
    }

    #[test]
    fn a_block_is_reached_through_the_host_of_its_lowest_address_and_others_have_their_own_routes()
    {
        let mut cluster = Cluster::default();
        let records = [
            host("a", "192.168.0.1"),
            host("b", "192.168.0.2"),
            host("c", "fd00::3"),
            instance(1, "a", "10.42.0.9"),
            instance(2, "a", "10.42.0.63"),
            instance(3, "b", "10.42.0.10"),
            instance(4, "b", "10.42.0.64"),
            instance(5, "a", "10.42.7.200"),
            instance(6, "c", "10.42.9.1"),
            instance(7, "b", "10.42.9.2"),
            instance(8, "a", "none"),
        ];
        let edits = records.into_iter().map(Edit::Put).collect();
        cluster.apply(Index(1), &Change { edits });
        let told: Vec<String> = peers(&cluster)
            .into_iter()
            .map(|(id, peer)| {
                let routes: Vec<String> = peer.routes.iter().map(ToString::to_string).collect();
                format!("{id} {} {}", peer.address, routes.join(" "))
            })
            .collect();
        assert_eq!(
            told,
            [
                "a 192.168.0.1 10.42.0.0/26 10.42.7.192/26",
                "b 192.168.0.2 10.42.0.10/32 10.42.0.64/26 10.42.9.2/32",
            ],
            "c has no address that a route can lead to"
        );
    }
}
