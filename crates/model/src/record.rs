//! Records: what the store holds, one key each. `RecordKey` and its text form are one-to-one.

mod settings;

pub use settings::ServiceSettings;

use crate::floating::Floating;
use crate::host::{Environment, Host};
use crate::id::{HostId, InstanceId, InvalidName, ServiceId, StackName};
use crate::instance::{Goal, Instance, InstanceStatus, Target};
use crate::plain::{Attachment, PlainContainer, PlainId};
use crate::prepared::PreparedQuery;
use crate::reason::Blocked;
use crate::registration::{CheckState, ClientCheck, ClientKey, ClientNode, ClientService};
use crate::service::{ServiceSpec, Template};
use crate::stack::VolumeSpec;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A stack's own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Its name.
    pub name: StackName,
    /// Named volumes by Docker's full name.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A service as wanted. Its template is in the revision that `target` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// What was asked, without the template (which is in the revisions).
    pub settings: ServiceSettings,
    /// Instances wanted.
    pub scale: u32,
    /// Version wanted.
    pub target: Target,
    /// Counts the tries of a rollout that had failed before.
    pub attempt: u32,
    /// What people said about the rollout.
    #[serde(default)]
    pub orders: Orders,
    /// Run, stop, or go away.
    pub goal: Goal,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What people said about a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// Nothing moves until `resume`.
    pub paused: bool,
    /// The canaries of this version were found good.
    pub promoted: Option<Target>,
    /// What was kept of before this version may go.
    pub finished: Option<Target>,
    /// Runs of a job that were asked for, ever.
    pub runs: u64,
}

impl Service {
    /// The service as it was asked for.
    #[must_use]
    pub fn spec(&self, template: Template) -> ServiceSpec {
        let settings = self.settings.clone();
        ServiceSpec {
            scale: Some(self.scale),
            template,
            depends_on: settings.depends_on,
            update: settings.update,
            mode: settings.mode,
            scaling: settings.scaling,
            links: settings.links,
            selector_link: settings.selector_link,
            selector_container: settings.selector_container,
            on_loss: settings.on_loss,
            retain_ip: settings.retain_ip,
            requested_ips: settings.requested_ips,
            policy: settings.policy,
            floating_ip: settings.floating_ip,
            create_stopped: false,
            metadata: settings.metadata,
        }
    }
}

/// One immutable version of a service's template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Of which service.
    pub service: ServiceId,
    /// From 1.
    pub number: u32,
    /// The template.
    pub template: Template,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What the planner knows of a service besides its instances. Only the planner writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Of which service.
    pub service: ServiceId,
    /// Instances made so far: the last incarnation given.
    pub incarnations: u64,
    /// Where the rollout is.
    pub rollout: Rollout,
    /// What cannot be done now.
    pub blocked: Vec<Blocked>,
    /// Replacements of unhealthy or failed instances, by slot, for their back-off.
    pub replacements: BTreeMap<u32, Replacement>,
    /// Instances wanted where the scale is decided by a policy; `None` is `Service::scale`.
    #[serde(default)]
    pub scaled: Option<Scaled>,
    /// An instance that moves to a host with fewer of them.
    #[serde(default)]
    pub moving: Option<Moving>,
    /// Which move would spread the instances better; empty when none would.
    #[serde(default)]
    pub advice: String,
    /// Addresses that slots keep.
    #[serde(default)]
    pub retained: BTreeMap<u32, Ipv4Addr>,
    /// Runs of a job, oldest first.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// Number of the last run of a job.
    #[serde(default)]
    pub runs_made: u64,
    /// Runs of a job that were asked for and have been taken up.
    #[serde(default)]
    pub runs_taken: u64,
    /// Up to when the schedule of a job has been worked off.
    #[serde(default)]
    pub scheduled_to: Timestamp,
    /// What became of the revisions that are kept.
    #[serde(default)]
    pub revisions: BTreeMap<u32, RevisionStatus>,
}

