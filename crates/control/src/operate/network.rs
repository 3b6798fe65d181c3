//! How packets get from host to host: whether it can be otherwise, and when hosts make new keys.

use super::Refused;
use ipnet::Ipv4Net;
use model::cluster::Cluster;
use model::host::{Environment, OverlayMode};
use model::limits::WIREGUARD_KEY_MS_MAX;
use model::time::Timestamp;
use model::wireguard::KeyOrder;
use std::collections::BTreeMap;

/// Hosts that a refusal names.
const NAMED_MAX: usize = 5;

/// Can the environment be so? Plain routes need all hosts on one segment, encryption a key of each.
///
/// # Errors
/// With the hosts that are on another one, or have not said on which they are; with those that have
/// told no key.
pub fn can_be(cluster: &Cluster, mode: OverlayMode) -> Result<(), Refused> {
    match mode {
        OverlayMode::Vxlan => Ok(()),
        OverlayMode::Routes => on_one_segment(cluster),
        OverlayMode::Wireguard => all_with_keys(cluster),
    }
}

/// Host names for a refusal.
fn names(hosts: &[&str]) -> String {
    match hosts.len() {
        0..=NAMED_MAX => hosts.join(", "),
        count => format!("{} and {} more", hosts[..NAMED_MAX].join(", "), count - NAMED_MAX),
    }
}

fn all_with_keys(cluster: &Cluster) -> Result<(), Refused> {
    let without = cluster.hosts().filter(|host| host.facts.wireguard.is_empty());
    let without: Vec<&str> = without.map(|host| host.id.as_str()).collect();
    if without.is_empty() {
        return Ok(());
    }
    let why = format!(
        "encryption needs a key of every host, and {} told none: nothing would be sent there",
        match without.len() {
            1 => format!("{} has", names(&without)),
            _ => format!("{} have", names(&without)),
        }
    );
    let hint = "start agent and dataplane there, of this version, or `remuda host rm` what is gone";
    Err(Refused::new(why, hint))
}

/// The next order to make new keys.
#[must_use]
pub fn next_keys(known: KeyOrder, now: Timestamp) -> KeyOrder {
    KeyOrder { number: known.number.saturating_add(1), at: now }
}

/// When the next order is due by itself; never while nothing is encrypted.
#[must_use]
pub fn keys_due(environment: &Environment) -> Option<Timestamp> {
    let encrypted = environment.overlay == OverlayMode::Wireguard;
    encrypted.then(|| environment.keys.at.plus_ms(WIREGUARD_KEY_MS_MAX))
}

