//! `HostStatus`: what an agent sees. It goes up to the server, whole and idempotent.

use crate::floating::{self, FloatingSeen};
use crate::health::Health;
use crate::host::HostFacts;
use crate::id::{HostId, InstanceId};
use crate::instance::InstanceStatus;
use crate::limits::{
    EXPOSE_REFUSED_TOLD_MAX, HOST_LABELS_MAX, HOST_WORD_BYTES_MAX, PLAIN_CONTAINERS_MAX,
    PLAIN_WORDS_BYTES_MAX, REASON_BYTES_MAX, STRAYS_TOLD_MAX,
};
use crate::plain::{ContainerId, PlainContainer};
use crate::reason::cut;
use crate::registration::{self, CheckSeen};
use crate::time::{Generation, Index, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What one host is seen to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Of which host.
    pub host: HostId,
    /// Counts the statuses of a session: one that comes after a newer one is of the past. 0 comes
    /// from an agent that does not count.
    #[serde(default)]
    pub number: u64,
    /// Spec that the agent works on.
    pub generation: Generation,
    /// View that its dataplane serves.
    pub view: Index,
    /// Facts of the host.
    pub facts: HostFacts,
    /// By instance; an instance of the spec that is not here has not been looked at yet.
    pub instances: BTreeMap<InstanceId, InstanceStatus>,
    /// Its plain containers; `None` while they are not known: what was known of them stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<Arc<BTreeMap<ContainerId, PlainContainer>>>,
    /// What its dataplane found of instances on other hosts that it is to probe; kept in memory only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub probes: BTreeMap<InstanceId, ProbeReport>,
    /// What measured containers use; kept in memory only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<InstanceId, Usage>,
    /// Requests that its dataplane sent to instances, wherever they are; kept in memory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// What its dataplane says of the floating addresses that it votes about or may have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floating: BTreeMap<Ipv4Addr, FloatingSeen>,
    /// What its dataplane found by the checks of its node, by their ids; nothing is said of one that
    /// has not been asked yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, CheckSeen>,
}

impl HostStatus {
    /// Takes away what no agent of ours would say: a host is another machine, and what it says is
    /// kept and shown. `exists` are the instances that there are; of others it has nothing to say.
    pub fn bound(&mut self, exists: impl Fn(&InstanceId) -> bool) {
        let HostFacts {
            hostname,
            address,
            segment: _,
            agent_version,
            docker_version,
            kernel,
            cpus: _,
            memory: _,
            labels,
            strays,
            network_driver,
            engine_problem,
            network_problem,
            dataplane_problem,
            plain_left_out: _,
            disk: _,
            expose_refused,
            wireguard,
        } = &mut self.facts;
        while expose_refused.len() > EXPOSE_REFUSED_TOLD_MAX {
            expose_refused.pop_last();
        }
        expose_refused.retain(|port, _| port.len() <= HOST_WORD_BYTES_MAX);
        expose_refused.values_mut().for_each(|why| cut(why, HOST_WORD_BYTES_MAX));
        *wireguard = crate::wireguard::counted(wireguard);
        for word in [hostname, address, agent_version, docker_version, kernel, network_driver] {
            cut(word, HOST_WORD_BYTES_MAX);
        }
        for reason in [engine_problem, network_problem, dataplane_problem] {
            cut(reason, REASON_BYTES_MAX);
        }
        strays.truncate(STRAYS_TOLD_MAX);
        strays.iter_mut().for_each(|name| cut(name, HOST_WORD_BYTES_MAX));
        labels.retain(|key, value| key.len().max(value.len()) <= HOST_WORD_BYTES_MAX);
        while labels.len() > HOST_LABELS_MAX {
            labels.pop_last();
        }
        self.instances.retain(|id, _| exists(id));
        for seen in self.instances.values_mut() {
            for word in [&mut seen.container_id, &mut seen.image_id, &mut seen.image_digest] {
                cut(word, HOST_WORD_BYTES_MAX);
            }
            cut(&mut seen.reason, REASON_BYTES_MAX);
        }
        if let Some(plain) = &mut self.plain {
            bound_plain(Arc::make_mut(plain));
        }
        self.probes.retain(|id, _| exists(id));
        self.probes.values_mut().for_each(|report| cut(&mut report.detail, REASON_BYTES_MAX));
        self.usage.retain(|id, _| exists(id));
        floating::bound(&mut self.floating);
        registration::bound(&mut self.checks);
        if let Some(requests) = &mut self.requests {
            requests.of.retain(|id, _| exists(id));
        }
    }
}

