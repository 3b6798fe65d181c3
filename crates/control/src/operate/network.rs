//! How packets get from host to host: whether it can be otherwise.

use super::Refused;
use ipnet::Ipv4Net;
use model::cluster::Cluster;
use model::host::OverlayMode;
use std::collections::BTreeMap;

/// Hosts that a refusal names.
const NAMED_MAX: usize = 5;

/// Can the environment be so? Plain routes need all hosts on one segment.
///
/// # Errors
/// With the hosts that are on another one, or have not said on which they are.
pub fn can_be(cluster: &Cluster, mode: OverlayMode) -> Result<(), Refused> {
    if mode == OverlayMode::Vxlan {
        return Ok(());
    }
    let mut segments: BTreeMap<Option<Ipv4Net>, Vec<&str>> = BTreeMap::new();
    for host in cluster.hosts() {
        // Alone with its address it is on none.
        let segment = host.facts.segment.filter(|segment| segment.prefix_len() < 32);
        segments.entry(segment).or_default().push(host.id.as_str());
    }
    let names = |hosts: &[&str]| match hosts.len() {
        0..=NAMED_MAX => hosts.join(", "),
        count => format!("{} and {} more", hosts[..NAMED_MAX].join(", "), count - NAMED_MAX),
    };
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
    use model::time::{Index, Timestamp};
    use std::sync::Arc;

    fn refusal(hosts: &[(&str, Option<&str>)]) -> String {
        let record = |(id, segment): &(&str, Option<&str>)| {
            let segment = segment.map(|text| text.parse().unwrap());
            Edit::Put(Record::Host(Arc::new(Host {
                id: id.parse().unwrap(),
                facts: HostFacts { segment, ..HostFacts::default() },
                status: HostLink::Lost,
                changed_at: Timestamp(0),
                unheard_since: Timestamp(0),
                scheduling: Scheduling::Active,
                labels: BTreeMap::new(),
                reason: String::new(),
                membership: Membership::default(),
            })))
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
