//! The scheduler again, as it reads in the documentation: it looks at every host and at every
//! instance, keeps nothing, and shares no code with the real one but what a template says.

use super::super::needs;
use super::*;
use model::placement::Strategy;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Hosts that fit with their scores, the smaller the better, and which wishes were dropped.
pub(super) struct Verdict {
    pub(super) fits: BTreeMap<HostId, Vec<i64>>,
    pub(super) dropped: Vec<String>,
}

struct Naive<'a> {
    cluster: &'a Cluster,
    ask: &'a Ask<'a>,
    on_host: BTreeMap<&'a HostId, Vec<&'a Instance>>,
}

fn lower(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.into_iter().map(|(k, v)| (k.to_lowercase(), v.to_lowercase())).collect()
}

pub(super) fn verdict(cluster: &Cluster, ask: &Ask<'_>) -> Verdict {
    let mut on_host: BTreeMap<&HostId, Vec<&Instance>> = BTreeMap::new();
    for instance in cluster.instances() {
        on_host.entry(&instance.host).or_default().push(instance);
    }
    let naive = Naive { cluster, ask, on_host };
    let hosts: Vec<&Host> = cluster.hosts().map(|host| &**host).filter(|h| naive.fits(h)).collect();
    let mut wishes: Vec<&Constraint> =
        ask.template.placement.constraints.iter().filter(|c| c.soft).collect();
    let mut dropped = vec![];
    loop {
        let unmet = |host: &Host| -> Vec<usize> {
            let all = wishes.iter().enumerate();
            all.filter(|(_, c)| !naive.meets(host, c)).map(|(nth, _)| nth).collect()
        };
        let best =
            hosts.iter().map(|host| unmet(host)).min_by_key(|u| (u.len(), u.first().copied()));
        match best.and_then(|unmet| unmet.first().copied()) {
            None => break,
            Some(nth) => dropped.push(wishes.remove(nth).to_string()),
        }
    }
    let kept = hosts.into_iter().filter(|host| wishes.iter().all(|c| naive.meets(host, c)));
    dropped.sort();
    Verdict { fits: kept.map(|host| (host.id.clone(), naive.score(host))).collect(), dropped }
}