impl ServiceStatus {
    /// Of a service that has nothing yet.
    #[must_use]
    pub fn new(service: ServiceId) -> Self {
        Self {
            service,
            incarnations: 0,
            rollout: Rollout::Done,
            blocked: vec![],
            replacements: BTreeMap::new(),
            scaled: None,
            moving: None,
            advice: String::new(),
            retained: BTreeMap::new(),
            runs: vec![],
            runs_made: 0,
            runs_taken: 0,
            scheduled_to: Timestamp::default(),
            revisions: BTreeMap::new(),
        }
    }
}

/// An instance that moves though its host is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// Which one goes.
    pub incarnation: u64,
    /// Since when.
    pub since: Timestamp,
}

/// A scale that a policy decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// Instances.
    pub to: u32,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// One run of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Run {
    /// From 1, never reused.
    pub number: u64,
    /// When it was due, or asked for.
    pub due: Timestamp,
    /// By whom.
    pub cause: RunCause,
    /// Its instance's incarnation; `None` while it has none or never got one.
    pub incarnation: Option<u64>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// How it stands.
    pub outcome: RunOutcome,
}

/// What caused a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunCause {
    /// Its schedule.
    Schedule,
    /// Somebody.
    Hand,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum RunOutcome {
    /// It has not begun.
    Waiting,
    /// It runs.
    Running,
    /// It ended with exit code 0.
    Succeeded,
    /// It ended otherwise.
    Failed {
        /// Why.
        why: String,
    },
    /// It never began.
    Skipped {
        /// Why.
        why: String,
    },
}

impl RunOutcome {
    /// Is it over?
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// What became of a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct RevisionStatus {
    /// How its last rollout ended.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
    /// Ids of the images that it runs, by sidekick; the primary's under the empty name. The first
    /// host to say what the name means settles it for all.
    pub images: BTreeMap<String, String>,
    /// The same as registries name them, `name@sha256:…`, where one has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub image_digests: BTreeMap<String, String>,
    /// The restart since which they hold: `svc restart` looks anew what a name means.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub images_of: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How the last rollout of a revision ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Verdict {
    /// It has not ended.
    #[default]
    Open,
    /// All instances were proven.
    Good,
    /// It failed.
    Failed {
        /// Why.
        why: String,
    },
    /// Another one was wanted before it was over.
    Superseded,
}

impl Rollout {
    /// What served before the rollout, as far as there is one that is not over.
    #[must_use]
    pub fn before(&self) -> Option<Target> {
        match self {
            Self::Done => None,
            Self::Running { before, .. }
            | Self::Finishing { before, .. }
            | Self::Failed { before, .. } => *before,
        }
    }
}

/// Where a rollout is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum Rollout {
    /// Nothing is moving: every instance is ready at its target.
    #[default]
    Done,
    /// Instances move to the target.
    Running {
        /// To which version.
        target: Target,
        /// What served before; `None` for a first deployment or a change of scale.
        before: Option<Target>,
        /// Since when.
        since: Timestamp,
    },
    /// All instances are at the target; those from before are stopped and kept until `finish`:
    /// Rancher's `upgraded`.
    Finishing {
        /// At which version.
        target: Target,
        /// What served before.
        before: Option<Target>,
        /// Since when.
        since: Timestamp,
    },
    /// It stopped; what served before goes on.
    Failed {
        /// To which version.
        target: Target,
        /// What serves instead; `None` when nothing did before.
        before: Option<Target>,
        /// Slot of the first instance that failed.
        n: u32,
        /// Which try (`Service::attempt`) failed.
        attempt: u32,
        /// Why.
        why: String,
        /// When.
        at: Timestamp,
    },
}