/// Leaves out what is too much of plain containers, all of them taken together.
fn bound_plain(all: &mut BTreeMap<ContainerId, PlainContainer>) {
    while all.len() > PLAIN_CONTAINERS_MAX {
        all.pop_last();
    }
    let mut bytes = 0;
    for one in all.values_mut() {
        one.bound();
        let words = one.labels.iter().chain(&one.variables);
        bytes += words.map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if bytes > PLAIN_WORDS_BYTES_MAX {
            one.labels.retain(|key, _| key.starts_with("io.rancher.container."));
            one.variables.clear();
        }
    }
}

/// What one dataplane found of an instance on another host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Its verdict.
    pub health: Health,
    /// The last result for people, when it was bad.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Of which start, as the view said.
    pub run: Timestamp,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Thousandths of a core, over the last sample.
    pub cpu_milli: u64,
    /// Bytes, without what the kernel can drop.
    pub memory: u64,
    /// When it was measured, by the host's clock.
    pub at: Timestamp,
}

/// What one dataplane counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// When it looked, in milliseconds since it began: a clock that never jumps.
    pub at_ms: u64,
    /// HTTP requests, TCP connections and UDP sessions so far, by instance. A number that went
    /// down began anew.
    pub of: BTreeMap<InstanceId, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_agent_of_ours_would_say_is_cut_or_left_out() {
        let long = "é".repeat(100_000);
        let known: InstanceId = "shop/web#1@1".parse().unwrap();
        let other: InstanceId = "shop/web#2@2".parse().unwrap();
        let seen = InstanceStatus {
            container_id: long.clone(),
            image_digest: long.clone(),
            reason: long.clone(),
            ..InstanceStatus::default()
        };
        let report = ProbeReport { detail: long.clone(), ..ProbeReport::default() };
        let short = ("zone".to_owned(), "a".to_owned());
        let labels = (0..1_000).map(|n| (format!("x{n}"), "y".to_owned()));
        let labels = labels.chain([short, (long.clone(), String::new())]);
        let many = (0..2_000).map(|n| {
            let labels = (0..200).map(|k| (format!("l{k}"), "v".repeat(500))).collect();
            let plain = PlainContainer { name: long.clone(), labels, ..PlainContainer::default() };
            (ContainerId::parse(&format!("c{n:05}")).unwrap(), plain)
        });
        let mut status = HostStatus {
            host: "h1".parse().unwrap(),
            number: 0,
            generation: Generation(0),
            view: Index(0),
            facts: HostFacts {
                hostname: long.clone(),
                strays: vec![long.clone(); 1_000],
                engine_problem: long.clone(),
                labels: labels.collect(),
                ..HostFacts::default()
            },
            instances: [(known.clone(), seen.clone()), (other.clone(), seen)].into(),
            plain: Some(Arc::new(many.collect())),
            probes: [(known.clone(), report.clone()), (other.clone(), report)].into(),
            usage: [(other.clone(), Usage::default())].into(),
            requests: Some(Requests { at_ms: 1, of: [(known.clone(), 5), (other, 5)].into() }),
            floating: BTreeMap::new(),
            checks: BTreeMap::new(),
        };
        status.bound(|id| *id == known);
        assert_eq!(status.plain.as_ref().unwrap().len(), PLAIN_CONTAINERS_MAX);
        let bytes = serde_json::to_vec(&status).unwrap().len();
        assert!(bytes < 2_000_000, "{bytes} bytes are left with plain containers");
        let plain = status.plain.take();
        let bytes = serde_json::to_vec(&status).unwrap().len();
        assert!(bytes < 30_000, "{bytes} bytes are left");
        assert_eq!(status.instances.keys().chain(status.probes.keys()).count(), 2);
        assert_eq!(status.requests.as_ref().unwrap().of.len(), 1);
        assert_eq!(status.facts.labels.len(), HOST_LABELS_MAX);
        assert!(status.facts.hostname.chars().all(|c| c == 'é'), "cut between two characters");
        status.plain = plain;
        let before = status.clone();
        status.bound(|_| true);
        assert_eq!(status, before, "what is within the limits stays");
    }
}
