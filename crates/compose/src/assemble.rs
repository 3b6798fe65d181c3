//! From services as they were read to the stack: sidekicks move into their primaries, and what
//! leads to a service that is left out goes.

use crate::check::{circle, circles};
use crate::diagnostic::{Report, quoted};
use crate::group::Groups;
use crate::read::{BuildSpec, Outcome};
use crate::render::Whole;
use crate::source::Place;
use model::id::{ServiceId, ServiceName, StackName};
use model::limits;
use model::placement::Strategy;
use model::service::{Kind, Link, ServiceSpec, Sidekick};
use model::stack::StackSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A container of a stack: the primary of a service, or one of its sidekicks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerName {
    /// The service.
    pub service: ServiceName,
    /// `None` is the primary.
    pub sidekick: Option<ServiceName>,
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sidekick {
            Some(sidekick) => write!(f, "{}/{sidekick}", self.service),
            None => self.service.fmt(f),
        }
    }
}

/// Where the links of each service stand.
type Links = BTreeMap<ServiceName, Vec<(Place, Link)>>;

/// Makes the stack. An outcome that is `None` is a service that is left out.
pub(crate) fn assemble(
    outcomes: Vec<(ServiceName, Option<Outcome>)>,
    stack: &StackName,
    groups: &Groups,
    whole: &Whole,
    report: &mut Report,
) -> (StackSpec, BTreeMap<ContainerName, BuildSpec>) {
    let (mut spec, mut builds) = (StackSpec::default(), BTreeMap::new());
    let (mut gone, mut sidekicks, mut links) = (BTreeSet::new(), vec![], Links::new());
    for (name, outcome) in outcomes {
        let Some(outcome) = outcome else {
            gone.insert(name);
            continue;
        };
        spec.volumes.extend(outcome.volumes);
        let primary = groups.primary_of(name.as_str()).and_then(|p| ServiceName::parse(p).ok());
        let id = match &primary {
            Some(service) => {
                ContainerName { service: service.clone(), sidekick: Some(name.clone()) }
            }
            None => ContainerName { service: name.clone(), sidekick: None },
        };
        builds.extend(outcome.build.map(|build| (id, build)));
        links
            .entry(primary.clone().unwrap_or_else(|| name.clone()))
            .or_default()
            .extend(outcome.links);
        match primary {
            Some(primary) => sidekicks.push((primary, name, outcome.spec)),
            None => {
                spec.services.insert(name, outcome.spec);
            }
        }
    }
    for (primary, name, sidekick) in sidekicks {
        let Some(place) = whole.services.key(name.as_str()).map(|key| key.place) else { continue };
        match spec.services.get_mut(&primary) {
            Some(service) => join(&primary, service, name, sidekick, place, report),
            None if gone.contains(&primary) => {
                let message = format!(
                    "service {}: it is left out with {}, whose sidekick it is",
                    quoted(name.as_str()),
                    quoted(primary.as_str())
                );
                report.warn(place, message);
                gone.insert(name);
            }
            // The primary's name was refused.
            None => {}
        }
    }
    start_order(&mut spec);
    check_counts(&spec, whole, report);
    let links = LinksOf { stack, links: &links, whole };
    links.check_aliases(&spec, report);
    links.left_out(&mut spec, &gone, report);
    (spec, builds)
}

/// Puts a service that was read by itself into its primary.
fn join(
    primary: &ServiceName,
    service: &mut ServiceSpec,
    name: ServiceName,
    of: ServiceSpec,
    place: Place,
    report: &mut Report,
) {
    let subject = format!("service {}", quoted(name.as_str()));
    let template = of.template;
    let Kind::Container(container) = template.kind else {
        let message = format!("{subject}: a sidekick is a container, and this is none");
        report.error(place, message).expected("a service with an image of its own");
        return;
    };
    if service.template.container().is_none() {
        let message =
            format!("{subject}: its primary {} has no container", quoted(primary.as_str()));
        report.error(place, message).expected("a primary that runs containers");
        return;
    }
    let sidekick = Sidekick {
        container: *container,
        ports: template.ports,
        health_check: template.health_check,
        restart: template.restart,
        stop_grace_ms: template.stop_grace_ms,
    };
    service.template.sidekicks.insert(name, sidekick);
    let placement = &mut service.template.placement;
    let more = template.placement;
    for constraint in more.constraints {
        if !placement.constraints.contains(&constraint) {
            placement.constraints.push(constraint);
        }
    }
    placement.requested_host = placement.requested_host.take().or(more.requested_host);
    placement.max_per_host = match (placement.max_per_host, more.max_per_host) {
        (Some(own), Some(other)) => Some(own.min(other)),
        (own, other) => own.or(other),
    };
    if placement.spread_by.is_empty() {
        placement.spread_by = more.spread_by;
    }
    if more.strategy != Strategy::default() {
        placement.strategy = more.strategy;
    }
    for link in of.links {
        if !service.links.contains(&link) {
            service.links.push(link);
        }
    }
    for (on, condition) in of.depends_on {
        service.depends_on.entry(on).or_insert(condition);
    }
    service.selector_link = service.selector_link.take().or(of.selector_link);
}