/// Back-off memory of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Replacements in a row.
    pub count: u32,
    /// When the last one was decided.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// An API or join token. Only its hash is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Public part, in listings and logs.
    pub id: String,
    /// SHA-256 of the secret part with the environment's id, hex.
    pub hash: String,
    /// What it is good for.
    pub role: TokenRole,
    /// When it stops working; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Most hosts that may join with it; `None` is any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_max: Option<u32>,
    /// Those that have, where they are counted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub used_by: BTreeSet<HostId>,
    /// Labels that a host gets which joins with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The one host that may join with it, also when it was here before and cannot prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenRole {
    /// Everything in the API.
    Admin,
    /// Enrol an agent.
    Join,
}

/// Any record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record", content = "value")]
pub enum Record {
    /// The environment.
    Environment(Arc<Environment>),
    /// A stack.
    Stack(Arc<Stack>),
    /// A service.
    Service(Arc<Service>),
    /// A revision.
    Revision(Arc<Revision>),
    /// A service's status.
    ServiceStatus(Arc<ServiceStatus>),
    /// An instance as decided.
    Instance(Arc<Instance>),
    /// An instance as seen.
    InstanceStatus(InstanceId, Arc<InstanceStatus>),
    /// A host.
    Host(Arc<Host>),
    /// A token.
    Token(Arc<Token>),
    /// A plain container as seen.
    Plain(PlainId, Arc<PlainContainer>),
    /// The address of a plain container in the managed network, as decided.
    Attachment(Arc<Attachment>),
    /// A floating address as decided and as it stands.
    Floating(Arc<Floating>),
    /// A node that a client registered.
    ClientNode(Arc<ClientNode>),
    /// A service that a client registered.
    ClientService(Arc<ClientService>),
    /// A check that a client registered.
    ClientCheck(Arc<ClientCheck>),
    /// How a check stands.
    CheckState(Arc<CheckState>),
    /// A prepared query of a client.
    Query(Arc<PreparedQuery>),
}

impl Record {
    /// Where it is kept.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Environment(_) => RecordKey::Environment,
            Self::Stack(stack) => RecordKey::Stack(stack.name.clone()),
            Self::Service(service) => RecordKey::Service(service.id.clone()),
            Self::Revision(r) => RecordKey::Revision(r.service.clone(), r.number),
            Self::ServiceStatus(s) => RecordKey::ServiceStatus(s.service.clone()),
            Self::Instance(instance) => RecordKey::Instance(instance.id.clone()),
            Self::InstanceStatus(id, _) => RecordKey::InstanceStatus(id.clone()),
            Self::Host(host) => RecordKey::Host(host.id.clone()),
            Self::Token(token) => RecordKey::Token(token.id.clone()),
            Self::Plain(id, _) => RecordKey::Plain(id.clone()),
            Self::Attachment(attachment) => RecordKey::Attachment(attachment.id.clone()),
            Self::Floating(floating) => RecordKey::Floating(floating.address),
            Self::ClientNode(node) => RecordKey::ClientNode(node.name.clone()),
            Self::ClientService(service) => RecordKey::ClientService(service.key.clone()),
            Self::ClientCheck(check) => RecordKey::ClientCheck(check.key.clone()),
            Self::CheckState(state) => RecordKey::CheckState(state.key.clone()),
            Self::Query(query) => RecordKey::Query(query.id.clone()),
        }
    }
}

