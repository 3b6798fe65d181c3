//! From a canonical, merged, checked tree to the model. Each room reads one group of keys; what is
//! impossible is reported, and the rest is still read, so that all errors come at once.

mod balancer;
mod build;
mod container;
mod deploy;
mod files;
mod floating;
mod health;
mod image;
mod labels;
mod legacy_balancer;
mod links;
mod mode;
mod mounts;
mod network;
mod outside;
mod placement;
mod ports;
mod process;
mod resources;
mod rollout;
mod sidekick;
mod templates;

use crate::diagnostic::{Finding, Report};
use crate::fields::Fields;
use crate::files::Files;
use crate::group::Groups;
use crate::policy::{Own, Reader};
use crate::source::{Place, Sources};
use crate::variables::Variables;
use crate::yaml::Map;
use model::id::{ServiceName, StackName};
use model::policy::ServicePolicy;
use model::scaling::{Metric, Mode, Scaling};
use model::service::{Kind, Link, RestartPolicy, ServiceSpec, Template};
use model::stack::VolumeSpec;
use std::collections::{BTreeMap, BTreeSet};

pub use build::BuildSpec;
pub(crate) use image::check as check_image;

/// What all services of a stack are read against.
pub(crate) struct Stack<'a> {
    pub(crate) name: &'a StackName,
    /// The services of active profiles.
    pub(crate) services: &'a Map,
    /// The other services, with their profiles.
    pub(crate) inactive: &'a BTreeMap<String, Vec<String>>,
    /// Services whose `extends` failed: what they lack was reported.
    pub(crate) partial: &'a BTreeSet<String>,
    pub(crate) volumes: &'a Map,
    pub(crate) networks: &'a Map,
    pub(crate) secrets: &'a Map,
    pub(crate) configs: &'a Map,
    /// What the file says for all services.
    pub(crate) policy: Option<&'a ServicePolicy>,
    /// Who is a sidekick of whom.
    pub(crate) groups: &'a Groups,
    pub(crate) sources: &'a Sources,
    pub(crate) files: &'a Files,
    pub(crate) variables: &'a Variables,
}

/// One service under way.
pub(crate) struct Read<'a> {
    pub(crate) stack: &'a Stack<'a>,
    pub(crate) report: &'a mut Report,
    /// `service "web"`, which begins every message.
    pub(crate) subject: String,
    /// Its name.
    pub(crate) name: &'a str,
    /// Where that stands.
    pub(crate) place: Place,
    pub(crate) fields: Fields<'a>,
    /// Volumes that the service uses, by Docker's name.
    pub(crate) volumes: BTreeMap<String, VolumeSpec>,
    /// Labels of the container, of `deploy` too.
    pub(crate) labels: BTreeMap<String, String>,
}

/// What one service gives.
pub(crate) struct Outcome {
    pub(crate) spec: ServiceSpec,
    pub(crate) build: Option<BuildSpec>,
    pub(crate) volumes: BTreeMap<String, VolumeSpec>,
    /// Its links, each with its place.
    pub(crate) links: Vec<(Place, Link)>,
}