/// Names for something else have no instances that could be waited for.
fn start_order(spec: &mut StackSpec) {
    let names: BTreeSet<ServiceName> = spec
        .services
        .iter()
        .filter(|(_, service)| !service.template.has_instances())
        .map(|(name, _)| name.clone())
        .collect();
    for service in spec.services.values_mut() {
        service.depends_on.retain(|other, _| !names.contains(other));
    }
}

fn check_counts(spec: &StackSpec, whole: &Whole, report: &mut Report) {
    for (name, service) in &spec.services {
        let Some(key) = whole.services.key(name.as_str()) else { continue };
        let counts = [
            (
                "placement constraints",
                service.template.placement.constraints.len(),
                limits::CONSTRAINTS_MAX,
            ),
            ("links", service.links.len(), limits::LINKS_MAX),
        ];
        // By itself each part is within these bounds, or has been refused.
        for (what, count, max) in counts.into_iter().filter(|(_, count, max)| count > max) {
            let message = format!("service {} has {count} {what}", quoted(name.as_str()));
            report.error(key.place, message).expected(format!("at most {max}"));
        }
    }
}

struct LinksOf<'a> {
    stack: &'a StackName,
    links: &'a Links,
    whole: &'a Whole,
}

impl LinksOf<'_> {
    fn place(&self, service: &ServiceName, leads_to: &ServiceId) -> Option<Place> {
        let links = self.links.get(service).into_iter().flatten();
        let mut places =
            links.filter(|(_, link)| link.service == *leads_to).map(|(place, _)| *place);
        places.next().or_else(|| self.whole.services.key(service.as_str()).map(|key| key.place))
    }

    /// An alias that leads to itself, by way of others, would have no end.
    fn check_aliases(&self, spec: &StackSpec, report: &mut Report) {
        let needs = |name: &str| -> Vec<String> {
            let service = ServiceName::parse(name).ok().and_then(|name| spec.services.get(&name));
            let Some(Kind::Alias(alias)) = service.map(|s| &s.template.kind) else { return vec![] };
            let own = alias.targets.iter().filter(|target| target.stack == *self.stack);
            own.map(|target| target.service.to_string()).collect()
        };
        for found in circles(&self.whole.services, needs) {
            let (first, last) =
                (ServiceName::parse(&found[0]), ServiceName::parse(&found[found.len() - 1]));
            let (Ok(first), Ok(last)) = (first, last) else { continue };
            let first = ServiceId { stack: self.stack.clone(), service: first };
            if let Some(place) = self.place(&last, &first) {
                report
                    .error(place, format!("aliases lead in a circle: {}", circle(&found)))
                    .expected("aliases that end at services with containers");
            }
        }
    }

    /// Takes what leads to services that are left out away; a balancer that does is an error.
    fn left_out(&self, spec: &mut StackSpec, gone: &BTreeSet<ServiceName>, report: &mut Report) {
        let is_gone = |id: &ServiceId| id.stack == *self.stack && gone.contains(&id.service);
        for (name, service) in &mut spec.services {
            service.depends_on.retain(|other, _| !gone.contains(other));
            service.links.retain(|link| !is_gone(&link.service));
            match &mut service.template.kind {
                Kind::Alias(alias) => alias.targets.retain(|target| !is_gone(target)),
                Kind::Balancer(balancer) => {
                    for rule in balancer.rules.iter().filter(|rule| is_gone(&rule.service)) {
                        let Some(place) = self.place(name, &rule.service) else { continue };
                        let message = format!(
                            "service {} balances to {}, which is left out",
                            quoted(name.as_str()),
                            quoted(rule.service.service.as_str())
                        );
                        report.error(place, message).expected("a service that runs containers");
                    }
                }
                Kind::Container(_) | Kind::External(_) => {}
            }
        }
    }
}