/// Where a record is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// `environment`
    Environment,
    /// `stack/<stack>`
    Stack(StackName),
    /// `service/<stack>/<service>`
    Service(ServiceId),
    /// `revision/<stack>/<service>/<number>`
    Revision(ServiceId, u32),
    /// `service-status/<stack>/<service>`
    ServiceStatus(ServiceId),
    /// `instance/<stack>/<service>#<n>@<incarnation>`
    Instance(InstanceId),
    /// `instance-status/<stack>/<service>#<n>@<incarnation>`
    InstanceStatus(InstanceId),
    /// `host/<host>`
    Host(HostId),
    /// `token/<id>`
    Token(String),
    /// `plain/<host>/<container>`
    Plain(PlainId),
    /// `attachment/<host>/<container>`
    Attachment(PlainId),
    /// `floating/<address>`
    Floating(Ipv4Addr),
    /// `client-node/<name>`
    ClientNode(String),
    /// `client-service/<node>/<id>`
    ClientService(ClientKey),
    /// `client-check/<node>/<id>`
    ClientCheck(ClientKey),
    /// `check-state/<node>/<id>`
    CheckState(ClientKey),
    /// `query/<id>`
    Query(String),
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::Stack(stack) => write!(f, "stack/{stack}"),
            Self::Service(service) => write!(f, "service/{service}"),
            Self::Revision(service, number) => write!(f, "revision/{service}/{number}"),
            Self::ServiceStatus(service) => write!(f, "service-status/{service}"),
            Self::Instance(instance) => write!(f, "instance/{instance}"),
            Self::InstanceStatus(instance) => write!(f, "instance-status/{instance}"),
            Self::Host(host) => write!(f, "host/{host}"),
            Self::Token(id) => write!(f, "token/{id}"),
            Self::Plain(id) => write!(f, "plain/{id}"),
            Self::Attachment(id) => write!(f, "attachment/{id}"),
            Self::Floating(address) => write!(f, "floating/{address}"),
            Self::ClientNode(name) => write!(f, "client-node/{name}"),
            Self::ClientService(key) => write!(f, "client-service/{key}"),
            Self::ClientCheck(key) => write!(f, "client-check/{key}"),
            Self::CheckState(key) => write!(f, "check-state/{key}"),
            Self::Query(id) => write!(f, "query/{id}"),
        }
    }
}

impl std::str::FromStr for RecordKey {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = |why| InvalidName { what: "record key", shown: text.to_owned(), why };
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        Ok(match kind {
            "environment" => Self::Environment,
            "stack" => Self::Stack(rest.parse()?),
            "service" => Self::Service(rest.parse()?),
            "revision" => {
                let (service, number) = rest.rsplit_once('/').ok_or(bad("it has no number"))?;
                let number = number.parse().map_err(|_nan| bad("its number is not one"))?;
                Self::Revision(service.parse()?, number)
            }
            "service-status" => Self::ServiceStatus(rest.parse()?),
            "instance" => Self::Instance(rest.parse()?),
            "instance-status" => Self::InstanceStatus(rest.parse()?),
            "host" => Self::Host(rest.parse()?),
            "token" => Self::Token(rest.to_owned()),
            "plain" => Self::Plain(rest.parse()?),
            "attachment" => Self::Attachment(rest.parse()?),
            "floating" => Self::Floating(rest.parse().map_err(|_nan| bad("it is no address"))?),
            "client-node" if rest.is_empty() => return Err(bad("it has no name")),
            "client-node" => Self::ClientNode(rest.to_owned()),
            "client-service" => Self::ClientService(rest.parse()?),
            "client-check" => Self::ClientCheck(rest.parse()?),
            "check-state" => Self::CheckState(rest.parse()?),
            "query" if rest.is_empty() => return Err(bad("it has no id")),
            "query" => Self::Query(rest.to_owned()),
            _ => return Err(bad("its kind is unknown")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_survives_its_text() {
        for text in [
            "environment",
            "stack/shop",
            "service/shop/web",
            "revision/shop/web/12",
            "service-status/shop/web",
            "instance/shop/web#2@9",
            "instance-status/shop/web#2@9",
            "host/alpha",
            "token/ab12",
            "plain/alpha/0123456789ab",
            "attachment/alpha/0123456789ab",
            "floating/192.0.2.50",
            "client-node/db 1",
            "client-service/alpha/alpha:web:80:udp",
            "client-check/alpha/service:a/b",
            "check-state/alpha/service:a/b",
            "query/8f246b77-f3e1-ff88-5b48-8ec93abf3e05",
        ] {
            assert_eq!(text.parse::<RecordKey>().unwrap().to_string(), text);
        }
        assert!("nonsense/x".parse::<RecordKey>().is_err());
        assert!("revision/shop/web/x".parse::<RecordKey>().is_err());
    }
}