impl Naive<'_> {
    fn template(&self, instance: &Instance) -> &Template {
        &self.cluster.revision(&instance.id.service, instance.target.revision).unwrap().template
    }

    fn here(&self, host: &Host) -> impl Iterator<Item = &Instance> + '_ {
        self.on_host.get(&host.id).into_iter().flatten().copied()
    }

    fn meets(&self, host: &Host, constraint: &Constraint) -> bool {
        let found = match &constraint.on {
            Subject::HostLabel { key, value } => {
                let labels = lower(host.all_labels());
                labels.get(key).is_some_and(|v| value.as_ref().is_none_or(|value| v == value))
            }
            Subject::ContainerLabel { key, value } => self.here(host).any(|instance| {
                let counts = match constraint.negated {
                    true => instance.goal != Goal::Stop,
                    false => instance.goal == Goal::Run,
                };
                let revision = instance.target.revision;
                let template = self.template(instance);
                let labels = needs::labels("e1", &instance.id.service, revision, template);
                counts
                    && labels
                        .iter()
                        .any(|(k, v)| k == key && value.as_ref().is_none_or(|value| v == value))
            }),
            Subject::Container { .. } | Subject::Host { .. } => panic!("not in these tests"),
        };
        found != constraint.negated
    }

    fn fits(&self, host: &Host) -> bool {
        let placement = &self.ask.template.placement;
        let running = || self.here(host).filter(|i| i.goal == Goal::Run);
        let own = running().filter(|i| i.id.service == *self.ask.service).count();
        let (mut cpu, mut memory) = needs::reserved(self.ask.template);
        let (asks_cpu, asks_memory) = (cpu > 0, memory > 0);
        for instance in running() {
            let (more_cpu, more_memory) = needs::reserved(self.template(instance));
            cpu += more_cpu;
            memory += more_memory;
        }
        let labels = lower(host.all_labels());
        let accepted = match labels.get("io.rancher.scheduler.require_any") {
            None => true,
            Some(any_of) => {
                let own = &self.ask.template.container().unwrap().labels;
                let own = lower(own.clone());
                any_of.split(',').any(|word| match word.split_once('=') {
                    Some((key, value)) => own.get(key).is_some_and(|v| v == value),
                    None => own.contains_key(word),
                })
            }
        };
        host.takes_instances()
            && accepted
            && placement.requested_host.as_ref().is_none_or(|wanted| *wanted == host.id)
            && placement.constraints.iter().filter(|c| !c.soft).all(|c| self.meets(host, c))
            && placement.max_per_host.is_none_or(|max| own < max as usize)
            && (!asks_memory || memory <= host.facts.memory as i64)
            && (!asks_cpu || cpu <= i64::from(host.facts.cpus) * 1_000)
            && self.has_ports(host)
    }

    fn has_ports(&self, host: &Host) -> bool {
        let taken = |number: u16, transport: Transport, ip: Option<IpAddr>| {
            self.here(host).filter(|i| i.id.service != *self.ask.service).any(|instance| {
                instance.ports.iter().any(|held| {
                    (held.host_port, held.protocol) == (Some(number), transport)
                        && (held.host_ip.is_none() || ip.is_none() || held.host_ip == ip)
                })
            })
        };
        let labels = lower(host.all_labels());
        let ips: Vec<Option<IpAddr>> = match labels.get("io.rancher.scheduler.ips") {
            None => vec![None],
            Some(ips) => ips.split(',').map(|ip| Some(ip.parse().unwrap())).collect(),
        };
        ips.iter().any(|ip| {
            self.ask
                .template
                .ports
                .iter()
                .all(|port| port.host_port.is_none_or(|number| !taken(number, port.protocol, *ip)))
        })
    }

    fn score(&self, host: &Host) -> Vec<i64> {
        let placement = &self.ask.template.placement;
        let counted: Vec<&Instance> = self
            .cluster
            .instances_of(self.ask.service)
            .map(|i| &**i)
            .filter(|i| i.goal == Goal::Run && !i.leaving && i.id.n != self.ask.n)
            .collect();
        let value = |id: &HostId, label: &str| {
            let host = self.cluster.host(id)?;
            lower(host.all_labels()).get(label).cloned()
        };
        let zone = |id: &HostId| value(id, "zone").or_else(|| value(id, "io.rancher.host.zone"));
        let mut score = vec![];
        let known: BTreeSet<&HostId> = self.cluster.hosts().map(|host| &host.id).collect();
        let on_known = || counted.iter().filter(|i| known.contains(&i.host));
        for level in 1..=placement.spread_by.len() {
            let labels = &placement.spread_by[..level];
            let alike = |id: &HostId| {
                labels.iter().all(|l| {
                    value(id, l).unwrap_or_default() == value(&host.id, l).unwrap_or_default()
                })
            };
            score.push(on_known().filter(|i| alike(&i.host)).count() as i64);
        }
        let (cpu, memory) = needs::reserved(self.ask.template);
        let (mut cpu_left, mut memory_left, mut instances) =
            (i64::from(host.facts.cpus) * 1_000, host.facts.memory as i64, 0);
        for instance in self.here(host).filter(|i| i.goal == Goal::Run) {
            let (c, m) = needs::reserved(self.template(instance));
            (cpu_left, memory_left, instances) = (cpu_left - c, memory_left - m, instances + 1);
        }
        let left = [
            if memory > 0 { memory_left } else { 0 },
            if cpu > 0 { cpu_left } else { 0 },
            -instances,
        ];
        match placement.strategy {
            Strategy::Binpack => score.extend(left),
            Strategy::Spread => {
                score.push(counted.iter().filter(|i| i.host == host.id).count() as i64);
                if placement.spread_by.is_empty() {
                    let own = zone(&host.id);
                    score.push(on_known().filter(|i| zone(&i.host) == own).count() as i64);
                }
                score.extend(left.map(|one| Reverse(one).0).map(|one| -one));
            }
        }
        score
    }
}