fn on_one_segment(cluster: &Cluster) -> Result<(), Refused> {
    let mut segments: BTreeMap<Option<Ipv4Net>, Vec<&str>> = BTreeMap::new();
    for host in cluster.hosts() {
        // Alone with its address it is on none.
        let segment = host.facts.segment.filter(|segment| segment.prefix_len() < 32);
        segments.entry(segment).or_default().push(host.id.as_str());
    }
    if let Some(hosts) = segments.get(&None) {
        let why = format!(
            "plain routes need all hosts on one segment, and of {} none is known",
            names(hosts)
        );
        let hint = "start their agents, of this version, or `remuda host rm` those that are gone";
        return Err(Refused::new(why, hint));
    }
    if segments.len() > 1 {
        let each = segments.iter().filter_map(|(segment, hosts)| {
            segment.map(|segment| format!("{} on {segment}", names(hosts)))
        });
        let each: Vec<String> = each.collect();
        let why = format!("plain routes need all hosts on one segment: {}", each.join("; "));
        return Err(Refused::new(why, "stay with VXLAN, which needs no segment"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::change::{Change, Edit};
    use model::host::{Host, HostFacts, HostLink, Membership, Scheduling};
    use model::record::Record;
    use model::time::Index;
    use std::sync::Arc;

    #[test]
    fn encryption_needs_a_key_of_every_host() {
        let key = model::wireguard::PublicKey::new([7; 32]).unwrap();
        let refusal = |hosts: &[(&str, bool)]| {
            let facts = |has| HostFacts {
                wireguard: if has { vec![key] } else { vec![] },
                ..HostFacts::default()
            };
            let record =
                |(id, has): &(&str, bool)| Edit::Put(Record::Host(Arc::new(host(id, facts(*has)))));
            let mut cluster = Cluster::default();
            cluster.apply(Index(1), &Change { edits: hosts.iter().map(record).collect() });
            let refused = can_be(&cluster, OverlayMode::Wireguard);
            refused.map_or_else(|refused| refused.why, |()| String::new())
        };
        assert_eq!(refusal(&[]), "");
        assert_eq!(refusal(&[("h1", true), ("h2", true)]), "");
        assert!(refusal(&[("h1", true), ("h2", false)]).contains("and h2 has told none"));
        assert!(refusal(&[("h1", false), ("h2", false)]).contains("h1, h2 have told none"));
    }

    #[test]
    fn new_keys_are_due_after_a_week_and_only_where_something_is_encrypted() {
        let subnet = "10.42.0.0/16".parse().unwrap();
        let mut environment = Environment::new("e1".into(), "default", subnet);
        assert_eq!(keys_due(&environment), None);
        environment.overlay = OverlayMode::Wireguard;
        environment.keys = next_keys(environment.keys, Timestamp(5));
        assert_eq!(environment.keys.number, 1);
        let week = i64::try_from(WIREGUARD_KEY_MS_MAX).unwrap();
        assert_eq!(keys_due(&environment), Some(Timestamp(5 + week)));
    }

    fn host(id: &str, facts: HostFacts) -> Host {
        Host {
            id: id.parse().unwrap(),
            facts,
            status: HostLink::Lost,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: Membership::default(),
        }
    }

    fn refusal(hosts: &[(&str, Option<&str>)]) -> String {
        let record = |(id, segment): &(&str, Option<&str>)| {
            let segment = segment.map(|text| text.parse().unwrap());
            Edit::Put(Record::Host(Arc::new(host(
                id,
                HostFacts { segment, ..HostFacts::default() },
            ))))
        };
        let mut cluster = Cluster::default();
        cluster.apply(Index(1), &Change { edits: hosts.iter().map(record).collect() });
        assert_eq!(can_be(&cluster, OverlayMode::Vxlan), Ok(()), "over any network");
        can_be(&cluster, OverlayMode::Routes).map_or_else(|refused| refused.why, |()| String::new())
    }

    #[test]
    fn plain_routes_need_all_hosts_on_one_segment() {
        let (here, there) = (Some("10.99.0.0/24"), Some("10.98.0.0/24"));
        assert_eq!(refusal(&[]), "");
        assert_eq!(refusal(&[("h1", here), ("h2", here)]), "");
        let other = refusal(&[("h1", here), ("h2", there), ("h3", here)]);
        assert!(other.contains("h2 on 10.98.0.0/24; h1, h3 on 10.99.0.0/24"), "{other}");
        // Larger on one side: it would answer nobody outside of its own.
        let wider = refusal(&[("h1", here), ("h2", Some("10.99.0.0/16"))]);
        assert!(wider.contains("h2 on 10.99.0.0/16"), "{wider}");
        assert!(refusal(&[("h1", here), ("h2", None)]).contains("of h2 none is known"));
        assert!(refusal(&[("h1", Some("10.99.0.1/32"))]).contains("of h1 none is known"));
        let many: Vec<String> = (0..9).map(|n| format!("n{n}")).collect();
        let many: Vec<(&str, Option<&str>)> = many.iter().map(|id| (id.as_str(), None)).collect();
        assert!(refusal(&many).contains("n0, n1, n2, n3, n4 and 4 more"));
    }
}