impl Read<'_> {
    /// An error about this service.
    pub(crate) fn error(&mut self, at: Place, what: &str) -> &mut Finding {
        self.report.error(at, format!("{}: {what}", self.subject))
    }

    /// A warning about this service.
    pub(crate) fn warn(&mut self, at: Place, what: &str) -> &mut Finding {
        self.report.warn(at, format!("{}: {what}", self.subject))
    }

    /// Reads a service whose name is good. `None` when it is left out, with a warning.
    pub(crate) fn service(mut self, name: &ServiceName) -> Option<Outcome> {
        self.labels = self.read_labels();
        if let Some(why) = self.left_out() {
            self.warn(self.place, &format!("the service is left out: {why}"));
            return None;
        }
        let mut build = None;
        let links = if self.is_legacy_balancer() { vec![] } else { self.links() };
        let kind = if self.is_legacy_balancer() {
            Kind::Balancer(self.legacy_balancer())
        } else if self.is_external() {
            Kind::External(self.external())
        } else if self.is_alias() {
            Kind::Alias(self.alias(&links))
        } else if self.is_balancer() {
            Kind::Balancer(self.balancer())
        } else {
            build = self.build(name);
            Kind::Container(Box::new(self.container(build.as_ref())))
        };
        self.warn_container_keys(&kind);
        if let Some(primary) = self.stack.groups.primary_of(self.name).map(str::to_owned) {
            self.warn_keys_of_service(&primary);
        }
        let template = self.template(kind);
        let mut spec = self.settings(template);
        if !matches!(spec.template.kind, Kind::Alias(_)) {
            spec.links = links.iter().map(|(_, link)| link.clone()).collect();
        }
        Some(Outcome { spec, build, volumes: self.volumes, links })
    }

    fn template(&mut self, kind: Kind) -> Template {
        let ports = match &kind {
            Kind::Balancer(spec) => self.balancer_ports(spec),
            Kind::Container(spec) => self.ports(&spec.network),
            Kind::External(_) | Kind::Alias(_) => vec![],
        };
        let drain_ms = self.fields.number("drain_timeout_ms");
        Template {
            ports,
            health_check: self.health_check(),
            restart: RestartPolicy::default(),
            stop_grace_ms: self
                .fields
                .duration_ms("stop_grace_period")
                .unwrap_or(model::limits::STOP_GRACE_MS_DEFAULT),
            drain_ms: drain_ms.unwrap_or(model::limits::DRAIN_MS_DEFAULT),
            sidekicks: BTreeMap::new(),
            placement: self.placement(),
            kind,
        }
    }

    /// Everything of a service but its template, and what of the template rests on it.
    fn settings(&mut self, mut template: Template) -> ServiceSpec {
        let mode = self.mode();
        let place = self.fields.place("schedule").or_else(|| self.fields.place("job"));
        if let (Mode::Job(_), Kind::Balancer(_) | Kind::External(_) | Kind::Alias(_), Some(place)) =
            (&mode, &template.kind, place)
        {
            self.error(place, "only containers can be a job").expected("a service with an image");
        }
        template.restart = self.restart(&mode);
        let mut scaling = self.scaling(&mode);
        if let (
            Some(Scaling::Load { metric: Metric::Cpu | Metric::Memory, .. }),
            Kind::Balancer(_),
        ) = (scaling, &template.kind)
        {
            let place = self.fields.place("autoscale").unwrap_or(self.place);
            self.warn(place, "autoscale has no effect: a balancer has no container to measure")
                .hint("let it follow requests");
            scaling = None;
        }
        let has_instances = template.has_instances();
        ServiceSpec {
            scale: self.scale(&mode, scaling).filter(|_| has_instances),
            depends_on: self.depends_on(),
            update: self.update(),
            metadata: self.metadata(),
            mode,
            scaling: scaling.filter(|_| has_instances),
            selector_link: self.selector("io.rancher.service.selector.link"),
            selector_container: self.selector("io.rancher.service.selector.container"),
            on_loss: self.on_loss(),
            retain_ip: self.fields.boolean("retain_ip").unwrap_or(false),
            requested_ips: self.requested_ips(),
            policy: self.policy(),
            floating_ip: self.floating_ip().filter(|_| has_instances),
            create_stopped: self.fields.boolean("start_on_create") == Some(false),
            ..ServiceSpec::of(template)
        }
    }

    /// Its own rules, then those of the stack; its own default goes before the stack's.
    fn policy(&mut self) -> Option<ServicePolicy> {
        let node = self.fields.node("network_policy");
        let own = node.map(|node| {
            let stack = Some(Own { name: self.stack.name, services: self.stack.services });
            Reader { report: &mut *self.report, subject: &self.subject, stack }.service(node)
        });
        let (own, shared) = match (own, self.stack.policy) {
            (None, None) => return None,
            (own, shared) => (own.unwrap_or_default(), shared.cloned().unwrap_or_default()),
        };
        let default = own.default.or(shared.default);
        let policy = ServicePolicy { default, rules: [own.rules, shared.rules].concat() };
        if let Err(why) = policy.check() {
            let place = node.map_or(self.place, |node| node.place);
            self.error(place, &why);
        }
        Some(policy)
    }

    /// Does it lack what it should have from `extends`?
    fn is_partial(&self) -> bool {
        self.stack.partial.contains(self.name)
    }

    /// Kinds of service that Rancher had and Remuda does not run.
    fn left_out(&self) -> Option<&'static str> {
        if self.fields.text("type") == Some("virtualMachine") {
            return Some("virtual machines are not carried out");
        }
        None
    }

    fn metadata(&mut self) -> BTreeMap<String, serde_json::Value> {
        let Some(node) = self.fields.node("metadata") else { return BTreeMap::new() };
        let Some(map) = node.as_map() else {
            self.error(node.place, &format!("metadata is {}", node.kind())).expected("a map");
            return BTreeMap::new();
        };
        map.iter().map(|(k, n)| (k.text.to_string(), crate::json::value(n))).collect()
    }
}
