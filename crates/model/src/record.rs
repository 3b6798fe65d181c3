//! Records: what the store holds, one key each. `RecordKey` and its text form are one-to-one.

use crate::host::{Environment, Host};
use crate::id::{HostId, InstanceId, InvalidName, ServiceId, StackName};
use crate::instance::{Goal, Instance, InstanceStatus, Target};
use crate::reason::Blocked;
use crate::service::{ServiceSpec, Template};
use crate::stack::VolumeSpec;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
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
    /// Run, stop, or go away.
    pub goal: Goal,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The parts of a `ServiceSpec` that are not versioned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// See `ServiceSpec::depends_on`.
    pub depends_on: BTreeMap<crate::id::ServiceName, crate::service::Condition>,
    /// See `ServiceSpec::update`.
    pub update: crate::service::UpdatePolicy,
    /// See `ServiceSpec::metadata`.
    pub metadata: BTreeMap<String, serde_json::Value>,
}

impl ServiceSettings {
    /// The unversioned part of a spec.
    #[must_use]
    pub fn of(spec: &ServiceSpec) -> Self {
        Self {
            depends_on: spec.depends_on.clone(),
            update: spec.update,
            metadata: spec.metadata.clone(),
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
        ] {
            assert_eq!(text.parse::<RecordKey>().unwrap().to_string(), text);
        }
        assert!("nonsense/x".parse::<RecordKey>().is_err());
        assert!("revision/shop/web/x".parse::<RecordKey>().is_err());
    }
}
