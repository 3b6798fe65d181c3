//! From a canonical, merged, checked tree to the model. Each room reads one group of keys; what is
//! impossible is reported, and the rest is still read, so that all errors come at once.

mod balancer;
mod build;
mod container;
mod deploy;
mod files;
mod health;
mod image;
mod labels;
mod legacy_balancer;
mod mounts;
mod network;
mod ports;
mod process;
mod resources;

use crate::diagnostic::{Finding, Report, quoted};
use crate::fields::Fields;
use crate::files::Files;
use crate::source::{Place, Sources};
use crate::variables::Variables;
use crate::yaml::Map;
use model::id::{ServiceName, StackName};
use model::service::{Kind, RestartPolicy, ServiceSpec, Template};
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
        let is_balancer = self.is_balancer();
        let mut build = None;
        let kind = if self.is_legacy_balancer() {
            Kind::Balancer(self.legacy_balancer())
        } else if is_balancer {
            Kind::Balancer(self.balancer())
        } else {
            build = self.build(name);
            Kind::Container(Box::new(self.container(build.as_ref())))
        };
        if matches!(kind, Kind::Balancer(_)) {
            self.warn_container_keys();
        }
        let ports = match &kind {
            Kind::Balancer(spec) => self.balancer_ports(spec),
            Kind::Container(spec) => self.ports(&spec.network),
            Kind::External(_) | Kind::Alias(_) => vec![],
        };
        let health_check = self.health_check();
        let restart = self.restart();
        self.check_links();
        let template = Template {
            kind,
            ports,
            health_check,
            restart,
            stop_grace_ms: self
                .fields
                .duration_ms("stop_grace_period")
                .unwrap_or(model::limits::STOP_GRACE_MS_DEFAULT),
            drain_ms: self
                .fields
                .number("drain_timeout_ms")
                .unwrap_or(model::limits::DRAIN_MS_DEFAULT),
            sidekicks: BTreeMap::new(),
            placement: model::placement::Placement::default(),
        };
        let spec = ServiceSpec {
            scale: self.scale(),
            depends_on: self.depends_on(),
            update: self.update(),
            metadata: self.metadata(),
            ..ServiceSpec::of(template)
        };
        Some(Outcome { spec, build, volumes: self.volumes })
    }

    /// Does it lack what it should have from `extends`?
    fn is_partial(&self) -> bool {
        self.stack.partial.contains(self.name)
    }

    /// Kinds of service that Rancher had and Remuda does not run.
    fn left_out(&self) -> Option<&'static str> {
        let image = self.fields.text("image").unwrap_or("");
        if self.fields.node("external_ips").is_some()
            || image.starts_with("rancher/external-service")
        {
            return Some("services outside of the stack (external_ips) are not carried out yet");
        }
        if image.starts_with("rancher/dns-service") {
            return Some("service aliases (rancher/dns-service) are not carried out yet");
        }
        if self.fields.text("type") == Some("virtualMachine") {
            return Some("virtual machines are not carried out");
        }
        None
    }

    fn restart(&mut self) -> RestartPolicy {
        if crate::environment::is_set(&self.labels, "io.rancher.container.start_once") {
            return RestartPolicy::No;
        }
        if let Some(policy) = self.deploy_restart() {
            return policy;
        }
        let Some(text) = self.fields.text("restart") else { return RestartPolicy::default() };
        let place = self.fields.place("restart").unwrap_or(self.place);
        let (policy, attempts) = match text.split_once(':') {
            Some((policy, attempts)) => (policy, Some(attempts)),
            None => (text, None),
        };
        let max_attempts = attempts.map(str::parse::<u32>);
        match (policy, max_attempts) {
            ("always" | "unless-stopped", None) => RestartPolicy::Always,
            ("no" | "false" | "never", None) => RestartPolicy::No,
            ("on-failure", None) => RestartPolicy::OnFailure { max_attempts: None },
            ("on-failure", Some(Ok(n))) => RestartPolicy::OnFailure { max_attempts: Some(n) },
            _ => {
                self.error(place, &format!("restart is {}", quoted(text)))
                    .expected("no, always, unless-stopped, on-failure or on-failure:3");
                RestartPolicy::default()
            }
        }
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
