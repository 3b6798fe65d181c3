//! Network policy: what a host is to hold of it, and what it says of one connection. A service's
//! own rules are asked before those of the environment; the first that fits decides.

mod member;
mod source;

use member::Member;
use model::cluster::Cluster;
use model::host::Environment;
use model::id::HostId;
use model::instance::Instance;
use model::plain::PlainId;
use model::policy::{
    Guard, GuardRule, HostPolicy, NetworkPolicy, PolicyAction, PolicyRule, PolicyVerdict, Unlisted,
};
use model::service::Transport;
use source::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Of a whole environment: guards and sources by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policies {
    unlisted: Unlisted,
    guards: BTreeMap<String, Guard>,
    sources: BTreeMap<String, BTreeSet<Ipv4Addr>>,
}

/// A rule that may fit a destination, and where it stands.
struct Fitting<'a> {
    number: usize,
    /// The service whose it is; `None` is the environment.
    of: Option<String>,
    rule: &'a PolicyRule,
    /// `None` is everyone.
    from: Option<Source>,
}

impl Fitting<'_> {
    /// The rule in words.
    fn by(&self) -> String {
        let of = self.of.as_deref().unwrap_or("the environment");
        format!("rule {} of {of}: {}", self.number, self.rule)
    }
}

/// What is asked of rules.
struct Book<'a> {
    environment: &'a NetworkPolicy,
    members: Vec<Member<'a>>,
}

fn is_said(cluster: &Cluster) -> bool {
    let open = cluster.environment().is_none_or(|environment| environment.policy.is_open());
    !open || cluster.services().any(|service| service.settings.policy.is_some())
}

impl<'a> Book<'a> {
    fn of(cluster: &'a Cluster, environment: &'a Environment) -> Self {
        Self { environment: &environment.policy, members: member::all(cluster) }
    }

    /// The rules whose destination `to` is, in the order in which they are asked, and what is so
    /// when none fits.
    fn guard(&self, to: &Member<'a>) -> (Vec<Fitting<'a>>, PolicyAction, String) {
        let fitting = |(at, rule): (usize, &'a PolicyRule), of: Option<&String>| {
            let from = source::of(rule, to)?;
            Some(Fitting { number: at + 1, of: of.cloned(), rule, from })
        };
        let own = to.service_rules().enumerate();
        let own = own.filter_map(|one| fitting(one, Some(&to.name)));
        let mut rules: Vec<Fitting<'a>> = own.collect();
        // A service with a default of its own is not asked about any further.
        if let Some(action) = to.policy.and_then(|policy| policy.default) {
            return (rules, action, format!("the default of {}", to.name));
        }
        let shared = self.environment.rules.iter().enumerate();
        rules.extend(shared.filter_map(|one| fitting(one, None)));
        (rules, self.environment.default, "the default of the environment".to_owned())
    }
}

impl Policies {
    /// Is nothing said?
    pub(crate) fn are_off(&self) -> bool {
        self.unlisted == Unlisted::Off
    }

    /// What follows from a cluster; nothing is held when no policy is said at all.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let Some(environment) = cluster.environment().filter(|_| is_said(cluster)) else {
            return Self::default();
        };
        let book = Book::of(cluster, environment);
        let unlisted = match book.environment.default {
            PolicyAction::Allow => Unlisted::Allow,
            PolicyAction::Deny => Unlisted::Deny,
        };
        let mut made = Self { unlisted, ..Self::default() };
        let mut named: BTreeSet<Source> = BTreeSet::new();
        for member in &book.members {
            let (rules, default, _) = book.guard(member);
            if rules.is_empty() && default == PolicyAction::Allow && unlisted == Unlisted::Allow {
                continue;
            }
            let rule = |one: Fitting<'_>| GuardRule {
                action: one.rule.action,
                ports: one.rule.ports.clone(),
                from: one.from.map(|source| {
                    let name = source.to_string();
                    named.insert(source);
                    name
                }),
            };
            let rules = rules.into_iter().map(rule).collect();
            made.guards.insert(member.name.clone(), Guard { rules, default });
        }
        let sources = named.iter().map(|one| (one.to_string(), one.addresses(&book.members)));
        made.sources = sources.filter(|(_, addresses)| !addresses.is_empty()).collect();
        made
    }

    /// What a host is to hold: the guards of what is there, and what they name.
    pub(crate) fn of_host(&self, cluster: &Cluster, host: &HostId) -> HostPolicy {
        let mut held = HostPolicy::default();
        if self.are_off() {
            return held;
        }
        let instances = cluster.instances_on(host).flat_map(|instance| {
            let name = instance.id.service.to_string();
            addresses(instance).map(move |address| (address, name.clone()))
        });
        let plain = cluster.attachments_on(host);
        let plain = plain.map(|one| (one.address, container_name(&one.id)));
        held.guarded =
            instances.chain(plain).filter(|(_, name)| self.guards.contains_key(name)).collect();
        if held.guarded.is_empty() && self.unlisted == Unlisted::Allow {
            return HostPolicy::default();
        }
        held.unlisted = self.unlisted;
        for name in held.guarded.values() {
            let Some(guard) = self.guards.get(name) else { continue };
            if held.guards.insert(name.clone(), guard.clone()).is_some() {
                continue;
            }
            for from in guard.rules.iter().filter_map(|rule| rule.from.as_ref()) {
                if let Some(addresses) = self.sources.get(from) {
                    held.sources.insert(from.clone(), addresses.clone());
                }
            }
        }
        held
    }
}

fn addresses(instance: &Instance) -> impl Iterator<Item = Ipv4Addr> + '_ {
    instance.address.iter().chain(instance.sidekick_addresses.values()).copied()
}

/// How a plain container is named among guards: no service's name has a space.
fn container_name(id: &PlainId) -> String {
    format!("container {id}")
}

/// What becomes of a connection from one to another; services are `stack/service`, plain containers
/// have Docker's name. Without a port only rules without ports fit.
///
/// # Errors
/// Which of the two is neither a service nor a plain container of the managed network.
pub fn explain(
    cluster: &Cluster,
    from: &str,
    to: &str,
    port: Option<(u16, Transport)>,
) -> Result<PolicyVerdict, String> {
    let none = || "the environment has not been founded yet".to_owned();
    let book = Book::of(cluster, cluster.environment().ok_or_else(none)?);
    let find = |name: &str| {
        let found = book.members.iter().find(|member| member.is_called(cluster, name));
        found.ok_or_else(|| format!("{name:?} is no service and no container in the network"))
    };
    let (from, to) = (find(from)?, find(to)?);
    let (rules, default, by_default) = book.guard(to);
    let fits = |one: &&Fitting<'_>| {
        let ports = &one.rule.ports;
        let port = ports.is_empty()
            || port
                .is_some_and(|(port, over)| ports.iter().any(|ports| ports.contains(port, over)));
        port && one.from.as_ref().is_none_or(|source| source.has(from))
    };
    let (action, mut by) = match rules.iter().find(fits) {
        Some(one) => (one.rule.action, one.by()),
        None => (default, by_default),
    };
    if action == PolicyAction::Deny && to.publishes {
        by.push_str("; the host ports that it publishes can be called by whoever reaches the host");
    }
    Ok(PolicyVerdict { action, by })
}
