//! Is a new instance where it may be? Constraints hold when an instance is placed: what changes
//! later moves nobody.

use super::serving::{containers_of, template_of};
use super::{Flaw, Oracle};
use model::cluster::Cluster;
use model::host::Host;
use model::id::{InstanceId, ServiceName};
use model::instance::{Goal, Instance};
use model::placement::{Constraint, Subject};
use std::time::Duration;
use tokio::time::Instant;

/// A decision may rest on news that are so old.
const STALE: Duration = Duration::from_secs(1);
/// Two servers may decide at the same time for so long.
const TWO_SERVERS: Duration = Duration::from_secs(10);

/// Does a host have a label, in lower case?
pub(super) fn has_label(host: &Host, key: &str, value: Option<&str>) -> bool {
    host.all_labels().iter().any(|(k, v)| {
        k.eq_ignore_ascii_case(key) && value.is_none_or(|value| v.eq_ignore_ascii_case(value))
    })
}

impl Oracle {
    fn is_recent(at: Option<&Instant>, time: Duration) -> bool {
        at.is_some_and(|at| at.elapsed() < time)
    }

    /// Checks an instance that has just been decided on, given the state before that change.
    pub(super) fn check_placed(&mut self, new: &Instance, before: &Cluster) {
        let recent = Self::is_recent(self.host_changed.get(&new.host), STALE)
            || Self::is_recent(self.server_started.as_ref(), TWO_SERVERS);
        let cluster = self.cluster.clone();
        let (Some(template), Some(host)) = (template_of(&cluster, new), cluster.host(&new.host))
        else {
            return;
        };
        let placement = &template.placement;
        let mut broken: Vec<String> = vec![];
        if placement.requested_host.as_ref().is_some_and(|asked| *asked != new.host) {
            broken.push("another host was asked for".into());
        }
        let own = cluster
            .instances_on(&new.host)
            .filter(|one| one.id.service == new.id.service && one.goal == Goal::Run);
        // One of another revision, which may allow more, can have come after it in the same change.
        let own = own.filter(|one| {
            one.target.revision == new.target.revision || before.instance(&one.id).is_some()
        });
        let own = own.count();
        if placement.max_per_host.is_some_and(|max| own > max as usize) {
            broken.push(format!("{own} of it are there"));
        }
        if !recent {
            let hard = placement.constraints.iter().filter(|one| !one.soft);
            broken.extend(
                hard.filter(|one| !self.is_met(new, host, one, before)).map(ToString::to_string),
            );
        }
        for why in broken {
            self.flaw(Flaw::Misplaced(format!("{} on {}: {why}", new.id, new.host)));
        }
    }

    fn is_met(&self, new: &Instance, host: &Host, one: &Constraint, before: &Cluster) -> bool {
        // What goes in the same change is still there for what is to be with it. One that is
        // stopped keeps nobody away, and may be what another one is to be with.
        let stops = |cluster: &Cluster, id: &InstanceId| {
            cluster.instance(id).is_some_and(|one| one.goal == Goal::Stop)
        };
        let others = || {
            let there = self.cluster.instances_on(&host.id).filter(|other| other.id != new.id);
            let gone = before.instances_on(&host.id).filter(|_| !one.negated);
            there
                .filter(|other| {
                    let stops = stops(before, &other.id) || stops(&self.cluster, &other.id);
                    !one.negated || !stops
                })
                .map(|other| (&self.cluster, other))
                .chain(gone.map(|other| (before, other)))
        };
        let found = match &one.on {
            Subject::HostLabel { key, value } => has_label(host, key, value.as_deref()),
            Subject::Host { name } => {
                host.id.as_str().eq_ignore_ascii_case(name)
                    || host.facts.hostname.eq_ignore_ascii_case(name)
            }
            Subject::ContainerLabel { key, value } => {
                others().any(|(cluster, other)| carries(cluster, other, key, value.as_deref()))
            }
            Subject::Container { name } => others().any(|(cluster, other)| {
                containers_of(cluster, other)
                    .iter()
                    .any(|id| id.public_name().eq_ignore_ascii_case(name))
            }),
        };
        found != one.negated
    }
}

/// Has one of the containers of an instance this label?
fn carries(cluster: &Cluster, instance: &Instance, key: &str, value: Option<&str>) -> bool {
    let Some(template) = template_of(cluster, instance) else { return false };
    template.containers().any(|(_, one): (Option<&ServiceName>, _)| {
        one.labels.iter().any(|(k, v)| {
            k.eq_ignore_ascii_case(key) && value.is_none_or(|value| v.eq_ignore_ascii_case(value))
        })
    })
}
