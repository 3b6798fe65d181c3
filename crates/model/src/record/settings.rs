//! The parts of a service that are not versioned.

use crate::floating::FloatingIp;
use crate::policy::ServicePolicy;
use crate::rollout_policy::UpdatePolicy;
use crate::scaling::{Mode, Scaling};
use crate::selector::Selector;
use crate::service::{Link, LossPolicy, ServiceSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The parts of a `ServiceSpec` that are not versioned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSettings {
    /// See `ServiceSpec::depends_on`.
    pub depends_on: BTreeMap<crate::id::ServiceName, crate::service::Condition>,
    /// See `ServiceSpec::update`.
    pub update: UpdatePolicy,
    /// See `ServiceSpec::mode`.
    pub mode: Mode,
    /// See `ServiceSpec::scaling`.
    pub scaling: Option<Scaling>,
    /// See `ServiceSpec::links`.
    pub links: Vec<Link>,
    /// See `ServiceSpec::selector_link`.
    pub selector_link: Option<Selector>,
    /// See `ServiceSpec::selector_container`.
    pub selector_container: Option<Selector>,
    /// See `ServiceSpec::on_loss`.
    pub on_loss: Option<LossPolicy>,
    /// See `ServiceSpec::retain_ip`.
    pub retain_ip: bool,
    /// See `ServiceSpec::requested_ips`.
    pub requested_ips: Vec<Ipv4Addr>,
    /// See `ServiceSpec::policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<ServicePolicy>,
    /// See `ServiceSpec::floating_ip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floating_ip: Option<FloatingIp>,
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
            mode: spec.mode.clone(),
            scaling: spec.scaling,
            links: spec.links.clone(),
            selector_link: spec.selector_link.clone(),
            selector_container: spec.selector_container.clone(),
            on_loss: spec.on_loss,
            retain_ip: spec.retain_ip,
            requested_ips: spec.requested_ips.clone(),
            policy: spec.policy.clone(),
            floating_ip: spec.floating_ip.clone(),
            metadata: spec.metadata.clone(),
        }
    }
}
